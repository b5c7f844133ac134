/*
** queue: the lock and what is done under it: posts, counts, the close. What
** must not break: doorbells are rung, senders notified, and messages freed or
** disposed of after the lock was freed, and by a count that was taken under
** it. `queue_unlock` and `attend` alone free the lock.
*/

#include "compat.h"
#include "worker/queue.h"

#include "base/fork_id.h"
#include "worker/queue_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FIRST 2048u


/* ---- the lock ---------------------------------------------------------- */

/* (locked) The reader waits for more than the first `others` messages. */
static void want (struct queue *q, struct wakeups *w) {
  uint64_t others = atomic_load(&q->others);
  if (q->closed)
    return;
  q->wanted = true;
  /* guard: a message may have come since the reader looked */
  if (queue_is_over(q) || q->accepted.messages - atomic_load(&q->taken)
                          > others)
    queue_wake_reader(q, w);
  else queue_give_up_offers(q);
}

/* Do what was asked, unless another thread has the lock: then that does it. */
static void attend (struct queue *q) {
  while (atomic_load(&q->asked) && lock_try(&q->lock)) {
    struct wakeups w = { .n = 0 };
    struct queue_sender *s = NULL;
    unsigned asked = atomic_exchange(&q->asked, 0);
    if (asked & TASK_GIVE_UP) queue_give_up_offers(q);
    if (asked & TASK_WANT) want(q, &w);
    if (asked && queue_serve_first(q, &w, &s))
      atomic_fetch_or(&q->asked, TASK_SERVE);  /* (and the next one) */
    lock_free(&q->lock);
    queue_wake_now(&w);
    if (s) queue_notify_sender(s);
  }
}

void queue_ask (struct queue *q, unsigned tasks) {
  atomic_fetch_or(&q->asked, tasks);
  attend(q);
}

void queue_unlock (struct queue *q) {
  lock_free(&q->lock);
  attend(q);  /* guard: its reader has not waited for the lock */
}

/* Accept the messages of waiting senders for which there is space. */
void queue_serve_waiting (struct queue *q) {
  queue_ask(q, TASK_SERVE);
}

/* ---- senders ----------------------------------------------------------- */

/* (locked) May it be accepted? Of an asker `s`, which has an offer, or of C:
** `aside`. */
static int may_post (struct queue *q, const struct message *m, bool aside,
                     const struct queue_sender *s) {
  if (q->closed)
    return -EPIPE;
  if (s && !s->offered)
    return -EAGAIN;
  if (aside ? queue_has_space_aside(q, m->cost, m->fds)
            : q->first == NULL && queue_has_space(q, m->cost, m->fds))
    return 0;
  return -EAGAIN;
}

static int post (struct queue *q, struct message *m, bool aside,
                 struct queue_sender *s) {
  struct wakeups w = { .n = 0 };
  int rc;
  if (q->fork_id != fork_id())
    return -ESTALE;  /* guard: before any lock */
  if (m->cost > q->limits.bytes || m->fds > q->limits.fds)
    return -EMSGSIZE;
  lock_take(&q->lock);
  rc = may_post(q, m, aside, s);
  if (rc == 0 && !queue_append(q, m, m->size > QUEUE_SMALL)) rc = -ENOMEM;
  if (rc == 0) queue_wake_reader(q, &w);
  if (s && rc == 0) {
    queue_leave_waiting(q, s);
    atomic_store(&s->result, SEND_ACCEPTED);
  }
  else if (s && rc == -EAGAIN && s->offered) queue_offer_again(q, s);
  queue_unlock(q);
  queue_wake_now(&w);
  if (s && rc == 0) queue_has_left(s);
  return rc;
}

int queue_post (struct queue *q, struct message *m) {
  return post(q, m, false, NULL);
}

int queue_post_aside (struct queue *q, struct message *m) {
  return post(q, m, true, NULL);
}

int queue_post_offered (struct queue *q, struct queue_sender *s,
                        struct message *m) {
  return post(q, m, true, s);
}

enum queue_result queue_wait (struct queue *q, struct queue_sender *s,
                               struct doorbell *doorbell) {
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  queue_join_waiting(q, s, doorbell);
  queue_unlock(q);
  queue_serve_waiting(q);
  return queue_result(s);
}

enum queue_result queue_withdraw (struct queue *q, struct queue_sender *s) {
  bool left;
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  left = s->next != NULL;  /* guard: or what has decided has it */
  if (left) {
    queue_leave_waiting(q, s);
    atomic_store(&s->result, SEND_WITHDRAWN);
  }
  queue_unlock(q);
  if (left) {
    queue_serve_waiting(q);  /* guard: the next may be small enough */
    queue_has_left(s);
  }
  return queue_result(s);
}

enum queue_result queue_monitor (struct queue *q, struct queue_sender *s,
                                 struct doorbell *doorbell) {
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  queue_join_monitors(q, s, doorbell);
  queue_unlock(q);
  return queue_result(s);
}

bool queue_is_closed (struct queue *q) {
  bool closed;
  if (q->fork_id != fork_id())
    return true;
  lock_take(&q->lock);
  closed = q->closed;
  queue_unlock(q);
  return closed;
}

void queue_unmonitor (struct queue *q, struct queue_sender *s) {
  bool left;
  if (q->fork_id != fork_id())
    return;
  lock_take(&q->lock);
  left = s->next != NULL;  /* guard: or what has decided has it */
  if (left) queue_leave_monitors(q, s);
  queue_unlock(q);
  if (left) queue_has_left(s);
}

bool queue_add_sender (struct queue *q) {
  bool first;
  if (q->fork_id != fork_id())
    return false;
  lock_take(&q->lock);
  q->senders++;
  first = !q->had_senders;
  q->had_senders = true;
  atomic_store(&q->over, false);
  queue_unlock(q);
  return first;
}

void queue_undo_sender (struct queue *q, bool first) {
  struct wakeups w = { .n = 0 };
  if (q->fork_id != fork_id())
    return;
  lock_take(&q->lock);
  q->senders--;
  if (first && q->senders == 0) q->had_senders = false;
  atomic_store(&q->over, q->senders == 0 && q->had_senders);
  if (queue_is_over(q)) queue_wake_reader(q, &w);
  queue_unlock(q);
  queue_wake_now(&w);
}

void queue_drop_sender (struct queue *q) {
  queue_undo_sender(q, false);
}

void queue_release_sender (void *ud, const void *p, size_t len) {
  struct queue *q = (struct queue *)(uintptr_t)p;
  (void)ud; (void)len;
  queue_drop_sender(q);
  refblock_release(&q->block);
}

void queue_stats (struct queue *q, struct queue_stats *stats) {
  memset(stats, 0, sizeof(*stats));
  if (q->fork_id != fork_id())
    return;
  lock_take(&q->lock);
  stats->accepted = q->accepted;
  stats->most = q->most;
  stats->undelivered = q->undelivered;
  stats->senders = q->senders;
  stats->waiting = q->n_waiting;
  stats->received = atomic_load(&q->taken);
  if (!q->closed) {  /* (then what was queued is undelivered) */
    stats->queued.bytes = q->accepted.bytes - atomic_load(&q->taken_bytes);
    stats->queued.fds = q->accepted.fds - atomic_load(&q->taken_fds);
  }
  queue_unlock(q);
  stats->queued.messages = stats->accepted.messages - stats->received
                           - stats->undelivered;
}

/* ---- its end and its life ----------------------------------------------- */

/* Refuse the waiting senders, and tell the monitors. */
static void refuse_all (struct queue *q) {
  struct queue_sender *s;
  do {
    struct wakeups w = { .n = 0 };
    lock_take(&q->lock);
    s = queue_refuse_first(q, &w);
    queue_unlock(q);
    queue_wake_now(&w);
    if (s) queue_notify_sender(s);
  } while (s);
}

/* What was kept is not wanted any more. */
static void close_kept (struct queue *q) {
  if (!q->kept)
    return;
  q->kept = false;
  if (!q->reading) queue_discard(q);
}

uint64_t queue_close (struct queue *q, bool keep) {
  struct doorbell *doorbell;
  if (q->fork_id != fork_id())
    return 0;
  if (q->closed) {
    if (!keep) close_kept(q);
    return 0;
  }
  lock_take(&q->lock);
  q->closed = true;
  q->wanted = false;
  q->undelivered = q->accepted.messages - queue_taken_count(q)
                   - (q->reading ? 1 : 0);
  q->left = q->undelivered;
  q->kept = keep;
  doorbell = q->doorbell;
  q->doorbell = NULL;
  queue_unlock(q);
  if (doorbell) refblock_release(&doorbell->block);
  refuse_all(q);
  if (keep) queue_lose_calls(q);
  else if (!q->reading) queue_discard(q);
  return q->undelivered;
}

static void queue_end (struct refblock *b) {
  struct queue *q = (struct queue *)b;
  if (q->fork_id == fork_id()) queue_close(q, false);
  else {  /* guard: what messages own is the parent's */
    if (q->doorbell) refblock_release(&q->doorbell->block);
    queue_free_chunks(q);
  }
  free(q);
}

struct queue *queue_new (const struct queue_limits *limits) {
  struct queue *q = calloc(1, sizeof(*q));
  struct chunk *c = q ? queue_new_chunk(CHUNK_FIRST) : NULL;
  if (c == NULL) {
    free(q);
    return NULL;
  }
  refblock_init(&q->block, queue_end);
  q->fork_id = fork_id();
  q->limits = *limits;
  q->kinds = MESSAGE_ALL_KINDS;
  q->eventfd = -1;
  q->link.ready = queue_ready;
  q->head = q->tail = c;
  atomic_init(&q->spare, NULL);
  atomic_init(&q->notices, NULL);
  atomic_init(&q->reader_state, NULL);
  atomic_init(&q->taken, 0);
  atomic_init(&q->taken_bytes, 0);
  atomic_init(&q->taken_fds, 0);
  atomic_init(&q->senders_wait, false);
  atomic_init(&q->asked, 0);
  atomic_init(&q->others, 0);
  atomic_init(&q->come, 0);
  atomic_init(&q->come_bytes, 0);
  atomic_init(&q->come_fds, 0);
  atomic_init(&q->over, false);
  atomic_init(&q->linked, false);
  return q;
}
