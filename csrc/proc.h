/*
** proc: which process is this? (No Lua in it.)
**
** A fork copies every ring, and a copy must not be used: the child would
** write to the parent's queues. Whatever must not cross a fork notes
** `proc_id()` when it is made, and is compared with it when it is used. The
** test is one load, for the number lies in a page that the kernel wipes in
** the child (MADV_WIPEONFORK), so it needs neither getpid nor pthread_atfork.
**
** What can never happen: a child's number equals one that it inherited.
*/

#ifndef uring_proc_h
#define uring_proc_h

#include <stdint.h>

/* This process's number, drawn at the first call in it; 0 for want of
** memory, which is then every process's. */
uint32_t proc_id (void);

#endif
