/*
** buf_group: a ring of provided buffers, and the state of each buffer. (No Lua
** in it.)
**
** The kernel picks the buffers of a group itself and names them in its
** completions. A buffer is in one of three states: free (in the buffer ring);
** picked (by the kernel, and its completions were not all taken); or leased
** (`buf_group_take` has taken its completions, and `buf_group_give` has not
** returned all parts). Only the kernel knows which of the first two a buffer
** is in; it tells since 6.8 (IORING_REGISTER_PBUF_STATUS).
**
** The group is reference-counted. Its ring counts it while it is registered,
** each lease counts it, and so does each operation that may pick from it. So
** its memory outlives all its users.
**
** With IOU_PBUF_RING_INC one buffer serves several completions, also of
** several operations. Each one's bytes begin where those of the completion
** before it end, whatever the order in which completions are taken. So the
** place of the bytes is noted when the completion is reaped, and its result
** and flags are the key to the note. (Of two notes with equal keys the older
** one is taken first; a caller cannot tell them apart.) The buffer is recycled
** when the kernel is done with it and all parts were taken and given back.
**
** Invariant: a buffer is recycled once, and not while a part of it is leased
** or untaken.
*/

#ifndef uring_buf_group_h
#define uring_buf_group_h

#include "compat.h"
#include "base/refblock.h"
#include "ring/recvmsg_out.h"

struct note {              /* a completion that was not taken yet */
  struct note *next;       /* of its buffer; or the next spare one */
  int32_t res;
  uint32_t flags;
  uint32_t offset;         /* of its first byte in the buffer */
  struct recvmsg_layout layout;  /* of its bytes */
  bool bundle;             /* it may have filled several buffers */
};

struct slot {              /* one buffer */
  struct note *notes;      /* in the order of the completions */
  struct note **notes_end;
  uint32_t offset;         /* where the next completion's bytes begin */
  uint32_t untaken;        /* parts of completions that were not taken */
  uint32_t leases;         /* parts that were taken and not given back */
  uint16_t behind;         /* the buffer recycled after it: the kernel picks
                              them in this order */
  bool kernel_done;          /* the kernel is done with it */
};

struct buf_group {
  struct refblock block;
  struct buf_group *next;  /* in its ring's list of those short of notes */
  struct io_uring_buf_ring *ring;
  unsigned char *memory;
  struct slot *slots;
  struct account *account;
  struct note *spare;      /* unused notes */
  uint32_t nspare;
  uint32_t size;           /* of each buffer */
  uint32_t entries;
  uint32_t leased;         /* buffers that the kernel is done with, in use */
  uint32_t min_left;
  uint16_t bgid;
  uint16_t last;           /* the buffer that was recycled last */
  bool inc;                /* IOU_PBUF_RING_INC */
  bool closed;             /* not registered any more */
  bool listed;             /* it is in that list */
  void (*recycled)(struct buf_group *g);  /* called after that, or NULL */
  void *owner;             /* for `recycled` */
};

/* A part of a buffer that a completion has filled. */
struct piece {
  unsigned char *data;
  uint32_t size;
  uint16_t bid;
  struct recvmsg_layout layout;
};

/* A part that is kept. It has its own reference count, so that an operation
** that sends it may keep it longer than its owner. Or bytes that are another
** owner's, whose `release` is called when they are not used any more. */
struct lease {
  struct refblock block;
  struct buf_group *group; /* NULL: another owner's */
  struct piece piece;
  void (*release)(void *ud, const void *p, size_t len);  /* or NULL */
  void *ud;
};

#define GROUP_MAX 32768u

/* A group of `entries` (a power of two) free buffers of `size` bytes; NULL if
** out of memory. The account is charged for all of it. */
struct buf_group *buf_group_new (struct account *a, uint32_t entries,
                                 uint32_t size, uint16_t bgid, bool inc);

/* The size of all its buffers together. */
static inline size_t buf_group_bytes (const struct buf_group *g) {
  return (size_t)g->entries * g->size;
}

/* The arguments of its registration. */
void buf_group_describe (const struct buf_group *g,
                         struct io_uring_buf_reg *reg);

/* Make the next `n` calls of buf_group_note succeed; false if there is no
** memory. */
bool buf_group_reserve (struct buf_group *g, unsigned n);

/* Note a completion, in the order of the CQ, so that it can be taken once. One
** of a bundle may fill several buffers. */
void buf_group_note (struct buf_group *g, int32_t res, uint32_t flags,
                     struct recvmsg_layout layout, bool bundle);

/* Has the completion filled more buffers than the one that it names? */
bool buf_group_is_bundle (const struct buf_group *g, int32_t res,
                          uint32_t flags);

/* Take the part of the buffer that a completion has filled. False if it names
** no buffer, if that is only the first of several, or if there is no such
** note: the completion was taken before, or forged. */
bool buf_group_take (struct buf_group *g, int32_t res, uint32_t flags,
                     struct piece *p);

/* Take the parts that the completion of a bundle has filled, at most `max`, in
** order; returns their number. */
unsigned buf_group_take_bundle (struct buf_group *g, int32_t res,
                                uint32_t flags, struct piece *p, unsigned max);

/* A part that was taken has one more user, which also has to give it back. */
void buf_group_share (struct buf_group *g, uint16_t bid);

/* Give a part back. */
void buf_group_give (struct buf_group *g, uint16_t bid);

/* A lease of a piece that was taken, counted once; NULL if out of memory, and
** the caller keeps the piece. Or, in order not to take a piece that cannot be
** leased: allocate first, then either fill the lease or free(3) it. */
struct lease *lease_new (struct buf_group *g, const struct piece *p);
struct lease *lease_alloc (void);
void lease_fill (struct lease *l, struct buf_group *g, const struct piece *p);

/* Fill it with no bytes; and, later, with bytes of another owner. */
void lease_fill_empty (struct lease *l);
void lease_set_foreign (struct lease *l, const void *p, uint32_t len,
                        void (*release)(void *ud, const void *p, size_t len),
                        void *ud);

/* The completion is not wanted: take its buffers and give them back. */
void buf_group_dispose (struct buf_group *g, int32_t res, uint32_t flags);

#endif
