/*
** buf_ring: buffer groups for Lua: `ring:buf_ring{ … }`.
**
** A completion with IORING_CQE_F_BUFFER names the buffer that the kernel has
** filled. `lease(res, flags)` returns it as an object, without copying; the
** buffer is recycled when the lease is released, closed or collected.
** `string(res, flags)` copies the bytes and recycles the buffer at once. A
** completion can be taken only once. The buffers of results that the library
** disposes of are recycled too.
*/

#ifndef uring_buf_ring_h
#define uring_buf_ring_h

#include "ring/buf_group.h"
#include "lua/state.h"

/* Push a new empty uring.Lease, before the piece is taken: nothing may raise
** afterwards. */
struct lease **lease_push (lua_State *L);

/* Give it this lease and its count (NULL: none; returns false). The count of
** the one that it had becomes the caller's. */
bool lease_set (lua_State *L, struct lease **own, struct lease *lease);

void buf_ring_open (lua_State *L);  /* the classes, and ring:buf_ring */

#endif
