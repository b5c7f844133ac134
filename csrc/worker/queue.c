/*
** queue: the lock, the list of waiting senders, and which side wakes which.
** What is rung, freed or disposed of is so after the lock was freed, and on
** a count that was taken under it. `queue_unlock` alone frees the lock.
*/

#include "compat.h"
#include "worker/queue.h"

#include "base/fork_id.h"
#include "worker/queue_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define CHUNK_FIRST 2048u

/* Instead of the queue's `holds`. */
#define HELD_FOR_OWN UINT64_MAX
#define HELD_NO_MORE (UINT64_MAX - 1)


/* ---- waking ------------------------------------------------------------ */

static void wake_later (struct wakeups *w, struct doorbell *doorbell) {
  refblock_retain(&doorbell->block);
  w->doorbell[w->n++] = doorbell;
}

void queue_wake_now (struct wakeups *w) {
  for (unsigned i = 0; i < w->n; i++) {
    /* (-EPIPE: that loop is closed. Otherwise the doorbell is armed again, and
       the loop looks after its nap.) */
    if (doorbell_wanted(w->doorbell[i])) doorbell_ring(w->doorbell[i]);
    refblock_release(&w->doorbell[i]->block);
  }
}

/* (locked) There is something for the reader. */
void queue_wake_reader (struct queue *q, struct wakeups *w) {
  if (!q->wanted)
    return;
  q->wanted = false;
  if (q->eventfd >= 0) {
    eventfd_write(q->eventfd, 1);
    return;
  }
  if (!atomic_exchange(&q->linked, true)) {  /* guard: or the ready list is
                                                broken */
    refblock_retain(&q->block);
    doorbell_link(q->doorbell, &q->link);
  }
  wake_later(w, q->doorbell);
}

static void queue_ready (struct ready_link *link, struct loop *loop) {
  struct queue *q = (struct queue *)((char *)link
                                     - offsetof(struct queue, link));
  if (loop) {
    /* guard: before it is looked at. And an exchange: it sees what came before
       another thread found it linked. */
    atomic_exchange(&q->linked, false);
    if (q->reader) q->woken(q->reader, loop);
  }
  refblock_release(&q->block);
}

/* (locked) */
static void wake_sender (struct queue_sender *s, enum queue_result result,
                         struct wakeups *w) {
  atomic_store(&s->result, (int)result);
  if (s->doorbell == NULL)
    return;  /* (it is told) */
  if (!atomic_exchange(&s->linked, true)) {  /* guard: or the ready list is
                                                broken */
    refblock_retain(&s->block);
    doorbell_link(s->doorbell, &s->link);
  }
  wake_later(w, s->doorbell);
}

/* ---- senders that wait ------------------------------------------------- */

/* Waiting senders, and monitors: `*last` is the last of a circular list. */
static void senders_add (struct queue_sender **last, struct queue_sender *s,
                         bool front) {
  if (*last == NULL) {
    s->next = s->prev = s;
    *last = s;
    return;
  }
  s->prev = *last;
  s->next = (*last)->next;
  s->next->prev = s->prev->next = s;
  if (!front) *last = s;
}

static void senders_remove (struct queue_sender **last,
                            struct queue_sender *s) {
  if (s->next == s) *last = NULL;
  else {
    s->prev->next = s->next;
    s->next->prev = s->prev;
    if (*last == s) *last = s->prev;
  }
  s->next = s->prev = NULL;
}

/* It waits in this list from now on, unless the queue is closed. The list
** counts it, until it has left. The lock is held. */
static void senders_join (struct queue *q, struct queue_sender **last,
                          struct queue_sender *s, struct doorbell *doorbell,
                          bool front) {
  atomic_store(&s->result, q->closed ? SEND_REFUSED : SEND_WAITS);
  if (q->closed)
    return;
  refblock_retain(&s->block);
  if (doorbell) refblock_retain(&doorbell->block);
  s->doorbell = doorbell;
  senders_add(last, s, front);
}

/* (without the lock) It has left its list: release what that counted. */
static void has_left_list (struct queue_sender *s) {
  if (s->doorbell) refblock_release(&s->doorbell->block);
  s->doorbell = NULL;
  refblock_release(&s->block);
}

/* The same for one that was decided about: tell it. */
static void notify_sender (struct queue_sender *s) {
  if (s->notify) s->notify(s);
  has_left_list(s);
}

/* (locked) An asker gets an offer, whose space is held, unless the reader
** waits and may be kept waiting; and has it no more. */
static void hold_space (struct queue *q, struct queue_sender *s) {
  bool own = s->state != NULL && s->state == atomic_load(&q->reader_state);
  struct queue_limits *held = &q->held[own];
  s->offered = true;
  s->holds = own ? HELD_FOR_OWN : q->wanted ? HELD_NO_MORE : q->holds;
  if (s->holds == HELD_NO_MORE)
    return;
  held->messages++;
  held->bytes += s->cost;
  held->fds += s->fds;
}

static void end_offer (struct queue *q, struct queue_sender *s) {
  bool own = s->holds == HELD_FOR_OWN;
  struct queue_limits *held = &q->held[own];
  if (s->offered && (own || s->holds == q->holds)) {
    held->messages--;
    held->bytes -= s->cost;
    held->fds -= s->fds;
  }
  s->offered = false;
}

static void give_up_offers (struct queue *q) {
  memset(&q->held[0], 0, sizeof(q->held[0]));
  q->holds++;
}

/* The first from this one on that has no offer; NULL: there is none. */
static struct queue_sender *without_offer (const struct queue *q,
                                           struct queue_sender *s) {
  while (s->offered && s != q->waiting) s = s->next;
  return s->offered ? NULL : s;
}

static void waiting_remove (struct queue *q, struct queue_sender *s) {
  end_offer(q, s);
  if (q->first == s)
    q->first = s == q->waiting ? NULL : without_offer(q, s->next);
  senders_remove(&q->waiting, s);
  if (q->waiting == NULL) atomic_store(&q->senders_wait, false);
}

/* (What is told of room posts aside.) */
static bool has_space_for (struct queue *q, const struct queue_sender *s) {
  return s->notify ? queue_has_space_aside(q, s->cost, s->fds)
                 : queue_has_space(q, s->cost, s->fds);
}

/* (locked) The first that has no offer gets one. */
static void offer (struct queue *q, struct queue_sender *s,
                   struct wakeups *w) {
  hold_space(q, s);
  q->first = without_offer(q, s);
  wake_sender(s, SEND_TRY_AGAIN, w);
}

/* (locked) There was no space when it tried: it waits on in its place. */
static void offer_again (struct queue *q, struct queue_sender *s) {
  end_offer(q, s);
  atomic_store(&s->result, SEND_WAITS);
  if (q->first == NULL || s->place < q->first->place) q->first = s;
}

/* (locked) Serve the first waiting sender that has no offer, if there is
** space. If it has left the list it is `served`, with what that counted. */
static bool serve_first (struct queue *q, struct wakeups *w,
                         struct queue_sender **served) {
  struct queue_sender *s = q->first;
  struct message *m = s ? s->message : NULL;
  if (s == NULL || q->closed || !has_space_for(q, s))
    return false;  /* (closed: those are counted, and the waiting refused) */
  if (m == NULL && s->notify == NULL) {
    offer(q, s, w);
    return true;
  }
  if (m && !queue_append(q, m, true))
    return false;  /* (no memory: when the reader refreshes) */
  s->message = NULL;
  waiting_remove(q, s);
  wake_sender(s, m ? SEND_ACCEPTED : SEND_TRY_AGAIN, w);
  if (m) queue_wake_reader(q, w);
  *served = s;
  return true;
}

static void sender_ready (struct ready_link *link, struct loop *loop) {
  struct queue_sender *s = (struct queue_sender *)
    ((char *)link - offsetof(struct queue_sender, link));
  atomic_exchange(&s->linked, false);  /* guard: before it is looked at */
  if (loop && s->owner) s->woken(s->owner, loop);
  refblock_release(&s->block);
}

static void sender_end (struct refblock *b) {
  struct queue_sender *s = (struct queue_sender *)b;
  if (s->message) {
    message_dispose(s->message);
    free(s->message);
  }
  free(s);
}

void queue_sender_init (struct queue_sender *s,
                        void (*end)(struct refblock *)) {
  refblock_init(&s->block, end);
  s->link.ready = sender_ready;
  atomic_init(&s->result, SEND_WITHDRAWN);
  atomic_init(&s->linked, false);
}

struct queue_sender *queue_sender_new (struct message *m, uint64_t cost,
                                       uint16_t fds) {
  struct queue_sender *s = calloc(1, sizeof(*s));
  if (s == NULL)
    return NULL;
  queue_sender_init(s, sender_end);
  s->message = m;
  s->cost = cost;
  s->fds = fds;
  return s;
}

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
  else give_up_offers(q);
}

/* Do what was asked, unless another thread has the lock: then that does it. */
static void attend (struct queue *q) {
  while (atomic_load(&q->asked) && lock_try(&q->lock)) {
    struct wakeups w = { .n = 0 };
    struct queue_sender *s = NULL;
    unsigned asked = atomic_exchange(&q->asked, 0);
    if (asked & TASK_GIVE_UP) give_up_offers(q);
    if (asked & TASK_WANT) want(q, &w);
    if (asked && serve_first(q, &w, &s))
      atomic_fetch_or(&q->asked, TASK_SERVE);  /* (and the next one) */
    lock_free(&q->lock);
    queue_wake_now(&w);
    if (s) notify_sender(s);
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
    waiting_remove(q, s);
    atomic_store(&s->result, SEND_ACCEPTED);
  }
  else if (s && rc == -EAGAIN && s->offered) offer_again(q, s);
  queue_unlock(q);
  queue_wake_now(&w);
  if (s && rc == 0) has_left_list(s);
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
  bool front = s->notify != NULL;  /* (C's posts stand behind no sender) */
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  senders_join(q, &q->waiting, s, doorbell, front);
  if (!q->closed) {
    s->place = front ? 0 : ++q->places;
    if (q->first == NULL || front) q->first = s;
    atomic_store(&q->senders_wait, true);  /* guard: before has_space_for */
  }
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
    waiting_remove(q, s);
    atomic_store(&s->result, SEND_WITHDRAWN);
  }
  queue_unlock(q);
  if (left) {
    queue_serve_waiting(q);  /* guard: the next may be small enough */
    has_left_list(s);
  }
  return queue_result(s);
}

enum queue_result queue_monitor (struct queue *q, struct queue_sender *s,
                                 struct doorbell *doorbell) {
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  senders_join(q, &q->monitors, s, doorbell, false);
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
  if (left) senders_remove(&q->monitors, s);
  queue_unlock(q);
  if (left) has_left_list(s);
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
  for (struct queue_sender *s = q->waiting; s; s = s->next) {
    stats->waiting++;
    if (s->next == q->waiting) break;
  }
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
    s = q->waiting ? q->waiting->next : q->monitors ? q->monitors->next : NULL;
    if (s) {
      if (q->waiting) waiting_remove(q, s);
      else senders_remove(&q->monitors, s);
      wake_sender(s, SEND_REFUSED, &w);
    }
    queue_unlock(q);
    queue_wake_now(&w);
    if (s) notify_sender(s);
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
  if (!q->reading && !keep) queue_discard(q);
  return q->undelivered;
}

static void queue_end (struct refblock *b) {
  struct queue *q = (struct queue *)b;
  queue_close(q, false);
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
