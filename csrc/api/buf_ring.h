/*
** buf_ring: groups of provided buffers for Lua: `ring:buf_ring{ … }`.
**
** A completion with IORING_CQE_F_BUFFER says which buffer the kernel has
** filled. `lease(res, flags)` gives it as an object that is read where it
** lies and goes home when it is released, closed or collected; `string(res,
** flags)` copies it and sends it home at once. Either takes a completion
** once; what the library disposes of itself goes home by itself.
*/

#ifndef uring_buf_ring_h
#define uring_buf_ring_h

#include "ring/buf_group.h"
#include "lua/state.h"

/* A new uring.Lease on top, empty: it is there before the piece is taken. */
struct lease **lease_push (lua_State *L);

/* It has this one now; NULL: none, and false. The one that it had is the
** caller's. */
bool lease_set (lua_State *L, struct lease **own, struct lease *lease);

void buf_ring_open (lua_State *L);  /* the classes, and ring:buf_ring */

#endif
