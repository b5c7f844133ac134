/*
** lock: a lock for short critical sections between threads. (No Lua in it.)
**
** A thread that finds it taken spins for a while and yields the processor in
** between; then it sleeps on a futex. It never only spins and yields: a thread
** of real-time priority could keep the holder from running for as long.
**
** Invariants
** - No thread sleeps on a lock that is free: the thread that frees a contended
**   lock wakes one sleeper.
** - What a thread had stored when its lock_try failed is seen by the holder,
**   in a sequentially consistent load after its lock_free, if it was stored
**   so too. So a thread can leave work to the holder, and never wait.
**
** Never call Lua, a callback, or the kernel (but for malloc, and for an
** eventfd that must agree with what the lock protects) while one is held. A
** forked child must not take a lock of its parent's: its holder may not exist
** there.
*/

#ifndef uring_lock_h
#define uring_lock_h

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lock {
  _Atomic uint32_t word;   /* enum lock_word; zeroed memory is a free lock */
};

enum lock_word { LOCK_FREE, LOCK_HELD, LOCK_CONTENDED };

void lock_wait (struct lock *l);  /* take a lock that was not free */
void lock_wake (struct lock *l);  /* wake one sleeper */

static inline void lock_take (struct lock *l) {
  uint32_t word = LOCK_FREE;
  if (!atomic_compare_exchange_strong_explicit(&l->word, &word, LOCK_HELD,
                                               memory_order_acquire,
                                               memory_order_relaxed))
    lock_wait(l);
}

/* Take it if it is free. */
static inline bool lock_try (struct lock *l) {
  uint32_t word = LOCK_FREE;
  return atomic_compare_exchange_strong(&l->word, &word, LOCK_HELD);
}

static inline void lock_free (struct lock *l) {
  if (atomic_exchange(&l->word, LOCK_FREE) == LOCK_CONTENDED) lock_wake(l);
}

#endif
