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
** A worker's account has a parent, if the state that started it is bounded:
** all that is charged to it is charged to that one as well. So several threads
** charge an account, and their charges together are never more than its limit.
** (A request that is looked at by `has_room` and counted later may pass it by
** what another thread is charged in between.)
**
** Invariant: `held` is the sum of all charges, its own and those of accounts
** that it is the parent of, and of that byte. What has to go on without
** memory, completions and cancels, is counted and never refused.
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
  struct account *parent;  /* or NULL */
  _Atomic size_t held;     /* bytes */
  _Atomic size_t limit;    /* SIZE_MAX: none */
  _Atomic size_t strings;  /* of these, what Lua's strings hold */
};

/* An account; NULL if out of memory. */
static inline struct account *account_new (void) {
  struct account *a = malloc(sizeof(*a));
  if (a == NULL)
    return NULL;
  a->parent = NULL;
  atomic_init(&a->held, 1);
  atomic_init(&a->limit, SIZE_MAX);
  atomic_init(&a->strings, 0);
  return a;
}

/* In all that follows a NULL account is of no state: it has no bound. */

static inline size_t account_held (const struct account *a) {
  return a ? atomic_load(&a->held) - 1 : 0;
}

/* The least of its limit and its parents'. */
static inline size_t account_limit (const struct account *a) {
  size_t least = SIZE_MAX;
  for (; a; a = a->parent) {
    size_t limit = atomic_load(&a->limit);
    if (limit < least) least = limit;
  }
  return least;
}

/* May this account, which holds so much, hold `n` bytes more? */
static inline bool account_fits (const struct account *a, size_t held,
                                 size_t n) {
  size_t limit = atomic_load(&a->limit);
  return held - 1 <= limit && n <= limit - (held - 1);
}

/* Would a charge of `n` bytes be accepted now? */
static inline bool account_has_room (const struct account *a, size_t n) {
  for (; a; a = a->parent)
    if (!account_fits(a, atomic_load(&a->held), n)) return false;
  return true;
}

/* Charge `n` bytes, which are more than 0, whatever the limit. */
static inline void account_count (struct account *a, size_t n) {
  for (; a; a = a->parent)
    atomic_fetch_add_explicit(&a->held, n, memory_order_relaxed);
}

/* Refund a charge of `n` bytes, up to the parent `end`. */
static inline void account_refund_upto (struct account *a, size_t n,
                                        const struct account *end) {
  while (a != end) {
    struct account *parent = a->parent;  /* (`a` may be gone then) */
    assert(atomic_load(&a->held) >= n);
    if (atomic_fetch_sub_explicit(&a->held, n, memory_order_acq_rel) == n)
      free(a);
    a = parent;
  }
}

static inline void account_refund (struct account *a, size_t n) {
  account_refund_upto(a, n, NULL);
}

/* Charge them; false if they would exceed a limit. */
static inline bool account_charge (struct account *a, size_t n) {
  for (struct account *p = a; p; p = p->parent) {
    size_t held = atomic_load(&p->held);
    do {
      if (!account_fits(p, held, n)) {
        account_refund_upto(a, n, p);
        return false;
      }
    } while (!atomic_compare_exchange_weak(&p->held, &held, held + n));
  }
  return true;
}

/* The account that is to be the parent of those of its state's workers: NULL
** if it has no bound. */
static inline struct account *account_of_workers (struct account *a) {
  return account_limit(a) == SIZE_MAX ? NULL : a;
}

/* Give an account, which no other thread knows yet, a parent. */
static inline void account_join (struct account *a, struct account *parent) {
  account_count(parent, atomic_load(&a->held));
  a->parent = parent;
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
