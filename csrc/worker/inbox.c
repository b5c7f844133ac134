/*
** inbox: options, and the reader's part of a queue for C.
*/

#include "compat.h"
#include "worker/inbox.h"

#include "base/fork_id.h"
#include "base/sized.h"
#include "worker/box.h"
#include "worker/name_table.h"
#include "worker/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define USUAL_CAPACITY 1024
#define USUAL_BYTES    (1 << 20)
#define USUAL_FDS      16
#define LEAST_BYTES    256
#define MOST           (1 << 30)
#define MOST_FDS       (1 << 16)
#define USUAL_TYPES    ((2u << URING_ARRAY) - 1)
#define KNOWN_TYPES    ((2u << URING_BUFFER) - 1)

struct uring_inbox {
  struct queue *q;         /* counted */
  int eventfd;
  uint32_t fork_id;
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
  inbox->q->kinds = values_kinds(o->types);
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

/* The first message as queue_read gives it, but 0 only if the eventfd will be
** readable when there is one. */
static int read_or_rest (struct queue *q, struct message **m) {
  int rc;
  do rc = queue_read(q, m); while (rc == 0 && !queue_rest(q));
  return rc;
}

int inbox_take (uring_inbox *inbox, uring_message **message) {
  struct queue *q = inbox->q;
  struct message *m;
  int rc;
  if (inbox->fork_id != fork_id())
    return -ESTALE;
  rc = read_or_rest(q, &m);
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
    if (q && q->named) name_remove(q);  /* guard: first; found now, it gives
                                           EPIPE */
    undelivered = q ? (int64_t)queue_close(q, false) : 0;
    if (q) refblock_release(&q->block);
    if (inbox->eventfd >= 0) close(inbox->eventfd);
  }
  free(inbox);
  return undelivered;
}
