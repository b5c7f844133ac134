/*
** ref_object: the class uring.Ref, a reference to a ring that other states may
** hold. It is a count of the ring's handle, and no pointer to the ring.
*/

#ifndef uring_ref_object_h
#define uring_ref_object_h

#include "base/handle.h"
#include "lua/state.h"

/* The handle of the reference at `arg`; NULL for any other value. */
struct handle *reference_test (lua_State *L, int arg);

struct reference {         /* the userdata */
  struct handle *ring;     /* counted; NULL: none yet, or collected */
};

/* Push a new object without a handle. */
struct reference *reference_new (lua_State *L);

void ref_object_open (lua_State *L);

#endif
