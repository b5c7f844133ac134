/*
** inbox: options, and the reader's part of a queue for C. A message is the
** reader's when it was copied for it; until then it stays the first.
*/

#include "compat.h"
#include "worker/inbox.h"

#include "base/fork_id.h"
#include "base/nocancel.h"
#include "base/sized.h"
#include "worker/box.h"
#include "worker/name_table.h"
#include "worker/values.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define USUAL_CAPACITY 1024
#define USUAL_BYTES    (1 << 20)
#define USUAL_FDS      16
#define LEAST_BYTES    256
#define MOST           (1 << 30)
#define MOST_FDS       (1 << 16)
#define USUAL_TYPES    ((2u << URING_ARRAY) - 1)
#define KNOWN_TYPES    ((2u << URING_BUFFER) - 1)

/* The inbox counts it, until it was taken; its mailbox, until that is closed;
** and the notices, while it is there. */
struct monitor {
  struct queue_sender s;   /* first */
  struct queue_notice notice;
  struct queue *of, *to;   /* counted; of `to` it is a sender */
  int64_t token;
  atomic_bool notified;
  struct monitor *next, **back;  /* of the inbox */
};

struct uring_inbox {
  struct queue *q;         /* counted */
  int eventfd;
  uint32_t fork_id;
  struct monitor *monitors;
};


static bool is_name (const char *s) {
  size_t len = strlen(s);
  return len > 0 && len <= NAME_LENGTH;
}

/* 0, or -EINVAL. */
static int check_options (struct uring_inbox_options *o) {
  if (o->capacity == 0) o->capacity = USUAL_CAPACITY;
  if (o->bytes == 0) o->bytes = USUAL_BYTES;
  if (o->fds == 0) o->fds = USUAL_FDS;
  if (o->types == 0) o->types = USUAL_TYPES;
  if (o->realm == NULL) o->realm = "";
  return o->capacity <= MOST && o->bytes <= MOST && o->bytes >= LEAST_BYTES
         && o->fds <= MOST_FDS && !(o->types & ~KNOWN_TYPES)
         && o->reserved == 0 && strlen(o->realm) <= NAME_LENGTH
         && (o->name == NULL || is_name(o->name)) ? 0 : -EINVAL;
}

static int give_name (struct queue *q, const char *realm, const char *name) {
  struct queue_name *n = name_new(realm, strlen(realm), name, strlen(name));
  int rc = n ? name_add(n, q) : -ENOMEM;
  if (rc < 0) free(n);
  return rc;
}

/* Open what a zeroed inbox needs: 0, or -errno. */
static int open_inbox (struct uring_inbox *inbox,
                       const struct uring_inbox_options *o) {
  struct queue_limits limits = { o->capacity, o->bytes, o->fds };
  inbox->fork_id = fork_id();
  inbox->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (inbox->eventfd < 0)
    return -errno;
  inbox->q = queue_new(&limits);
  if (inbox->q == NULL)
    return -ENOMEM;
  inbox->q->kinds = values_kinds(o->types) | 1u << MESSAGE_SLOT;
  queue_set_eventfd(inbox->q, inbox->eventfd);
  return o->name ? give_name(inbox->q, o->realm, o->name) : 0;
}

int inbox_new (const struct uring_inbox_options *options,
               uring_inbox **inbox) {
  struct uring_inbox_options o = { .size = sizeof(o) };
  int rc = options ? sized_read(&o, sizeof(o), sizeof(o), options) : 0;
  struct uring_inbox *new;
  if (rc == 0) rc = check_options(&o);
  if (rc < 0)
    return rc;
  new = calloc(1, sizeof(*new));
  if (new == NULL)
    return -ENOMEM;
  rc = open_inbox(new, &o);
  if (rc < 0) inbox_close(new);
  else *inbox = new;
  return rc;
}

uring_box *inbox_box (uring_inbox *inbox) {
  return inbox->fork_id == fork_id() ? box_of(inbox->q) : NULL;
}

int inbox_fd (uring_inbox *inbox) {
  return inbox->fork_id == fork_id() ? inbox->eventfd : -ESTALE;
}


/* ---- monitors ---------------------------------------------------------- */

static void monitor_end (struct refblock *b) {
  struct monitor *m = (struct monitor *)b;
  refblock_release(&m->of->block);
  queue_release_sender(NULL, m->to, 0);
  free(m);
}

static void monitor_notify (struct queue_sender *s) {
  struct monitor *m = (struct monitor *)s;
  if (atomic_exchange(&m->notified, true))
    return;
  refblock_retain(&s->block);
  if (!queue_notify(m->to, &m->notice)) refblock_release(&s->block);
}

/* The inbox does not count it any more. */
static void drop_monitor (struct monitor *m) {
  *m->back = m->next;
  if (m->next) m->next->back = m->back;
  queue_unmonitor(m->of, &m->s);
  refblock_release(&m->s.block);
}

/* The inbox is closed. */
static void drop_all_monitors (struct uring_inbox *inbox) {
  struct queue_notice *n;
  while (inbox->monitors) drop_monitor(inbox->monitors);
  while ((n = queue_first_notice(inbox->q)) != NULL) {
    struct monitor *m = (struct monitor *)((char *)n
                                           - offsetof(struct monitor, notice));
    queue_drop_notice(inbox->q);
    refblock_release(&m->s.block);
  }
}

int inbox_monitor (uring_box *box, uring_inbox *inbox, int64_t token) {
  struct queue *of = box_queue(box);
  struct monitor *m;
  if (of->fork_id != fork_id() || inbox->fork_id != fork_id())
    return -ESTALE;
  m = calloc(1, sizeof(*m));
  if (m == NULL)
    return -ENOMEM;
  queue_sender_init(&m->s, monitor_end);
  m->s.notify = monitor_notify;
  m->of = of;
  refblock_retain(&of->block);
  m->to = box_queue(box_of(inbox->q));
  m->token = token;
  atomic_init(&m->notified, false);
  m->next = inbox->monitors;
  m->back = &inbox->monitors;
  if (m->next) m->next->back = &m->next;
  inbox->monitors = m;
  if (queue_monitor(of, &m->s, NULL) == SEND_REFUSED)
    monitor_notify(&m->s);  /* (closed, it did not join) */
  return 0;
}

/* The first notice, as a message: 1; 0: there is none; or -ENOMEM. */
static int take_notice (struct uring_inbox *inbox, uring_message **message) {
  struct queue_notice *n = queue_first_notice(inbox->q);
  struct monitor *m;
  if (n == NULL)
    return 0;
  m = (struct monitor *)((char *)n - offsetof(struct monitor, notice));
  *message = values_closed(m->token);
  if (*message == NULL)
    return -ENOMEM;  /* (it stays the first) */
  queue_drop_notice(inbox->q);
  drop_monitor(m);
  refblock_release(&m->s.block);
  return 1;
}


/* ---- messages ---------------------------------------------------------- */

/* The first message as queue_read gives it, but 0 only if the eventfd will be
** readable when there is one. */
static int read_or_rest (struct queue *q, struct message **m) {
  int rc;
  do rc = queue_read(q, m);
  while (rc == 0 && queue_first_notice(q) == NULL && !queue_rest(q));
  return rc;
}

int inbox_take (uring_inbox *inbox, uring_message **message) {
  struct queue *q = inbox->q;
  struct message *m;
  int rc;
  if (inbox->fork_id != fork_id())
    return -ESTALE;
  do {
    rc = take_notice(inbox, message);
    if (rc != 0)
      return rc < 0 ? rc : 0;
    rc = read_or_rest(q, &m);
  } while (rc == 0 && queue_first_notice(q));
  if (rc <= 0)
    return rc == 0 ? -EAGAIN : rc;
  *message = values_decode(m);
  if (*message == NULL) {
    queue_unread(q);  /* guard: it stays the first */
    return -ENOMEM;
  }
  queue_taken(q);
  return 0;
}

/* (In a forked child the queue is the parent's, and the number may be another
** file's by now.) */
int64_t inbox_close (uring_inbox *inbox) {
  struct queue *q = inbox->q;
  int64_t undelivered = -ESTALE;
  if (inbox->fork_id == fork_id()) {
    undelivered = 0;
    if (q) {
      name_remove(q);  /* guard: first; found now, it gives EPIPE */
      undelivered = (int64_t)queue_close(q, false);
      drop_all_monitors(inbox);
      refblock_release(&q->block);
    }
    if (inbox->eventfd >= 0) nocancel_close(inbox->eventfd);
  }
  free(inbox);
  return undelivered;
}
