/*
** run: uring.run.
**
** All of it runs in the state that called uring.run, outside any task. It ends
** with the tasks of its own scope. Tasks that were spawned outside any task go
** on meanwhile, and after that with the next run or step.
**
** Invariants: nothing is allocated between two tasks. An error in a task is
** the task's. An error here ends the run, after every task of it was cancelled
** and has ended.
*/

#ifndef uring_run_h
#define uring_run_h

#include "task/loop.h"

int run (lua_State *L);              /* uring.run(main, ...) */

/* Close the coroutines of all tasks: no task can run any more. */
void run_abandon_all (lua_State *L, struct loop *loop);

void run_open (lua_State *L);

#endif
