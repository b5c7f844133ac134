/*
** fork_id: a number that tells a process from the one it was forked from. (No
** Lua in it.)
**
** fork(2) copies every ring, and the copy must not be used: the child would
** write to the parent's queues. An object that must not cross a fork stores
** `fork_id()` when it is made and compares it when it is used. The test is
** one load: the number lies in a page that the kernel zeroes in the child
** (MADV_WIPEONFORK, since 4.14), so it needs neither getpid nor
** pthread_atfork.
**
** Invariant: a child's number differs from every number that it inherited.
*/

#ifndef uring_fork_id_h
#define uring_fork_id_h

#include <stdatomic.h>
#include <stdint.h>

extern _Atomic uint32_t *_Atomic fork_id_page;

uint32_t fork_id_first (void);  /* the first call in this process */

/* This process's number. It is 0 if there is no memory for the page, and then
** every process has the same one. */
static inline uint32_t fork_id (void) {
  _Atomic uint32_t *p = atomic_load_explicit(&fork_id_page,
                                             memory_order_acquire);
  uint32_t id = p ? atomic_load_explicit(p, memory_order_relaxed) : 0;
  return id != 0 ? id : fork_id_first();
}

#endif
