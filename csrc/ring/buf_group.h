/*
** group: a ring of provided buffers, and whose each buffer is. (No Lua in
** it.)
**
** The kernel picks the buffers of a group itself and names them in its
** completions. Each is at any moment in one of three hands: at home (in the
** ring of free ones), the kernel's (picked, and its completion not taken), or
** leased (its completion was taken by `buf_group_take` and every part of it
** has not yet come back by `buf_group_give`). Where home ends and the kernel
** begins only the kernel knows; it tells since Linux 6.8.
**
** The group is a block: its ring counts it until the ring is closed or the
** group unregistered, each lease counts it, and so does each operation that
** may pick from it. So its memory outlives all who may touch it.
**
** With IOU_PBUF_RING_INC one buffer serves several completions, also of
** several operations: each begins where the one that came before has ended,
** in whatever order they are taken. So where a completion's bytes lie is noted
** when it comes, and its result and flags find the note. (Of two that are
** alike in both the first to come goes to the first who asks, for an asker has
** no more than these.) The buffer goes home when the kernel has said
** that it is done with it and all parts were taken and have come back.
**
** What can never happen: a buffer goes home twice, or while somebody holds a
** part of it.
*/

#ifndef uring_buf_group_h
#define uring_buf_group_h

#include "compat.h"
#include "base/refblock.h"
#include "ring/recvmsg_out.h"

struct note {              /* a completion that was not taken yet */
  struct note *next;
  int32_t res;
  uint32_t flags;
  uint32_t offset;         /* where its bytes begin */
  struct recvmsg_layout layout;      /* how it has laid them out */
  bool bundle;             /* it may have filled more than one */
};

struct slot {              /* one buffer */
  struct note *notes;      /* in the order in which they came */
  struct note **end;       /* where the next one goes */
  uint32_t offset;         /* where the next completion's data begins */
  uint32_t nnotes;           /* parts that have come and were not taken */
  uint32_t leases;         /* parts that are out */
  uint16_t behind;         /* the buffer that went home after it */
  bool out;                /* the kernel is done with it */
};

struct buf_group {
  struct refblock block;
  struct buf_group *next;      /* of its ring's that want notes */
  struct io_uring_buf_ring *ring;
  unsigned char *memory;
  struct slot *slots;
  struct note *blank;      /* to be written on */
  uint32_t nblank;
  uint32_t size;           /* of each buffer */
  uint32_t entries;
  uint32_t leased;         /* neither at home nor the kernel's */
  uint32_t min_left;
  uint16_t bgid;
  uint16_t last;           /* that went home */
  bool inc;
  bool closed;             /* the kernel does not know it any more */
  bool wanting;            /* it is in that list */
  void (*recycled)(struct buf_group *g);  /* one has come home, or NULL */
  void *owner;             /* whose business that is */
};

/* A part of a buffer that a completion has filled. */
struct piece {
  unsigned char *data;
  uint32_t size;
  uint16_t bid;
  struct recvmsg_layout layout;
};

/* A part that somebody keeps. It is a block of its own, so that an operation
** that sends it can hold it when its owner has let go. */
struct lease {
  struct refblock block;
  struct buf_group *group;
  struct piece piece;
};

#define GROUP_MAX 32768u

/* A group of `entries` (a power of two) times `size` bytes, all at home; NULL
** for want of memory. */
struct buf_group *buf_group_new (uint32_t entries, uint32_t size,
                                 uint16_t bgid,
                         bool inc);

/* How much memory all of its buffers are. */
static inline size_t buf_group_bytes (const struct buf_group *g) {
  return (size_t)g->entries * g->size;
}

/* What the kernel is to be told of it. */
void buf_group_describe (const struct buf_group *g,
                         struct io_uring_buf_reg *reg);

/* Make sure that the next `n` that come can be noted; false: no memory. */
bool buf_group_reserve (struct buf_group *g, unsigned n);

/* A completion of the ring's has come, in their order: each may be taken once.
** One of a bundle may fill several buffers. */
void buf_group_note (struct buf_group *g, int32_t res, uint32_t flags,
                 struct recvmsg_layout layout, bool bundle);

/* Has it filled more than the buffer that it names? */
bool buf_group_is_bundle (const struct buf_group *g, int32_t res,
                          uint32_t flags);

/* The buffer that a completion names changes hands: false if it names none,
** it is only the first of several, or no such completion has come (it was
** taken before). */
bool buf_group_take (struct buf_group *g, int32_t res, uint32_t flags,
                 struct piece *p);

/* A completion of a bundle: up to `max` buffers that follow one another; how
** many. */
unsigned buf_group_take_bundle (struct buf_group *g, int32_t res,
                                uint32_t flags,
                            struct piece *p, unsigned max);

/* One more has a part that was taken, and will give it back. */
void buf_group_share (struct buf_group *g, uint16_t bid);

/* A part comes back. */
void buf_group_give (struct buf_group *g, uint16_t bid);

/* A lease of a piece that was taken, counted once; NULL for want of memory,
** and the piece stays the caller's. Or, so that nothing is taken for which
** there is none: room for one first, which becomes it, or is freed by free. */
struct lease *lease_new (struct buf_group *g, const struct piece *p);
struct lease *lease_capacity (void);
void lease_fill (struct lease *room, struct buf_group *g,
                 const struct piece *p);

/* Nobody wants this completion. */
void buf_group_dispose (struct buf_group *g, int32_t res, uint32_t flags);

#endif
