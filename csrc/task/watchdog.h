/*
** watchdog: who runs for too long without waiting. While a run has one, each
** task's coroutine has a count hook, which looks at the clock; what a C
** function does not let it see in time is found when the task has stopped.
** A hook that somebody else has set is left alone.
**
** `on_slow(task, seconds, traceback)` is called once for each time that a task
** runs, in that task if it still runs. It cannot wait.
**
** A task that goes on though it is cancelled need not run for long at a time:
** its waits raise, and between them it may wait in a shield. It is told of,
** once, if it was refused waits for longer than is allowed. That is found in
** a run without a watchdog as well, after a second (loop.c), for such a task
** never ends; where there is no `on_slow` it is a warning (lua_warning).
*/

#ifndef uring_watchdog_h
#define uring_watchdog_h

#include "task/loop.h"

/* `slow` of the option table at `arg`, in ns, and on top `on_slow`; 0 and nil
** where they are not given. */
int64_t watchdog_options (lua_State *L, int arg);

/* These, whose function is on top and is taken, are for every run that says
** nothing; and a run begins that has said this. Neither raises. */
void watchdog_usual (lua_State *L, struct loop *loop, int64_t slow);
void watchdog_reset (lua_State *L, struct loop *loop, int64_t slow);

/* A task is about to run; and it has stopped, or ended. Meanwhile it is on top
** of the stack. What on_slow raises is raised when it has stopped. */
void watchdog_begin (lua_State *L, struct loop *loop, struct task *t);
void watchdog_end (lua_State *L, struct loop *loop);

void watchdog_open (lua_State *L);

#endif
