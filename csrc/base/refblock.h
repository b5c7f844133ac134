/*
** block: memory that outlives whoever made it. (No Lua in it.)
**
** Everything the kernel may touch for an operation, and everything whose
** life crosses states (a handle), starts with a
** `struct block`: a count of owners, a count of operations in flight, and
** how to end it. Any thread may retain and release; whoever lets the last
** count go frees it, so no order of garbage collection can be a wrong one.
**
** What can never happen: a block that is counted is freed. When a ring must
** close and the kernel will not say that it is done, its blocks are buried:
** kept for ever, on purpose, where a leak checker and `refblocks_buried` see
** them.
*/

#ifndef uring_refblock_h
#define uring_refblock_h

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct refblock {
  _Atomic uint32_t refs;   /* owners: userdata, prepared SQEs, operations */
  _Atomic uint32_t flying; /* operations that the kernel may be working on */
  void (*end)(struct refblock *b);  /* frees what is inside, and the block */
  void (*busy)(struct refblock *b); /* an operation has it, or NULL */
  void (*idle)(struct refblock *b); /* none has it any more, or NULL */
  struct refblock *under;     /* in the graveyard: the one buried before */
  _Atomic bool retired;    /* its owner was closed or got another one */
};

/* Plain memory: a buffer's bytes, a path, a timespec, a string's copy. */
struct memory {
  struct refblock block;
  size_t size;
  _Alignas(16) unsigned char bytes[];
};

static inline void refblock_init (struct refblock *b,
                                  void (*end)(struct refblock *)) {
  atomic_init(&b->refs, 1);
  atomic_init(&b->flying, 0);
  b->end = end;
  b->busy = b->idle = NULL;
  b->under = NULL;
  atomic_init(&b->retired, false);
}

static inline void refblock_retain (struct refblock *b) {
  atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

static inline void refblock_release (struct refblock *b) {
  if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
    b->end(b);
}

/* An operation's own hold: an owner that also counts as in flight. */
static inline void refblock_fly (struct refblock *b) {
  if (atomic_fetch_add_explicit(&b->flying, 1, memory_order_acq_rel) == 0
      && b->busy != NULL)
    b->busy(b);
}

static inline void refblock_land (struct refblock *b) {
  if (atomic_fetch_sub_explicit(&b->flying, 1, memory_order_acq_rel) == 1
      && b->idle != NULL)
    b->idle(b);
}

static inline void refblock_pin (struct refblock *b) {
  refblock_retain(b);
  refblock_fly(b);
}

static inline void refblock_unpin (struct refblock *b) {
  refblock_land(b);
  refblock_release(b);
}

static inline uint32_t refblock_flying (struct refblock *b) {
  return atomic_load_explicit(&b->flying, memory_order_acquire);
}

/* `size` bytes, zeroed, or a copy of `from`; one byte more, which is 0, lies
** behind them, so that a path needs nothing else. NULL for want of memory. */
struct memory *memory_new (size_t size, const void *from);

/* The size of such memory that this count alone keeps; 0: it is something
** else, or somebody else's too. */
size_t memory_alone (struct refblock *b);

/* Keep for ever one count of `b`, because the kernel may still use it. */
void refblock_bury (struct refblock *b);

/* How many were buried in this process. */
unsigned long refblocks_buried (void);

#endif
