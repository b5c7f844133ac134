/*
** loop_fd: opens the descriptors, and makes them tell the truth at the end of
** each step.
**
** The order in loop_fd_settle must hold: enter, read, look again, and write
** what was seen. Any other order loses a wakeup.
*/

#include "compat.h"
#include "host/loop_fd.h"

#include "ring/doorbell.h"
#include "ring/ring_submit.h"
#include "task/loop_object.h"
#include "task/turn.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define DOUBTS    4     /* idle steps after work that read the eventfd */
#define LATE_NS   100000000  /* ... and those that do, where one is nested */
#define NOW_AND_THEN 1024  /* later one of so many */


/* ---- open -------------------------------------------------------------- */

static int watch_fd (int epoll, int fd) {
  struct epoll_event e;
  memset(&e, 0, sizeof(e));
  e.events = EPOLLIN;
  e.data.fd = fd;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* All of them, or -errno; what was opened is closed by the caller. */
static int open_all (struct loop *loop, struct poll_fds *f) {
  struct ring *r = loop->ring;
  int rc;
  if ((f->handle = handle_new()) == NULL)
    return -ENOMEM;
  if (r->doorbell == NULL) r->doorbell = doorbell_new_polled(r->handle);
  if (r->doorbell == NULL
      || (loop->own.eventfd = doorbell_polled(r->doorbell)) < 0
      || (f->cq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0
      || (f->timer = timerfd_create(CLOCK_MONOTONIC,
                                    TFD_CLOEXEC | TFD_NONBLOCK)) < 0
      || (f->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
    return -errno;
  handle_own(&loop->state->handles, f->handle, f->epoll);
  rc = watch_fd(f->epoll, f->cq);
  if (rc == 0) rc = watch_fd(f->epoll, f->timer);
  if (rc == 0) rc = watch_fd(f->epoll, loop->own.eventfd);
  if (rc == 0)  /* (last: nothing undoes it) */
    rc = sys_register(r->io.ring_fd, IORING_REGISTER_EVENTFD, &f->cq, 1);
  return rc;
}

int loop_fd_open (struct loop *loop) {
  struct poll_fds *f = &loop->fds;
  if (f->epoll < 0) {
    int rc = loop_is_elsewhere(loop) ? -EPERM : open_all(loop, f);
    if (rc < 0) {
      loop_close_fds(loop);
      return rc;
    }
    f->seen.enters = UINT64_MAX;
    ring_set_polled(loop->ring);
    if (!loop->running) loop_fd_settle(loop);
  }
  return f->epoll;
}


/* ---- the timerfd ------------------------------------------------------- */

/* It is set only when it must fire earlier than it will, or has fired: a later
** deadline is set when it has fired for nothing. 0 unsets it. */
static void set_timer (struct loop *loop, int64_t now) {
  struct poll_fds *f = &loop->fds;
  int64_t when = loop->heap.n > 0 && !loop->host_time
                 ? loop->heap.at[0].when : CLOCK_NEVER;
  if (when < f->armed || f->armed <= now) {
    struct itimerspec t;
    memset(&t, 0, sizeof(t));
    if (when != CLOCK_NEVER) {
      if (when <= 0) when = 1;
      t.it_value.tv_sec = when / 1000000000;
      t.it_value.tv_nsec = when % 1000000000;
    }
    timerfd_settime(f->timer, TFD_TIMER_ABSTIME, &t, NULL);
    f->armed = when;
  }
}


void loop_fd_host_time (struct loop *loop) {
  struct poll_fds *f = &loop->fds;
  if (f->armed != CLOCK_NEVER) {
    f->armed = 0;
    set_timer(loop, clock_now());
  }
}


/* ---- steps ------------------------------------------------------------- */

static bool read_eventfd (int fd) {
  uint64_t n;
  return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

/* Read the eventfds of all rings, whether they seem to be signaled or not. */
static bool read_signals (struct loop *loop) {
  bool any = read_eventfd(loop->fds.cq);
  for (struct watch *w = loop->watches; w; w = w->next)
    if (read_eventfd(w->eventfd)) any = true;
  return any;
}

/* Has a ring been entered, or something been taken from it, since its eventfd
** was read? (Between two steps too: by hand, or by a close.) */
static bool has_changed (const struct ring *r, const struct ring_seen *seen) {
  return r->stats.enters != seen->enters || r->stats.cqes != seen->cqes;
}

static bool any_has_changed (const struct loop *loop) {
  if (has_changed(loop->ring, &loop->fds.seen))
    return true;
  for (const struct watch *w = loop->watches; w; w = w->next)
    if (has_changed(w->ring, &w->seen))
      return true;
  return false;
}

/* May a signal come that is for what was taken? */
static bool in_doubt (struct poll_fds *f) {
  if (f->doubt == 0)
    return false;
  if (clock_coarse() >= f->late) f->doubt--;
  return true;
}

bool loop_fd_pending (struct loop *loop, int64_t now) {
  struct poll_fds *f = &loop->fds;
  bool pending;
  if (f->epoll < 0)
    return false;
  pending = f->armed <= now || doorbell_notified(loop->ring->doorbell)
            || any_has_changed(loop);
  /* (in doubt even if so: a thread that is about to write the doorbell's
     eventfd may take long, and the host would come for the others) */
  if (!in_doubt(f) && (pending || ++f->idle % NOW_AND_THEN != 0))
    return pending;
  return read_signals(loop) || pending;
}

void loop_fd_begin (struct loop *loop) {
  loop->quiet = false;
  loop->fds.idle = 0;
  if (loop->ring->doorbell) doorbell_disarm(loop->ring->doorbell);
}

/* Anything to do, deadlines included. */
static bool at_hand (const struct loop *loop) {
  return turn_at_hand(loop) || loop->failed
         || (loop->heap.n > 0 && turn_due(loop, loop_time(loop)));
}

/* The kernel does not signal an eventfd from within the signal of another, for
** which a request has waited: it does so later, and, at least up to 6.18, only
** once for each time that the eventfd was registered. */
static bool register_anew (const struct ring *r, int fd) {
  sys_register(r->io.ring_fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
  return sys_register(r->io.ring_fd, IORING_REGISTER_EVENTFD, &fd, 1) >= 0;
}

/* Read a ring's eventfd. False if it will not be signaled any more. */
static bool read_ring (struct poll_fds *f, const struct ring *r, int fd,
                       struct ring_seen *seen) {
  bool ok = true;
  if (r->nested && r->stats.cqes != seen->cqes)
    f->late = clock_coarse() + LATE_NS;
  *seen = (struct ring_seen){ r->stats.enters, r->stats.cqes };
  f->doubt = DOUBTS;
  read_eventfd(fd);
  /* guard: or the next such signal never comes */
  if (r->nested) ok = register_anew(r, fd);
  return ok;
}

/* Read what may be signaled. False if a ring will not signal any more. */
static bool read_changed (struct loop *loop) {
  struct poll_fds *f = &loop->fds;
  struct doorbell *b = loop->ring->doorbell;
  bool ok = !has_changed(loop->ring, &f->seen)
            || read_ring(f, loop->ring, f->cq, &f->seen);
  for (struct watch *w = loop->watches; w; w = w->next)
    if (has_changed(w->ring, &w->seen))
      ok = read_ring(f, w->ring, w->eventfd, &w->seen) && ok;
  if (doorbell_notified(b)) doorbell_read(b);
  return ok;
}

/* Poll the eventfds of rings that are watched since the last step. False if
** there is no memory for that. */
static bool poll_watches (struct loop *loop) {
  bool ok = true;
  for (struct watch *w = loop->watches; w; w = w->next)
    if (!w->polled) {
      w->polled = watch_fd(loop->fds.epoll, w->eventfd) == 0;
      if (w->polled) ring_set_polled(w->ring);
      else ok = false;
    }
  return ok;
}

bool loop_fd_settle (struct loop *loop) {
  struct poll_fds *f = &loop->fds;
  struct doorbell *b = loop->ring->doorbell;
  bool more = at_hand(loop);
  if (f->epoll < 0)
    return more;
  if (loop->heap.n > 0 || f->armed != CLOCK_NEVER)
    set_timer(loop, clock_now());
  if (!poll_watches(loop)) more = true;  /* (tried again) */
  if (!more) {
    bool ok = read_changed(loop);
    doorbell_arm(b);
    more = at_hand(loop);  /* guard: what came before the read */
    more = more || !ok;
  }
  loop->quiet = !more;
  if (more) {
    doorbell_disarm(b);
    doorbell_notify(b);  /* guard: the host must come again */
  }
  return more;
}
