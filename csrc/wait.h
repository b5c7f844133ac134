/*
** wait: what a task waits with: uring.sleep and uring.await, and the waiting
** methods of rings and operations.
*/

#ifndef uring_wait_h
#define uring_wait_h

#include "state.h"

int wait_sleep (lua_State *L);       /* uring.sleep(seconds) */
int wait_await (lua_State *L);       /* uring.await(sqe [, timeout]) */
void wait_open (lua_State *L);

#endif
