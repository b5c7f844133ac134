/*
** pool: the provided buffers that sockets receive into.
**
** The sockets of a loop share one pool for each class of sizes, made when it
** is first needed, and kept as long as the loop. A socket that gives leases
** away has a pool of its own, so that its readers starve nobody else; that
** ends with the socket, and its leases outlive it. Who finds no buffer waits
** in the pool's line, and each that comes home wakes the first.
*/

#ifndef uring_buf_pool_h
#define uring_buf_pool_h

#include "compat.h"
#include "ring/buf_group.h"
#include "task/wait.h"

struct buf_pool {  /* a userdata, in SHARED_POOLS or its socket's */
  struct buf_group *group;
  struct socket_waitq waitq;        /* who waits for one to come home */
  struct state *state;
  struct ring *ring;
  uint32_t touched;        /* a socket's own: buffers that have been used, */
  uint32_t given,
      missed;  /* and leases since garbage was last searched through
                              for some, and those that it did not have */
};

/* The kernel has filled one of a socket's own: pages that nobody has touched
** cost nothing, and each is used once before any is used again. */
void buf_pool_touch (struct buf_pool *p);

/* What it counts as for the collector. */
static inline size_t buf_pool_weight (const struct buf_pool *p) {
  return (size_t)p->touched * p->group->size;
}

/* What lies before the payload in a buffer of recvmsg_multishot, but for the
** control messages: its header, and who has sent it. */
#define POOL_HEADER  (16u + 128u)

/* The pool for the socket at stack index `socket`: its buffers have room for
** `size` bytes, and `before` them for what recvmsg puts there; 0: it is no
** recvmsg. Where it is to be the socket's own it becomes its user value. NULL
** and an errno. */
struct buf_pool *pool_find (lua_State *L, int socket, uint32_t size,
                        uint32_t before, bool own, int *err);

/* A pool that was a socket's own has no more to do. In a forked child, where
** it is not `ours`, the parent's ring is left alone. */
void buf_pool_drop (struct buf_pool *p, bool ours);

#endif
