/*
** thread_id: a number that tells a thread from all others of the process, also
** from those that have ended. (No Lua in it.)
**
** pthread_self cannot do that: a new thread often gets the stack of one that
** has ended, and with it the same pthread_t. To the kernel it is another one.
*/

#ifndef uring_thread_id_h
#define uring_thread_id_h

#include <stdint.h>

/* This thread's number, which stays the same. 0: there is no memory for it. */
uint64_t thread_id (void);

#endif
