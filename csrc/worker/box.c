/*
** box: find one by its name, count it, and post to it. Each function first
** asks whether it is in a forked child: there a thread of the parent may have
** held the lock.
*/

#include "compat.h"
#include "worker/box.h"

#include "base/fork_id.h"
#include "base/nocancel.h"
#include "base/sized.h"
#include "worker/name_table.h"
#include "worker/values.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>


uring_box *box_of (struct queue *q) {
  refblock_retain(&q->block);
  queue_add_sender(q);
  return (uring_box *)(void *)q;
}

int box_find (const char *realm, const char *name, size_t len,
              uring_box **box) {
  union {
    struct queue_name name;
    char bytes[sizeof(struct queue_name) + 2 * NAME_LENGTH + 2];
  } n;
  size_t nrealm = realm ? strlen(realm) : 0;
  struct queue *q;
  if (name == NULL || len == 0 || len > NAME_LENGTH
      || nrealm > NAME_LENGTH || memchr(name, 0, len))
    return -EINVAL;
  name_fill(&n.name, realm ? realm : "", nrealm, name, len);
  q = name_find(&n.name);
  if (q == NULL)
    return -ENOENT;
  *box = box_of(q);
  refblock_release(&q->block);
  return 0;
}

void box_hold (uring_box *box) {
  struct queue *q = box_queue(box);
  if (q->fork_id == fork_id()) box_of(q);
}

void box_release (uring_box *box) {
  struct queue *q = box_queue(box);
  if (q->fork_id != fork_id())
    return;
  queue_drop_sender(q);
  refblock_release(&q->block);
}

int box_post (uring_box *box, const uring_value *values, uint32_t n) {
  struct queue *q = box_queue(box);
  struct values_limits limits = { q->limits.bytes, q->kinds };
  uint64_t small[QUEUE_SMALL / 8];
  struct message *m;
  int rc;
  if (q->fork_id != fork_id())
    return -ESTALE;
  rc = values_encode(values, n, &limits, small, sizeof(small), &m);
  if (rc < 0)
    return rc;
  rc = queue_post_aside(q, m);
  if (rc < 0 && (void *)m != (void *)small) free(m);  /* (not disposed of) */
  return rc;
}

int box_stats (uring_box *box, struct uring_stats *theirs) {
  struct queue *q = box_queue(box);
  struct uring_stats o = {0};
  struct queue_stats s;
  int rc = sized_read(&o, sizeof(o), sizeof(o), theirs);
  if (rc < 0)
    return rc;
  if (q->fork_id != fork_id())
    return -ESTALE;
  queue_stats(q, &s);
  o = (struct uring_stats){
    .size = theirs->size, .senders = s.senders, .waiting = s.waiting,
    .accepted = s.accepted.messages, .received = s.received,
    .undelivered = s.undelivered, .messages = s.queued.messages,
    .bytes = s.queued.bytes, .fds = s.queued.fds
  };
  memcpy(theirs, &o, sizeof(o));
  return 0;
}


/* ---- room -------------------------------------------------------------- */

/* Something of C's that waits for room: a sender without a message. */
struct wanting {
  struct queue_sender s;   /* first */
  int fd;                  /* a dup of the eventfd */
  atomic_bool notified;
};

static void wanting_end (struct refblock *b) {
  struct wanting *w = (struct wanting *)b;
  nocancel_close(w->fd);
  free(w);
}

static void wanting_notify (struct queue_sender *s) {
  struct wanting *w = (struct wanting *)s;
  if (!atomic_exchange(&w->notified, true)) nocancel_signal(w->fd);
}

int box_wanting (uring_box *box, int eventfd) {
  struct queue *q = box_queue(box);
  struct wanting *w;
  int fd, err;
  if (q->fork_id != fork_id())
    return -ESTALE;
  fd = fcntl(eventfd, F_DUPFD_CLOEXEC, 0);
  err = errno;
  w = fd >= 0 ? calloc(1, sizeof(*w)) : NULL;
  if (w == NULL) {
    if (fd >= 0) nocancel_close(fd);
    return fd >= 0 ? -ENOMEM : -err;
  }
  queue_sender_init(&w->s, wanting_end);
  w->s.cost = MESSAGE_COST + MESSAGE_COST_OF_VALUE;
  w->s.notify = wanting_notify;
  w->fd = fd;
  atomic_init(&w->notified, false);
  if (queue_wait(q, &w->s, NULL) == SEND_REFUSED)
    wanting_notify(&w->s);  /* (closed, it did not join) */
  refblock_release(&w->s.block);
  return 0;
}
