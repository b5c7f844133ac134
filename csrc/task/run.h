/*
** run: uring.run, its turns of the loop, and the class uring.Loop.
**
** All of it runs in the state that called uring.run, outside any task.
**
** Invariants: nothing is allocated between two tasks. An error in a task is
** the task's. An error here ends the run, after every task was cancelled and
** has ended.
*/

#ifndef uring_run_h
#define uring_run_h

#include "lua/state.h"

int run (lua_State *L);              /* uring.run(main, ...) */
int run_loop (lua_State *L);         /* uring.loop{…} */
void run_open (lua_State *L);

#endif
