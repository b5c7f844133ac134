/*
** ring_provided: the buffers that a ring's kernel picks from. (No Lua in it.)
**
** Groups are registered with the ring, which counts each until it is taken
** out or the ring is closed. What a request provides (PROVIDE_BUFFERS) is the
** kernel's beyond that request: the ring keeps its memory until the close.
** Who owns the ring registers groups; the rest is for its own rooms
** (ring_private.h).
**
** What can never happen: memory that the kernel may still pick is given back
** while the ring is open.
*/

#ifndef uring_ring_buffers_h
#define uring_ring_buffers_h

#include "ring/buf_group.h"
#include "ring/ring.h"

/* 0 or -errno, and on success the ring counts the group. */
int ring_add_group (struct ring *r, struct buf_group *g);
int ring_remove_group (struct ring *r, struct buf_group *g);
struct buf_group *ring_group (const struct ring *r, unsigned bgid);

#endif
