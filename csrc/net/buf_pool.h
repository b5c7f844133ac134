/*
** buf_pool: the provided buffers that sockets receive into.
**
** The sockets of a loop share one pool for each class of sizes. It is made
** when it is first needed, and kept as long as the loop. A socket that gives
** leases has a pool of its own, so that its readers take no buffers from other
** sockets. That pool ends with the socket, and its leases outlive it. A task
** that finds no buffer free waits in the pool's queue, and each recycled
** buffer wakes the first.
**
** Called by recv.c, recv_request.c and rx_data.c, and by socket.c and
** socket_move.c to drop one.
** What can never happen: a buffer is leased and the kernel's at once; a pool's
** group is freed while a lease is left.
*/

#ifndef uring_buf_pool_h
#define uring_buf_pool_h

#include "compat.h"
#include "ring/buf_group.h"
#include "task/wait.h"

struct buf_pool {  /* a userdata, in SHARED_POOLS or its socket's */
  struct buf_group *group;
  struct object_waitq waitq;  /* of tasks that wait for a free buffer */
  struct state *state;
  struct ring *ring;
  uint32_t touched;        /* of a socket's own: buffers that were used */
  uint32_t leases_given;   /* since the last full collection for leases */
  uint32_t leases_missed;  /* its buffers, less those that one recycled */
};

/* The kernel has filled a buffer of a socket's own pool. Count its memory:
** only pages that were touched cost any, and each buffer is used once before
** any is used again. */
void buf_pool_touch (struct buf_pool *p);

/* Its memory, as counted for the collector. */
static inline size_t buf_pool_weight (const struct buf_pool *p) {
  return (size_t)p->touched * p->group->size;
}

/* Before the payload in a buffer of recvmsg_multishot, without the control
** messages: the header and the sender's address. */
#define POOL_HEADER  (16u + 128u)

/* The pool for the socket at stack index `socket`. A buffer takes `size` bytes
** of payload, and before them the `before` bytes that recvmsg writes (0: it is
** no recvmsg). A pool of the socket's `own` becomes its user value. Or NULL,
** and `err` is an errno. */
struct buf_pool *buf_pool_find (lua_State *L, int socket, uint32_t size,
                                uint32_t before, bool own, int *err);

/* A socket's own pool ends. In a forked child, which is not `in_owner`, the
** ring is the parent's and stays as it is. */
void buf_pool_drop (struct buf_pool *p, bool in_owner);

#endif
