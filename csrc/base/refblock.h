/*
** refblock: reference-counted memory that may outlive its creator. (No Lua in
** it.)
**
** All memory that the kernel may touch for an operation, and every object that
** several Lua states share (a handle), starts with a `struct refblock`: a
** count of owners, a count of operations in flight, and a destructor. Any
** thread may retain and release; the release of the last count frees the
** block, so it does not matter in which order garbage is collected.
**
** Invariant: a block with a count above 0 is never freed. When a ring must
** close although the kernel still has operations in flight, their blocks are
** buried: leaked on purpose, reachable for leak checkers, and counted by
** `refblocks_buried`.
*/

#ifndef uring_refblock_h
#define uring_refblock_h

#include "base/account.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct refblock {
  _Atomic uint64_t counts; /* of owners (userdata, prepared SQEs, operations)
                              in the lower half, and of operations in flight
                              that use it in the upper one */
  void (*end)(struct refblock *b);  /* frees the contents and the block */
  void (*busy)(struct refblock *b); /* the first is in flight; or NULL */
  void (*idle)(struct refblock *b); /* none is any more; or NULL */
  struct refblock *next_buried;     /* see refblock_bury */
  _Atomic bool retired;    /* its owner was closed or has replaced it */
  _Atomic uint32_t moves;  /* to another state: what was prepared before must
                              not be queued any more */
};

/* Plain memory: a buffer's bytes, a path, a timespec, the copy of a string. */
struct memory {
  struct refblock block;
  struct account *account;
  size_t size;
  uint32_t align;          /* of the bytes, if more than that; or 0 */
  uint32_t before;         /* how much of the allocation is before this */
  _Alignas(16) unsigned char bytes[];
};

#define REFBLOCK_OWNER   UINT64_C(1)
#define REFBLOCK_FLIGHT  (UINT64_C(1) << 32)

static inline void refblock_init (struct refblock *b,
                                  void (*end)(struct refblock *)) {
  atomic_init(&b->counts, REFBLOCK_OWNER);
  b->end = end;
  b->busy = b->idle = NULL;
  b->next_buried = NULL;
  atomic_init(&b->retired, false);
  atomic_init(&b->moves, 0);
}

static inline uint32_t refblock_owners (const struct refblock *b) {
  return (uint32_t)atomic_load_explicit(&b->counts, memory_order_acquire);
}

static inline uint32_t refblock_flying (const struct refblock *b) {
  return (uint32_t)(atomic_load_explicit(&b->counts, memory_order_acquire)
                    >> 32);
}

static inline void refblock_retain (struct refblock *b) {
  atomic_fetch_add_explicit(&b->counts, REFBLOCK_OWNER, memory_order_relaxed);
}

static inline void refblock_release (struct refblock *b) {
  if ((uint32_t)atomic_fetch_sub_explicit(&b->counts, REFBLOCK_OWNER,
                                          memory_order_acq_rel) == 1)
    b->end(b);
}

/* An operation starts and stops to use the block. Pin and unpin do the same
** and count the operation as an owner too. */
static inline void refblock_fly (struct refblock *b) {
  if (atomic_fetch_add_explicit(&b->counts, REFBLOCK_FLIGHT,
                                memory_order_acq_rel) < REFBLOCK_FLIGHT
      && b->busy != NULL)
    b->busy(b);
}

static inline void refblock_land (struct refblock *b) {
  if (atomic_fetch_sub_explicit(&b->counts, REFBLOCK_FLIGHT,
                                memory_order_acq_rel) < 2 * REFBLOCK_FLIGHT
      && b->idle != NULL)
    b->idle(b);
}

static inline void refblock_pin (struct refblock *b) {
  if (atomic_fetch_add_explicit(&b->counts, REFBLOCK_FLIGHT + REFBLOCK_OWNER,
                                memory_order_acq_rel) < REFBLOCK_FLIGHT
      && b->busy != NULL)
    b->busy(b);
}

static inline void refblock_unpin (struct refblock *b) {
  uint64_t counts = atomic_load_explicit(&b->counts, memory_order_relaxed);
  while (counts >= 2 * REFBLOCK_FLIGHT)  /* another one is in flight */
    if (atomic_compare_exchange_weak_explicit(
          &b->counts, &counts, counts - REFBLOCK_FLIGHT - REFBLOCK_OWNER,
          memory_order_acq_rel, memory_order_relaxed))
      return;
  refblock_land(b);  /* (`idle` needs an owner) */
  refblock_release(b);
}

/* `size` bytes, zeroed, or a copy of `from`, charged to the account. A 0 byte
** follows them, so that a path is terminated. NULL if out of memory. */
struct memory *memory_new (struct account *a, size_t size, const void *from);

/* The same at a multiple of `align`, a power of two from 32 on; 0: of 16. */
struct memory *memory_aligned (struct account *a, size_t size,
                               const void *from, uint32_t align);

/* The same with whatever was there: for an owner that reads only the bytes
** that it, or the kernel, has put there. */
struct memory *memory_to_fill (struct account *a, size_t size);

/* It counts for this account from now on, whatever its limit. */
void memory_adopt (struct memory *m, struct account *a);

/* The size of the memory that the caller's release would free; 0 if `b` is not
** a `struct memory`, or has other owners. */
size_t memory_alone (struct refblock *b);

/* Leak one count of `b` on purpose, because the kernel may still use it. */
void refblock_bury (struct refblock *b);

/* The number of counts buried in this process. */
unsigned long refblocks_buried (void);

#endif
