/*
** account: how much memory C holds for one Lua state, and the bound of it. (No
** Lua in it.)
**
** lua_Alloc, by which a host bounds a state, does not see memory of C. So what
** can grow is charged to the account of the state that it was made for, where
** it is allocated, and refunded where it is freed: the bytes of buffers, the
** copies that requests own, groups of provided buffers, headers, rings, and
** what rings keep for operations and completions. Other than the collector's
** count (lua/pressure.h) it has what operations in flight hold, too.
**
** Blocks may outlive their state, and be freed by any thread. So the account
** lives until its state has ended and all is refunded: for the state itself it
** holds one byte more.
**
** Invariant: `held` is the sum of all charges, and of that one. What has to go
** on without memory, completions and cancels, is counted and never refused.
*/

#ifndef uring_account_h
#define uring_account_h

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct account {
  _Atomic size_t held;     /* bytes */
  _Atomic size_t limit;    /* SIZE_MAX: none */
  _Atomic size_t strings;  /* of these, what Lua's strings hold */
};

/* An account; NULL if out of memory. */
static inline struct account *account_new (void) {
  struct account *a = malloc(sizeof(*a));
  if (a == NULL)
    return NULL;
  atomic_init(&a->held, 1);
  atomic_init(&a->limit, SIZE_MAX);
  atomic_init(&a->strings, 0);
  return a;
}

/* In all that follows a NULL account is of no state: it has no bound. */

static inline size_t account_held (const struct account *a) {
  return a ? atomic_load(&a->held) - 1 : 0;
}

static inline size_t account_limit (const struct account *a) {
  return a ? atomic_load(&a->limit) : SIZE_MAX;
}

/* Would a charge of `n` bytes be accepted? */
static inline bool account_has_room (const struct account *a, size_t n) {
  size_t held = account_held(a), limit = account_limit(a);
  return held <= limit && n <= limit - held;
}

/* Charge `n` bytes, which are more than 0, whatever the limit. */
static inline void account_count (struct account *a, size_t n) {
  if (a) atomic_fetch_add_explicit(&a->held, n, memory_order_relaxed);
}

/* Charge them; false if they would exceed the limit. (Only the thread of the
** state charges: others refund.) */
static inline bool account_charge (struct account *a, size_t n) {
  if (!account_has_room(a, n))
    return false;
  account_count(a, n);
  return true;
}

/* Refund a charge of `n` bytes. */
static inline void account_refund (struct account *a, size_t n) {
  if (a == NULL)
    return;
  assert(atomic_load(&a->held) >= n);
  if (atomic_fetch_sub_explicit(&a->held, n, memory_order_acq_rel) == n)
    free(a);
}

/* The same for what a string of Lua's holds, which goes without a finalizer:
** how much there is. */
static inline void account_hold_strings (struct account *a, size_t n) {
  atomic_fetch_add_explicit(&a->strings, n, memory_order_relaxed);
  account_count(a, n);
}

static inline void account_let_strings (struct account *a, size_t n) {
  atomic_fetch_sub_explicit(&a->strings, n, memory_order_relaxed);
  account_refund(a, n);
}

static inline size_t account_strings (const struct account *a) {
  return atomic_load_explicit(&a->strings, memory_order_relaxed);
}

/* Its state ends. */
static inline void account_end (struct account *a) {
  account_refund(a, 1);
}

#endif
