/*
** signal_name: signals by their names, without "SIG", as kill(1) takes them.
*/

#ifndef uring_signal_name_h
#define uring_signal_name_h

#include "compat.h"

#include <lua.h>
#include <lauxlib.h>

/* The signal that is named at `arg`; raises for any other value. */
int signal_name_check (lua_State *L, int arg);

/* Its name, or NULL: one that has none. */
const char *signal_name (int number);

#endif
