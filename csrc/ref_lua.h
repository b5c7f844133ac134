/*
** ref_lua: the class uring.Ref, a ring's reference as a Lua value.
*/

#ifndef uring_ref_lua_h
#define uring_ref_lua_h

#include "ref.h"
#include "state.h"

/* The record at `arg`, or NULL for what is no reference. */
struct ref *reference_test (lua_State *L, int arg);

/* A new reference to `ref`, which is counted once more. */
void reference_push (lua_State *L, struct ref *ref);

void reference_open (lua_State *L);

#endif
