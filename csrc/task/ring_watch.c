/*
** ring_watch: watches rings through eventfds, and drives them for the loop.
**
** A poll must be armed whenever its ring is watched: else the loop sleeps
** while a completion is there.
*/

#include "compat.h"
#include "task/ring_watch.h"

#include "base/fork_id.h"
#include "ring/doorbell.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "api/prep_build.h"
#include "task/wait.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>


/* ---- start and stop ---------------------------------------------------- */

int ring_watch_start (struct loop *loop, struct ring *r) {
  struct watch *w;
  int rc;
  if (r->watch)
    return 0;
  if (r->eventfd)
    return -EBUSY;
  w = calloc(1, sizeof(*w));
  if (w == NULL)
    return -ENOMEM;
  w->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (w->eventfd < 0) {
    rc = -errno;
    free(w);
    return rc;
  }
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_EVENTFD, &w->eventfd, 1);
  if (rc < 0) {
    close(w->eventfd);
    free(w);
    return rc;
  }
  w->loop = loop;
  w->ring = r;
  w->signaled = true;  /* (earlier completions did not signal it) */
  w->next = loop->watches;
  loop->watches = w;
  r->watch = w;
  return 0;
}

static void unpoll (const struct watch *w) {
  /* guard: or a forked child's copy keeps it polled */
  epoll_ctl(w->loop->fds.epoll, EPOLL_CTL_DEL, w->eventfd, NULL);
}

static void close_eventfd (struct watch *w) {
  if (w->polled) unpoll(w);
  close(w->eventfd);
}

/* Stop watching. The record is freed when its poll has ended. (In a forked
** child the eventfd, and what polls it, are the parent's.) */
static void unwatch (struct watch *w) {
  struct loop *loop = w->loop;
  bool ours = loop->fork_id == fork_id();
  struct watch **p = &loop->watches;
  w->ring->watch = NULL;
  w->ring = NULL;
  if (w == &loop->own) {  /* (the state closes; it is the doorbell's) */
    if (ours && loop->fds.epoll >= 0) unpoll(w);
    w->eventfd = -1;
    return;
  }
  while (*p != w) p = &(*p)->next;
  *p = w->next;
  if (ours) close_eventfd(w);
  if (w->poll == NULL || !loop->ring->open) free(w);
  else if (ours) ring_cancel(loop->ring, w->poll);
}

void ring_watch_closed (struct ring *r) {
  struct watch *w = r->watch;
  if (w == NULL)
    return;
  if (r->fork_id == fork_id()) turnq_wake_all(w->loop, &r->receivers);
  unwatch(w);  /* guard: in a forked child, too: the ring's memory ends */
}

bool ring_watch_stop (struct ring *r) {
  if (r->held > 0 || r->is_loop_ring)
    return false;
  sys_register(r->io.ring_fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
  unwatch(r->watch);
  return true;
}

void ring_watch_stop_all (struct loop *loop) {
  while (loop->watches) {
    struct watch *w = loop->watches;
    loop->watches = w->next;
    if (w->ring) w->ring->watch = NULL;
    if (w->ring) turnq_wake_all(loop, &w->ring->receivers);
    if (loop->fork_id == fork_id()) close_eventfd(w);
    if (w->poll) w->poll->watch = NULL;
    free(w);
  }
}


/* ---- eventfds ---------------------------------------------------------- */

struct doorbell *loop_doorbell (struct loop *loop) {
  struct ring *r = loop->ring;
  if (r->doorbell == NULL) {
    r->doorbell = doorbell_new(r->handle);
    if (r->doorbell) loop->own.eventfd = r->doorbell->eventfd;
  }
  return r->doorbell;
}

void ring_watch_signaled (struct ring *r, struct op *op, int32_t res,
                          uint32_t flags, bool last) {
  struct watch *w = op->watch;
  (void)res; (void)flags;
  w->signaled = true;
  if (r->doorbell && w == &w->loop->own) ring_doorbell(r);
  if (last) {
    w->poll = NULL;
    if (w->ring == NULL) free(w);
  }
}

static int arm_poll (struct loop *loop, struct watch *w) {
  struct request q = request_poll(&kind_poll_multishot, w->eventfd, POLLIN);
  int rc = ring_push_internal(loop->ring, &q.sqe, w, &w->poll);
  if (rc < 0) loop->retry = true;
  return rc;
}

/* Submit and reap on one ring. Returns how many CQEs were taken, or -ENOMEM.
** Its record may be freed. */
static int enter_one (struct watch *w, unsigned most) {
  struct ring *r = w->ring;
  int rc = 0, taken = 0;
  if (most > 0 || sys_sq_ready(&r->io) > 0 || r->ops.cancels.first)
    rc = ring_enter(r, 0, SYS_FOREVER);
  if (most > 0) {
    taken = most > RING_BATCH ? ring_reap(r) : ring_reap_batch(r);
    w->signaled = taken < 0 || rc == -EAGAIN || rc == -EBUSY;
    if (w->signaled) w->loop->retry = true;
  }
  if (rc == -EBADF || rc == -EOPNOTSUPP)
    ring_lost(r);  /* guard: its tasks would wait for ever */
  return taken;
}

bool ring_watch_needs (const struct watch *w) {
  const struct ring *r = w->ring;
  return w->signaled || ring_needs_enter(r) || sys_cq_ready(&r->io) > 0;
}

unsigned ring_watch_enter (struct loop *loop, unsigned most) {
  bool nomem = false;
  unsigned total = 0;
  for (struct watch *w = loop->watches, *next; w; w = next) {
    int armed = 0;
    next = w->next;
    if (w->poll == NULL && !loop->stepping)  /* guard: whenever it has ended */
      armed = arm_poll(loop, w);
    if (armed == -ENOMEM) nomem = true;
    /* guard: in a step no poll tells of a blind ring */
    if (ring_watch_needs(w) || (loop->stepping && ring_is_blind(w->ring))) {
      int taken = enter_one(w, most);
      if (taken < 0) nomem = true;
      else total += (unsigned)taken;
    }
  }
  if (most > 0) loop->nomem_turns = nomem ? loop->nomem_turns + 1 : 0;
  return total;
}

/* (A doorbell that is the loop's alone is rung by nothing else.) */
void ring_watch_own (struct loop *loop) {
  if (loop->own.eventfd >= 0 && loop->own.poll == NULL
      && doorbell_is_shared(loop->ring->doorbell))
    arm_poll(loop, &loop->own);
}

void ring_watch_own_stop (struct loop *loop) {
  if (loop->own.poll && loop->ring->open)
    ring_cancel(loop->ring, loop->own.poll);
}
