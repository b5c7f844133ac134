/*
** run: the loop turning: `uring.run`, and the class uring.Loop.
**
** Everything here runs in the state that called `uring.run`, outside any
** task. Between two resumptions nothing is allocated; what fails in a task
** is the task's error, and what fails here ends the run, after every task
** has been cancelled and has ended.
*/

#ifndef uring_run_h
#define uring_run_h

#include "lua/state.h"

int run (lua_State *L);              /* uring.run(main, ...) */
int run_loop (lua_State *L);         /* uring.loop{…} */
void run_open (lua_State *L);

#endif
