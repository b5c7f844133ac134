/*
** c_api: the table of functions for programs in C that have Lua inside:
** include/uring_lua.h, which has their contracts.
**
** It is found in the registry of each state that has loaded the library. It is
** static: it stays valid after lua_close, since the module is not unloaded.
**
** Invariant: no function of it longjmps, and the Lua stack is after each as it
** was before, but for what the header says.
*/

#ifndef uring_c_api_h
#define uring_c_api_h

#include "lua/state.h"

void c_api_open (lua_State *L);

/* Put the table into the registry. May raise for want of memory. */
void c_api_publish (lua_State *L);

#endif
