/*
** ring_buffers: the provided and the registered buffers of a ring. (No Lua in
** it.)
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

#include <sys/uio.h>

/* Register and unregister a group: 0 or -errno. The ring counts the group in
** between. */
int ring_add_group (struct ring *r, struct buf_group *g);
int ring_remove_group (struct ring *r, struct buf_group *g);
struct buf_group *ring_group (const struct ring *r, unsigned bgid);

/* Memory to register: one block, or NULL for an empty place, and its bytes. */
struct registered {
  struct refblock **blocks;
  struct iovec *iov;
  uint64_t *tags;            /* or NULL */
  unsigned n;
};

/* Register them; with `blocks` NULL a table of `n` empty places. 0 or
** -errno. */
int ring_register_buffers (struct ring *r, const struct registered *b);

/* Replace those from `offset` on: the number replaced, or -errno. */
int ring_update_buffers (struct ring *r, unsigned offset,
                         const struct registered *b);

/* The buffers of `from` as well: all of them if `nr` is 0. 0 or -errno. */
int ring_clone_buffers (struct ring *r, const struct ring *from,
                        unsigned dst_off, unsigned src_off, unsigned nr,
                        unsigned flags);

int ring_unregister_buffers (struct ring *r);

/* Is this block registered with it? */
bool ring_has_registered (const struct ring *r, const struct refblock *b);

/* Unregister files or buffers, by an opcode of io_uring_register: 0 or -errno.
** Older kernels wait for their last users first, and a signal would end that:
** so signals are kept until it is done. */
int ring_unregister (const struct ring *r, unsigned opcode);

#endif
