/*
** ref_lua: the class uring.Ref, a ring's reference as a Lua value: a count of
** the ring's handle.
*/

#ifndef uring_ref_object_h
#define uring_ref_object_h

#include "base/handle.h"
#include "lua/state.h"

/* The handle at `arg`, or NULL for what is no reference. */
struct handle *reference_test (lua_State *L, int arg);

struct reference {         /* the userdata */
  struct handle *ring;     /* counted; NULL: not yet, or collected */
};

/* A new object on top, still without its handle. */
struct reference *reference_new (lua_State *L);

void ref_object_open (lua_State *L);

#endif
