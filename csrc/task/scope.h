/*
** scope: scopes in Lua: the class uring.Scope, the functions that spawn, and
** the C part of lua/uring/scope.lua.
**
** Invariant: a scope's call returns or raises after all its tasks have ended;
** if its body is closed from outside, the enclosing scope waits for them.
*/

#ifndef uring_scope_h
#define uring_scope_h

#include "task/cancel_scope.h"

/* Raise the first error of the scope at a stack index. A string gets its
** traceback and where its task was spawned, once. */
int scope_rethrow (lua_State *L, int scope);

int scope_spawn (lua_State *L);      /* uring.spawn(f, ...) */
int scope_loop_spawn (lua_State *L); /* loop:spawn(f, ...) */
int scope_daemon (lua_State *L);     /* uring.daemon(f, ...) */
int scope_current (lua_State *L);    /* uring.current() */
int scope_root (lua_State *L);       /* uring.root() */

/* Put the functions for scope.lua into the table on top of the stack; their
** upvalue, the state, lies below it. */
void scope_functions (lua_State *L);
void scope_open (lua_State *L);

#endif
