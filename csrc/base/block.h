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
** kept for ever, on purpose, where a leak checker and `blocks_buried` see
** them.
*/

#ifndef uring_block_h
#define uring_block_h

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block {
  _Atomic uint32_t refs;   /* owners: userdata, prepared SQEs, operations */
  _Atomic uint32_t flying; /* operations that the kernel may be working on */
  void (*end)(struct block *b);  /* frees what is inside, and the block */
  void (*busy)(struct block *b); /* an operation has it, or NULL */
  void (*idle)(struct block *b); /* none has it any more, or NULL */
  struct block *under;     /* in the graveyard: the one buried before */
  _Atomic bool retired;    /* its owner was closed or got another one */
};

/* Plain memory: a buffer's bytes, a path, a timespec, a string's copy. */
struct memory {
  struct block block;
  size_t size;
  _Alignas(16) unsigned char bytes[];
};

static inline void block_init (struct block *b, void (*end)(struct block *)) {
  atomic_init(&b->refs, 1);
  atomic_init(&b->flying, 0);
  b->end = end;
  b->busy = b->idle = NULL;
  b->under = NULL;
  atomic_init(&b->retired, false);
}

static inline void block_retain (struct block *b) {
  atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

static inline void block_release (struct block *b) {
  if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
    b->end(b);
}

/* An operation's own hold: an owner that also counts as in flight. */
static inline void block_fly (struct block *b) {
  if (atomic_fetch_add_explicit(&b->flying, 1, memory_order_acq_rel) == 0
      && b->busy != NULL)
    b->busy(b);
}

static inline void block_land (struct block *b) {
  if (atomic_fetch_sub_explicit(&b->flying, 1, memory_order_acq_rel) == 1
      && b->idle != NULL)
    b->idle(b);
}

static inline void block_pin (struct block *b) {
  block_retain(b);
  block_fly(b);
}

static inline void block_unpin (struct block *b) {
  block_land(b);
  block_release(b);
}

static inline uint32_t block_flying (struct block *b) {
  return atomic_load_explicit(&b->flying, memory_order_acquire);
}

/* `size` bytes, zeroed, or a copy of `from`; one byte more, which is 0, lies
** behind them, so that a path needs nothing else. NULL for want of memory. */
struct memory *memory_new (size_t size, const void *from);

/* The size of such memory that this count alone keeps; 0: it is something
** else, or somebody else's too. */
size_t memory_alone (struct block *b);

/* Keep for ever one count of `b`, because the kernel may still use it. */
void block_bury (struct block *b);

/* How many were buried in this process. */
unsigned long blocks_buried (void);

#endif
