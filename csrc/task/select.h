/*
** select: how uring.select chooses. It tries its events in random order, and
** returns what the first that is ready has given. If none is, it waits in
** lua/uring/select.lua, which tries them again by the same function.
**
** Invariant: what a try has taken is returned. Nothing after it needs memory
** here, or can fail.
*/

#ifndef uring_select_h
#define uring_select_h

#include "lua/state.h"

/* As scope_functions. */
void select_functions (lua_State *L);

#endif
