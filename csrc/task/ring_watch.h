/*
** ring_watch: the rings that tasks wait on, and how their completions wake a
** loop that sleeps. Waits and run.c call it.
**
** The other rings are watched through an eventfd, because their own
** descriptors do not wake a sleeper. A multishot poll on the loop's ring
** reports the eventfd, and is armed again when the kernel ends it. The loop's
** own ring has such a poll for its doorbell's eventfd, if the doorbell has
** one. A step does not sleep: it looks at all rings, and its host polls their
** eventfds (host/loop_fd.h).
**
** Invariants: the loop does not sleep while a watched ring has completions. A
** record is not freed while its poll is in flight.
*/

#ifndef uring_ring_watch_h
#define uring_ring_watch_h

#include "task/loop.h"

#include <limits.h>

/* Watch a ring for this state's tasks. 0 or -errno. */
int ring_watch_start (struct loop *loop, struct ring *r);

/* Stop watching all of them: the loop ends. */
void ring_watch_stop_all (struct loop *loop);

/* The loop that watches a ring, or NULL. */
static inline struct loop *loop_of_ring (const struct ring *r) {
  const struct watch *w = r->watch;
  return w ? w->loop : NULL;
}

/* Submit on the other rings, and take up to `most` of the completions of each
** (RING_BATCH, or all of them: RING_WATCH_ALL; 0: only submit). Returns how
** many were taken. */
#define RING_WATCH_ALL UINT_MAX
unsigned ring_watch_enter (struct loop *loop, unsigned most);

/* Does this ring need that? */
bool ring_watch_needs (const struct watch *w);

/* The loop is about to sleep on its ring: have it woken by its doorbell's
** eventfd, if there is one. It sleeps elsewhere from now on. */
void ring_watch_own (struct loop *loop);
void ring_watch_own_stop (struct loop *loop);

/* The doorbell by which other threads wake the loop, made on first use; NULL
** and errno. */
struct doorbell *loop_doorbell (struct loop *loop);

/* ring_callbacks.internal: the poll of an eventfd has completed. */
void ring_watch_signaled (struct ring *r, struct op *op, int32_t res,
                          uint32_t flags, bool last);

/* ring_callbacks.closed: wakes the ring's receivers. */
void ring_watch_closed (struct ring *r);

/* ring_callbacks.unwatch: the program registers an eventfd of its own. True if
** no task waits on the ring, which then is no longer watched. */
bool ring_watch_stop (struct ring *r);

#endif
