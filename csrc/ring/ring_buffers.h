/*
** ring_buffers: the provided buffers of a ring. (No Lua in it.)
**
** Buffer groups are registered with the ring, which counts each until it is
** unregistered or the ring is closed. The memory that a request provides
** (PROVIDE_BUFFERS) is the kernel's beyond that request: the ring keeps it
** until the close. The ring's owner registers groups; the rest is for the
** other modules of the ring (ring_internal.h).
**
** Invariant: memory that the kernel may still pick is not released while the
** ring is open.
*/

#ifndef uring_ring_buffers_h
#define uring_ring_buffers_h

#include "ring/buf_group.h"
#include "ring/ring.h"

/* Register and unregister a group: 0 or -errno. The ring counts the group in
** between. */
int ring_add_group (struct ring *r, struct buf_group *g);
int ring_remove_group (struct ring *r, struct buf_group *g);
struct buf_group *ring_group (const struct ring *r, unsigned bgid);

#endif
