/*
** group: a ring of provided buffers, and whose each buffer is. (No Lua in
** it.)
**
** The kernel picks the buffers of a group itself and names them in its
** completions. Each is at any moment in one of three hands: at home (in the
** ring of free ones), the kernel's (picked, and its completion not taken), or
** leased (its completion was taken by `group_take` and every part of it has
** not yet come back by `group_give`). Where home ends and the kernel begins
** only the kernel knows; it tells since Linux 6.8.
**
** The group is a block: its ring counts it until the ring is closed or the
** group unregistered, each lease counts it, and so does each operation that
** may pick from it. So its memory outlives all who may touch it.
**
** With IOU_PBUF_RING_INC one buffer serves several completions: each begins
** where the one before has ended, and the buffer goes home when the kernel
** has said that it is done with it and all parts have come back.
**
** What can never happen: a buffer goes home twice, or while somebody holds a
** part of it.
*/

#ifndef uring_group_h
#define uring_group_h

#include "compat.h"
#include "block.h"
#include "recvmsg_out.h"

struct slot {              /* one buffer */
  uint32_t offset;         /* where the next completion's data begins */
  uint16_t leases;         /* parts that are out */
  uint16_t behind;         /* the buffer that went home after it */
  uint16_t told;           /* completions that named it and were not taken */
  struct rooms rooms;      /* how the last of them has laid it out */
  bool out;                /* the kernel is done with it */
};

struct group {
  struct block block;
  struct group *next;      /* of its ring's */
  struct io_uring_buf_ring *ring;
  unsigned char *memory;
  struct slot *slots;
  uint32_t size;           /* of each buffer */
  uint32_t entries;
  uint32_t leased;         /* neither at home nor the kernel's */
  uint32_t min_left;
  uint16_t bgid;
  uint16_t last;           /* that went home */
  bool inc;
  bool closed;             /* the kernel does not know it any more */
  void (*gave)(struct group *g);  /* one has come home, or NULL */
  void *owner;             /* whose business that is */
};

/* A part of a buffer that a completion has filled. */
struct piece {
  unsigned char *data;
  uint32_t size;
  uint16_t bid;
  struct rooms rooms;
};

/* A part that somebody keeps. It is a block of its own, so that an operation
** that sends it can hold it when its owner has let go. */
struct lease {
  struct block block;
  struct group *group;
  struct piece piece;
};

#define GROUP_MAX 32768u

/* A group of `entries` (a power of two) times `size` bytes, all at home; NULL
** for want of memory. */
struct group *group_new (uint32_t entries, uint32_t size, uint16_t bgid,
                         bool inc);

/* What the kernel is to be told of it. */
void group_describe (const struct group *g, struct io_uring_buf_reg *reg);

/* A completion of the ring's has come: each may be taken once. */
void group_told (struct group *g, uint32_t flags, struct rooms rooms);

/* The buffer that a completion names changes hands: false if it names none,
** or no such completion has come (it was taken before). */
bool group_take (struct group *g, int32_t res, uint32_t flags,
                 struct piece *p);

/* A completion of a bundle: up to `max` buffers that follow one another; how
** many. */
unsigned group_take_bundle (struct group *g, int32_t res, uint32_t flags,
                            struct piece *p, unsigned max);

/* One more has a part that was taken, and will give it back. */
void group_share (struct group *g, uint16_t bid);

/* A part comes back. */
void group_give (struct group *g, uint16_t bid);

/* A lease of a piece that was taken, counted once; NULL for want of memory,
** and the piece stays the caller's. */
struct lease *lease_new (struct group *g, const struct piece *p);

/* Nobody wants this completion. */
void group_dispose (struct group *g, int32_t res, uint32_t flags);

#endif
