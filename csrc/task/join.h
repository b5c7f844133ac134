/*
** join: waiting for another task's end: task:join, and task:joining.
**
** Mostly the other one is the next to run, for it was just spawned. Then it
** runs inside the call that waits for it: the order of the tasks is the same,
** and neither coroutine is suspended if it ends without a wait of its own. To
** everybody else the joiner waits meanwhile like any; only its coroutine
** cannot be closed by what runs in it. One such call at a time, so that
** coroutines do not pile up on the C stack, and not where a watchdog counts
** each task's time.
*/

#ifndef uring_join_h
#define uring_join_h

#include "lua/state.h"

void join_open (lua_State *L);  /* methods of uring.Task */

#endif
