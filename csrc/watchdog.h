/*
** watchdog: who runs for too long without waiting. While a run has one, each
** task's coroutine has a count hook, which looks at the clock; what a C
** function does not let it see in time is found when the task has stopped.
** A hook that somebody else has set is left alone.
**
** `on_slow(task, seconds, traceback)` is called once for each time that a task
** runs, in that task if it still runs. It cannot wait.
*/

#ifndef uring_watchdog_h
#define uring_watchdog_h

#include "loop.h"

/* Set `slow` and `on_slow` from the option table at `arg`; without them there
** is none. */
void watchdog_options (lua_State *L, struct loop *loop, int arg);

/* What is set now is for every run that says nothing; a run begins. */
void watchdog_keep (lua_State *L, struct loop *loop);
void watchdog_reset (lua_State *L, struct loop *loop);

/* The current task is about to run in `co`; and it has stopped, and has not
** been seen to end. False if on_slow has raised the error on top. */
void watchdog_begin (struct loop *loop, lua_State *co);
bool watchdog_end (lua_State *L, struct loop *loop);

#endif
