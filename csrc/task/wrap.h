/*
** wrap: uring.wrap(f), which is coroutine.wrap(f) for functions that wait. A
** value that f yields goes to whoever called; a wait in it suspends the task
** that called, and goes on where it was when the task does.
*/

#ifndef uring_wrap_h
#define uring_wrap_h

#include "task/loop.h"

/* Where a task whose coroutine is `co` really waits. */
lua_State *wrap_innermost (lua_State *co);

int wrap_new (lua_State *L);         /* uring.wrap(f) */

void wrap_open (lua_State *L);

#endif
