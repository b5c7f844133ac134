/*
** semaphore: uring.semaphore(n): a number of units that tasks of one state
** acquire and release. The units are items (struct
** items in wait.h).
**
** Invariant: no unit is lost or doubled, whatever fails.
*/

#ifndef uring_semaphore_h
#define uring_semaphore_h

#include "lua/state.h"

int semaphore_new (lua_State *L);    /* uring.semaphore(n) */

void semaphore_open (lua_State *L);

#endif
