/*
** join: waiting for the end of another task: task:join and task:joining.
**
** Often that task is the next to run, because it was just spawned. Then it
** runs inside the call that waits for it: the order of the tasks is the same,
** and if it ends without a wait, neither coroutine is suspended. Meanwhile the
** joiner is in state TASK_WAITING like any other; only its coroutine cannot be
** closed by what runs inside it.
**
** Invariants: one such call at a time, so that coroutines do not nest on the C
** stack; none while a watchdog measures the time of each task.
*/

#ifndef uring_join_h
#define uring_join_h

#include "lua/state.h"

void join_open (lua_State *L);  /* methods of uring.Task */

#endif
