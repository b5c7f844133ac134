/*
** box: what C sends messages to, from any thread, without a Lua state. (No Lua
** in it.)
**
** A uring_box is the queue of a mailbox or of an inbox. Each count of it that
** C holds is one of the queue's owners and one of its senders. The functions
** are those of include/uring_lua.h, which has their contracts.
*/

#ifndef uring_box_h
#define uring_box_h

#include "worker/queue.h"

#include <uring_lua.h>

static inline struct queue *box_queue (uring_box *box) {
  return (struct queue *)(void *)box;
}

/* Count the queue, as a box. */
uring_box *box_of (struct queue *q);

int box_find (const char *realm, const char *name, size_t len,
              uring_box **box);
void box_hold (uring_box *box);
void box_release (uring_box *box);
int box_post (uring_box *box, const uring_value *values, uint32_t n);
int box_stats (uring_box *box, struct uring_stats *stats);
int box_wanting (uring_box *box, int eventfd);

#endif
