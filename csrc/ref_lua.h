/*
** ref_lua: the class uring.Ref, a ring's reference as a Lua value.
*/

#ifndef uring_ref_lua_h
#define uring_ref_lua_h

#include "ref.h"
#include "state.h"

/* The record at `arg`, or NULL for what is no reference. */
struct ref *reference_test (lua_State *L, int arg);

struct reference {         /* the userdata */
  struct ref *ref;         /* counted; NULL: not yet, or collected */
};

/* A new object on top, still without its record. */
struct reference *reference_new (lua_State *L);

void reference_open (lua_State *L);

#endif
