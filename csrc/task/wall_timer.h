/*
** wall_timer: times of the wall clock (CLOCK_REALTIME), for uring.at_time. The
** event itself is in lua/uring/time.lua.
**
** A wall timer notifies its task when the time has come. All of a loop are in
** a heap, and one timeout of the kernel's, IORING_TIMEOUT_ABS with REALTIME,
** is set to the earliest. So they follow when the clock is set, and under
** a host's clock too they are times of the system's.
**
** The first timer's task sets the timeout: it is notified when the last
** timeout has ended, and tries. So a completion makes no request.
**
** Invariants: while a timer is in the heap, a timeout that is not later is in
** flight, or the first timer's task is notified. A timer that is collected, or
** whose loop ends, is in no heap.
*/

#ifndef uring_wall_timer_h
#define uring_wall_timer_h

#include "task/loop.h"

int wall_time (lua_State *L);        /* uring.time() */

/* The loop ends: it has no timers any more. */
void wall_end (struct loop *loop);

/* The functions for lua/uring/time.lua, into the table on top. */
void wall_timer_functions (lua_State *L);

void wall_timer_open (lua_State *L);

#endif
