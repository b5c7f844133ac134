/*
** watchdog: reports tasks that run for too long without a wait. While a run
** has a watchdog, each task's coroutine has a count hook, which reads the
** clock; a long C function is found when the task has stopped. A hook that the
** program has set is left alone.
**
** `on_slow(task, seconds, traceback)` is called once each time that a task
** runs for too long, in that task if it still runs. It cannot wait.
**
** A task that ignores its cancellation may run only briefly at a time: its
** waits raise, and between them it may wait in a shield. It is reported, once,
** if it was refused waits for longer than `slow`. A run without a watchdog
** finds that as well, after a second (loop.c), because such a task never ends;
** without `on_slow` it is a warning (lua_warning).
**
** Invariant: no clock is read for a task in a run without a watchdog.
*/

#ifndef uring_watchdog_h
#define uring_watchdog_h

#include "task/loop.h"

/* Return option `slow` of the table at `arg`, in ns, and push `on_slow`; 0
** without it, or for ever, and nil without that. */
int64_t watchdog_options (lua_State *L, int arg);

/* Pop on_slow, and set both for every run without options of its own; or for
** the run that begins now (nil: it has none). Neither raises. */
void watchdog_usual (lua_State *L, struct loop *loop, int64_t slow);
void watchdog_reset (lua_State *L, struct loop *loop, int64_t slow);

/* A task is about to run: pushes it. The task has stopped or ended: pops it,
** and raises what on_slow raises. */
void watchdog_begin (lua_State *L, struct loop *loop, struct task *t);
void watchdog_end (lua_State *L, struct loop *loop);

/* Pop a report on the worker at 1, and call on_slow(worker, seconds, report),
** or warn. */
void watchdog_tell (lua_State *L, lua_Number seconds);

void watchdog_open (lua_State *L);

#endif
