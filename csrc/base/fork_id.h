/*
** proc: which process is this? (No Lua in it.)
**
** A fork copies every ring, and a copy must not be used: the child would
** write to the parent's queues. Whatever must not cross a fork notes
** `fork_id()` when it is made, and is compared with it when it is used. The
** test is one load, for the number lies in a page that the kernel wipes in
** the child (MADV_WIPEONFORK), so it needs neither getpid nor pthread_atfork.
**
** What can never happen: a child's number equals one that it inherited.
*/

#ifndef uring_fork_id_h
#define uring_fork_id_h

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern _Atomic uint32_t *_Atomic fork_id_page;

uint32_t fork_id_first (void);  /* the first call in this process */

/* This process's number; 0 for want of memory, and then it is everyone's. */
static inline uint32_t fork_id (void) {
  _Atomic uint32_t *p = atomic_load_explicit(&fork_id_page,
                                             memory_order_acquire);
  uint32_t id = p ? atomic_load_explicit(p, memory_order_relaxed) : 0;
  return id != 0 ? id : fork_id_first();
}

#endif
