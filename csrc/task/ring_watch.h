/*
** watch: the rings that tasks wait on, and how they wake a loop that sleeps.
**
** Rings other than the loop's own are watched through an eventfd: their own
** descriptors do not wake a sleeper. A multishot poll on the loop's ring
** reports it, and is armed again whenever the kernel ends it. The loop's own
** ring has such a poll for its bell's eventfd, where the bell needs one.
**
** What can never happen: the loop sleeps on though a watched ring has
** completions; a record is freed while its poll is under way.
*/

#ifndef uring_ring_watch_h
#define uring_ring_watch_h

#include "task/loop.h"

/* Watch a ring for this state's tasks. 0 or -errno. */
int ring_watch_start (struct loop *loop, struct ring *r);

/* Watch none of them any more: the loop ends. */
void ring_watch_stop_all (struct loop *loop);

/* The loop that watches a ring; NULL: none does. */
static inline struct loop *loop_of_ring (const struct ring *r) {
  const struct watch *w = r->watch;
  return w ? w->loop : NULL;
}

/* Submit and take on the other rings, as far as there is a reason to. */
void ring_watch_enter (struct loop *loop);

/* The bell by which others wake it, made when it is first asked for; NULL and
** errno. */
struct doorbell *loop_doorbell (struct loop *loop);

/* For hooks. The poll of an eventfd has told of it, or ended. */
void ring_watch_signaled (struct ring *r, struct op *op, int32_t res,
                          uint32_t flags,
                 bool last);

/* A ring is closed: who waits for its messages is woken. */
void ring_watch_closed (struct ring *r);

/* Its eventfd is wanted for others: true where nobody waits on the ring, which
** is not watched then. */
bool ring_watch_stop (struct ring *r);

#endif
