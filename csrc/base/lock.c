/*
** lock: what a thread does that finds a lock taken. A thread that has slept
** must mark the lock as contended again: it does not know whether others
** sleep.
*/

#include "compat.h"
#include "base/lock.h"

#include "base/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/futex.h>

#define SPINS 400
#define YIELD_EACH 40


static bool spin (struct lock *l) {
  for (unsigned i = 1; i <= SPINS; i++) {
    uint32_t word = LOCK_FREE;
    if (atomic_load_explicit(&l->word, memory_order_relaxed) == LOCK_FREE
        && atomic_compare_exchange_weak_explicit(&l->word, &word, LOCK_HELD,
                                                 memory_order_acquire,
                                                 memory_order_relaxed))
      return true;
    if (i % YIELD_EACH == 0) sched_yield();
    else cpu_relax();
  }
  return false;
}

void lock_wait (struct lock *l) {
  if (spin(l))
    return;
  while (atomic_exchange_explicit(&l->word, LOCK_CONTENDED,
                                  memory_order_acquire) != LOCK_FREE)
    syscall(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, LOCK_CONTENDED, NULL,
            NULL, 0);
}

void lock_wake (struct lock *l) {
  syscall(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
