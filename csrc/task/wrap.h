/*
** wrap: uring.wrap(f): coroutine.wrap(f) for functions that wait. A value that
** f yields goes to the caller. A wait in f suspends the task that called it,
** and continues in f.
**
** Invariant: only the innermost wrapped function of the running task can wait.
*/

#ifndef uring_wrap_h
#define uring_wrap_h

#include "task/loop.h"

/* The innermost coroutine in which the task with coroutine `co` waits. */
lua_State *wrap_innermost (lua_State *co);

int wrap_new (lua_State *L);         /* uring.wrap(f) */

void wrap_open (lua_State *L);

#endif
