/*
** loop_close: loop:close(seconds): ends all tasks of a state, so that a host
** can close the state after that. Tasks are cancelled and go on until they
** have ended, to-be-closed variables included; what has not ended in time is
** closed where it waits. Then the loop's ring is closed.
**
** Invariant: it takes no longer than its argument, but for what a task does
** without a wait.
*/

#ifndef uring_loop_close_h
#define uring_loop_close_h

#include "lua/state.h"

int loop_close_lua (lua_State *L);  /* loop:close(seconds) */
void loop_close_open (lua_State *L);

#endif
