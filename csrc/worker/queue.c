/*
** queue: chunks, the list of waiting senders, and which side wakes which. What
** is rung, freed or disposed of is so after the lock was freed, and on a count
** that was taken under it. The lock is freed by `unlock` alone.
*/

#include "compat.h"
#include "worker/queue.h"

#include "base/cpu.h"
#include "base/fork_id.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define STREAM 16            /* messages, without a wait */
#define SMALL_BATCH 4
#define LINGER 200
#define CHUNK_FIRST 2048u
#define CHUNK_MOST  65536u
#define HEADER      sizeof(struct message)
#define APART_SIZE  (HEADER + sizeof(uint64_t))

/* Messages, one after another. The last is followed by a header of size 0,
** which says: in the next chunk. */
struct chunk {
  struct chunk *next;
  size_t size;
  _Alignas(16) char bytes[];
};


/* ---- waking ------------------------------------------------------------ */

/* The loops to wake when the lock was freed. */
struct wakeups {
  struct doorbell *bell[2];
  unsigned n;
};

static void wake_later (struct wakeups *w, struct doorbell *bell) {
  refblock_retain(&bell->block);
  w->bell[w->n++] = bell;
}

static void wake_now (struct wakeups *w) {
  for (unsigned i = 0; i < w->n; i++) {
    /* (-EPIPE: that loop is closed. Otherwise the bell is armed again, and the
       loop looks after its nap.) */
    if (doorbell_wanted(w->bell[i])) doorbell_ring(w->bell[i]);
    refblock_release(&w->bell[i]->block);
  }
}

/* (locked) There is something for the reader. */
static void wake_reader (struct queue *q, struct wakeups *w) {
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
    doorbell_link(q->bell, &q->link);
  }
  wake_later(w, q->bell);
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
  if (s->bell == NULL)
    return;  /* (it is told) */
  refblock_retain(&s->block);
  doorbell_link(s->bell, &s->link);
  w->bell[w->n++] = s->bell;  /* with its count */
  s->bell = NULL;  /* guard: it must not count the list that counts it */
}


/* ---- space ------------------------------------------------------------- */

static bool within (const struct queue *q, uint64_t cost, uint16_t fds) {
  const struct queue_limits *a = &q->accepted, *k = &q->known;
  return a->messages - k->messages < q->limits.messages
         && a->bytes - k->bytes + cost <= q->limits.bytes
         && a->fds - k->fds + fds <= q->limits.fds;
}

/* What is in the queue, at most. */
static struct queue_limits in_queue (const struct queue *q) {
  const struct queue_limits *a = &q->accepted, *k = &q->known;
  return (struct queue_limits){ a->messages - k->messages,
                                a->bytes - k->bytes, a->fds - k->fds };
}

/* (locked) */
static void look_up_taken (struct queue *q) {
  q->known.messages = atomic_load(&q->taken);  /* guard: first; see queue.h */
  q->known.bytes = atomic_load_explicit(&q->taken_bytes, memory_order_relaxed);
  q->known.fds = atomic_load_explicit(&q->taken_fds, memory_order_relaxed);
}

/* (locked) */
static bool has_space_for (struct queue *q, uint64_t cost, uint16_t fds) {
  if (within(q, cost, fds))
    return true;
  look_up_taken(q);
  return within(q, cost, fds);
}

/* (locked) A message was appended. What was taken is looked up only if there
** may be more than ever: for it is in a cache line of the reader's. */
static void note_most (struct queue *q) {
  struct queue_limits now = in_queue(q), *most = &q->most;
  if (now.messages <= most->messages && now.bytes <= most->bytes)
    return;
  look_up_taken(q);
  now = in_queue(q);
  if (now.messages > most->messages) most->messages = now.messages;
  if (now.bytes > most->bytes) most->bytes = now.bytes;
}

/* (locked) Is there space for a post of C, which may use some more? */
static bool has_space_aside (struct queue *q, uint64_t cost, uint16_t fds) {
  const struct queue_limits *most = &q->limits;
  struct queue_limits now;
  if (has_space_for(q, cost, fds))
    return true;
  now = in_queue(q);
  if (now.messages <= most->messages && now.bytes <= most->bytes
      && now.fds <= most->fds)
    return true;  /* one message at least */
  return now.messages < most->messages + most->messages / 8
         && now.bytes + cost <= most->bytes + most->bytes / 8
         && now.fds + fds <= most->fds + most->fds / 8;
}


/* ---- chunks ------------------------------------------------------------ */

static struct chunk *chunk_new (size_t size) {
  struct chunk *c = malloc(sizeof(*c) + size);
  if (c) {
    c->next = NULL;
    c->size = size;
  }
  return c;
}

static struct message *message_at (const struct chunk *c, size_t at) {
  return (struct message *)(void *)((char *)(uintptr_t)c->bytes + at);
}

/* (locked) Room for so many bytes and a header after them; NULL: no memory. */
static struct message *make_room (struct queue *q, size_t size) {
  struct chunk *next;
  if (q->tail_at + size + HEADER > q->tail->size) {
    size_t more = q->tail->size < CHUNK_MOST ? q->tail->size * 2 : CHUNK_MOST;
    next = atomic_exchange(&q->spare, NULL);
    if (next && next->size < more) {
      free(next);
      next = NULL;
    }
    if (next == NULL && (next = chunk_new(more)) == NULL)
      return NULL;
    next->next = NULL;
    message_at(q->tail, q->tail_at)->size = 0;
    q->tail->next = next;
    q->tail = next;
    q->tail_at = 0;
  }
  return message_at(q->tail, q->tail_at);
}

/* (locked) Append a message, or where it is. */
static bool append (struct queue *q, struct message *m, bool apart) {
  size_t size = apart ? APART_SIZE : m->size;
  struct message *at = make_room(q, size);
  if (at == NULL)
    return false;
  if (apart) {
    *at = *m;
    at->size = APART_SIZE;
    at->flags = MESSAGE_APART;
    at->cells[0] = (uintptr_t)m;
  }
  else memcpy(at, m, size);
  q->tail_at += size;
  q->accepted.messages++;
  q->accepted.bytes += m->cost;
  q->accepted.fds += m->fds;
  note_most(q);
  /* (last, and a release: the reader reads what is up to there) */
  atomic_store_explicit(&q->come, q->accepted.messages, memory_order_release);
  return true;
}

/* The reader's: the message at its head, which there is. */
static struct message *head_record (struct queue *q) {
  struct message *m = message_at(q->head, q->head_at);
  if (m->size == 0) {
    struct chunk *done = q->head;
    q->head = done->next;
    q->head_at = 0;
    free(atomic_exchange(&q->spare, done));
    m = message_at(q->head, 0);
  }
  return m;
}

static struct message *body_of (struct message *record) {
  return record->flags & MESSAGE_APART
         ? (struct message *)(uintptr_t)record->cells[0] : record;
}

/* The message at the head leaves the queue. */
static void drop_head (struct queue *q) {
  struct message *m = head_record(q);
  q->head_at += m->size;
  if (m->flags & MESSAGE_APART) message_free(body_of(m));
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

/* It waits in this list from now on, unless the queue is closed. The list and
** the bell's ringing count it, until senders_leave. The lock is held. */
static void senders_join (struct queue *q, struct queue_sender **last,
                          struct queue_sender *s, struct doorbell *bell,
                          bool front) {
  atomic_store(&s->result, q->closed ? SEND_REFUSED : SEND_WAITS);
  if (q->closed)
    return;
  refblock_retain(&s->block);
  if (bell) refblock_retain(&bell->block);
  s->bell = bell;
  senders_add(last, s, front);
}

/* If it waits it leaves this list by its own will: its count and the bell that
** it had, or NULL, are the caller's to release. */
static bool senders_leave (struct queue_sender **last, struct queue_sender *s,
                           struct doorbell **bell) {
  if (queue_result(s) != SEND_WAITS)
    return false;  /* guard: or what has decided has it */
  senders_remove(last, s);
  atomic_store(&s->result, SEND_WITHDRAWN);
  *bell = s->bell;
  s->bell = NULL;
  return true;
}

/* (without the lock) It was decided about, and is in no list: tell it, and
** release its count. */
static void tell_sender (struct queue_sender *s) {
  if (s->tell) s->tell(s);
  refblock_release(&s->block);
}

static void waiting_changed (struct queue *q) {
  if (q->waiting == NULL) atomic_store(&q->senders_wait, false);
}

static void waiting_remove (struct queue *q, struct queue_sender *s) {
  senders_remove(&q->waiting, s);
  waiting_changed(q);
}

/* (locked) Serve the first waiting sender, if there is space: return it, out
** of the list and with its count. */
static struct queue_sender *serve_first (struct queue *q, struct wakeups *w) {
  struct queue_sender *s = q->waiting ? q->waiting->next : NULL;
  struct message *m = s ? s->message : NULL;
  if (s == NULL || q->closed || !has_space_for(q, s->cost, s->fds))
    return NULL;  /* (closed: those are counted, and the waiting refused) */
  if (m && !append(q, m, true))
    return NULL;  /* (no memory: when the reader refreshes) */
  s->message = NULL;
  waiting_remove(q, s);
  wake_sender(s, m ? SEND_ACCEPTED : SEND_TRY_AGAIN, w);
  if (m) wake_reader(q, w);
  return s;
}

static void sender_ready (struct ready_link *link, struct loop *loop) {
  struct queue_sender *s = (struct queue_sender *)
    ((char *)link - offsetof(struct queue_sender, link));
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

/* What is asked of whichever thread has the lock next. */
enum queue_task { TASK_WANT = 1, TASK_SERVE = 2 };

/* (locked) The reader waits for more than the first `others` messages. */
static void want (struct queue *q, struct wakeups *w) {
  uint64_t others = atomic_load(&q->others);
  if (q->closed)
    return;
  q->wanted = true;
  /* guard: a message may have come since the reader looked */
  if (queue_is_over(q) || q->accepted.messages - atomic_load(&q->taken)
                          > others)
    wake_reader(q, w);
}

/* Do what was asked, unless another thread has the lock: then that does it. */
static void attend (struct queue *q) {
  while (atomic_load(&q->asked) && lock_try(&q->lock)) {
    struct wakeups w = { .n = 0 };
    struct queue_sender *s = NULL;
    unsigned asked = atomic_exchange(&q->asked, 0);
    if (asked & TASK_WANT) want(q, &w);
    if (asked & TASK_SERVE) s = serve_first(q, &w);
    if (s) atomic_fetch_or(&q->asked, TASK_SERVE);  /* (and the next one) */
    lock_free(&q->lock);
    wake_now(&w);
    if (s) tell_sender(s);
  }
}

static void ask (struct queue *q, enum queue_task task) {
  atomic_fetch_or(&q->asked, task);
  attend(q);
}

static void unlock (struct queue *q) {
  lock_free(&q->lock);
  attend(q);  /* guard: its reader has not waited for the lock */
}

/* Accept the messages of waiting senders for which there is space. */
static void serve_waiting (struct queue *q) {
  ask(q, TASK_SERVE);
}


/* ---- senders ----------------------------------------------------------- */

static int post (struct queue *q, struct message *m, bool aside) {
  struct wakeups w = { .n = 0 };
  int rc = 0;
  if (q->fork_id != fork_id())
    return -ESTALE;  /* guard: before any lock */
  if (m->cost > q->limits.bytes || m->fds > q->limits.fds)
    return -EMSGSIZE;
  lock_take(&q->lock);
  if (q->closed) rc = -EPIPE;
  else if (aside ? !has_space_aside(q, m->cost, m->fds)
                 : q->waiting || !has_space_for(q, m->cost, m->fds))
    rc = -EAGAIN;
  else if (!append(q, m, m->size > QUEUE_SMALL)) rc = -ENOMEM;
  else wake_reader(q, &w);
  unlock(q);
  wake_now(&w);
  return rc;
}

int queue_post (struct queue *q, struct message *m) {
  return post(q, m, false);
}

int queue_post_aside (struct queue *q, struct message *m) {
  return post(q, m, true);
}

enum queue_result queue_wait (struct queue *q, struct queue_sender *s,
                               struct doorbell *bell, bool front) {
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  senders_join(q, &q->waiting, s, bell, front);
  if (!q->closed)
    atomic_store(&q->senders_wait, true);  /* guard: before has_space_for */
  unlock(q);
  serve_waiting(q);
  return queue_result(s);
}

enum queue_result queue_withdraw (struct queue *q, struct queue_sender *s) {
  struct doorbell *bell = NULL;
  bool left;
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  left = senders_leave(&q->waiting, s, &bell);
  waiting_changed(q);
  unlock(q);
  if (bell) refblock_release(&bell->block);
  if (left) {
    serve_waiting(q);  /* guard: the next may be small enough */
    refblock_release(&s->block);
  }
  return queue_result(s);
}

enum queue_result queue_monitor (struct queue *q, struct queue_sender *s,
                                 struct doorbell *bell) {
  if (q->fork_id != fork_id())
    return SEND_REFUSED;
  lock_take(&q->lock);
  senders_join(q, &q->monitors, s, bell, false);
  unlock(q);
  return queue_result(s);
}

bool queue_is_closed (struct queue *q) {
  bool closed;
  if (q->fork_id != fork_id())
    return true;
  lock_take(&q->lock);
  closed = q->closed;
  unlock(q);
  return closed;
}

void queue_unmonitor (struct queue *q, struct queue_sender *s) {
  struct doorbell *bell = NULL;
  bool left;
  if (q->fork_id != fork_id())
    return;
  lock_take(&q->lock);
  left = senders_leave(&q->monitors, s, &bell);
  unlock(q);
  if (bell) refblock_release(&bell->block);
  if (left) refblock_release(&s->block);
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
  unlock(q);
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
  if (queue_is_over(q)) wake_reader(q, &w);
  unlock(q);
  wake_now(&w);
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
  unlock(q);
  stats->queued.messages = stats->accepted.messages - stats->received
                           - stats->undelivered;
}


/* ---- the reader -------------------------------------------------------- */

/* What only the reader writes, it reads without ado. */
static uint64_t taken (const struct queue *q) {
  return atomic_load_explicit(&q->taken, memory_order_relaxed);
}

/* If all were taken begin anew, in the same memory. */
static void rewind_chunk (struct queue *q) {
  if (q->head_at < q->head->size / 2 || !lock_try(&q->lock))
    return;  /* (then the next time) */
  if (q->accepted.messages == taken(q) && q->head == q->tail)
    q->head_at = q->tail_at = 0;
  unlock(q);
}

/* A reader that is as fast as its senders would look at `come` for each
** message, and each look makes the next sender wait for that cache line: so
** both were slowed by half. In a stream it looks less often. */
static void linger (struct queue *q) {
  if (q->lingers && q->batch <= SMALL_BATCH && taken(q) - q->began >= STREAM)
    for (int i = 0; i < LINGER; i++) cpu_relax();
}

/* See how many messages there are now. True: none, and there will be none. */
static bool refresh (struct queue *q) {
  bool over;
  uint64_t before = q->seen;
  linger(q);
  if (atomic_load_explicit(&q->senders_wait, memory_order_relaxed))
    serve_waiting(q);  /* (for want of memory, or because one left) */
  over = queue_is_over(q);  /* (first: their last messages are seen then) */
  q->seen = atomic_load_explicit(&q->come, memory_order_acquire);
  q->batch = q->seen - before;
  if (q->seen == taken(q)) {
    q->began = q->seen;
    rewind_chunk(q);
  }
  return over;
}

uint64_t queue_count (struct queue *q, uint64_t enough) {
  if (!q->closed && q->seen - taken(q) < enough) refresh(q);
  return q->seen - taken(q);
}

/* The first of those that were kept. */
static int read_left (struct queue *q, struct message **m) {
  if (q->left == 0)
    return -EBADF;
  q->left--;
  q->reading = q->reading_left = true;
  *m = body_of(head_record(q));
  return 1;
}

int queue_read (struct queue *q, struct message **m) {
  if (q->reading)
    return -EBUSY;  /* guard: a finalizer would take the same one */
  if (q->closed)
    return read_left(q, m);
  if (q->seen == taken(q)) {
    bool over = refresh(q);
    if (q->seen == taken(q))
      return over ? -EPIPE : 0;
  }
  q->reading = true;
  *m = body_of(head_record(q));
  return 1;
}

/* Dispose of all that is left, and of the memory: it is closed, and no message
** is being read. */
static void discard (struct queue *q) {
  for (; q->left > 0; q->left--) {
    message_dispose(body_of(head_record(q)));
    drop_head(q);
  }
  free(q->head);
  free(atomic_exchange(&q->spare, NULL));
  q->head = q->tail = NULL;
}

/* Add to a count that only this thread writes. */
static void add (_Atomic uint64_t *count, uint64_t n) {
  uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
  atomic_store_explicit(count, now + n, memory_order_relaxed);
}

void queue_taken (struct queue *q) {
  const struct message *m = head_record(q);
  uint64_t cost = m->cost, fds = m->fds;
  bool was_left = q->reading_left;
  drop_head(q);
  q->reading = q->reading_left = false;
  if (was_left) {  /* (it stays undelivered) */
    if (!q->kept) discard(q);
    return;
  }
  add(&q->taken_bytes, cost);
  if (fds > 0) add(&q->taken_fds, fds);
  /* guard: a full store, before the load of `senders_wait`; see queue.h */
  atomic_store(&q->taken, taken(q) + 1);
  if (q->closed && !q->kept) discard(q);
  else if (atomic_load(&q->senders_wait)) serve_waiting(q);
}

void queue_unread (struct queue *q) {
  bool was_left = q->reading_left;
  q->reading = q->reading_left = false;
  if (!q->closed)
    return;
  q->left++;
  lock_take(&q->lock);
  if (!was_left) q->undelivered++;
  unlock(q);
  if (!q->kept) discard(q);
}

void queue_want (struct queue *q, struct doorbell *bell, uint64_t others) {
  if (q->closed)
    return;
  if (q->bell == NULL) {  /* (no other thread looks: `wanted` is false) */
    refblock_retain(&bell->block);
    q->bell = bell;
  }
  atomic_store(&q->others, others);
  ask(q, TASK_WANT);
}

void queue_set_eventfd (struct queue *q, int fd) {
  q->eventfd = fd;
  q->wanted = true;
}

bool queue_notify (struct queue *q, struct queue_notice *n) {
  struct wakeups w = { .n = 0 };
  bool closed;
  lock_take(&q->lock);
  closed = q->closed;
  if (!closed) {
    struct queue_notice *last = atomic_load(&q->notices);
    n->next = NULL;
    while (last && last->next) last = last->next;
    if (last) last->next = n;
    else atomic_store(&q->notices, n);
    wake_reader(q, &w);
  }
  unlock(q);
  wake_now(&w);
  return !closed;
}

struct queue_notice *queue_first_notice (struct queue *q) {
  return atomic_load_explicit(&q->notices, memory_order_acquire);
}

void queue_drop_notice (struct queue *q) {
  lock_take(&q->lock);
  atomic_store(&q->notices, atomic_load(&q->notices)->next);
  unlock(q);
}

bool queue_rest (struct queue *q) {
  bool rest;
  lock_take(&q->lock);
  rest = q->accepted.messages == taken(q) && !queue_is_over(q)
         && atomic_load(&q->notices) == NULL;
  if (rest && !q->wanted) {
    eventfd_t n;
    eventfd_read(q->eventfd, &n);  /* guard: under the lock, and then armed */
    q->wanted = true;
  }
  unlock(q);
  return rest;
}

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
    unlock(q);
    wake_now(&w);
    if (s) tell_sender(s);
  } while (s);
}

/* What was kept is not wanted any more. */
static void close_kept (struct queue *q) {
  if (!q->kept)
    return;
  q->kept = false;
  if (!q->reading) discard(q);
}

uint64_t queue_close (struct queue *q, bool keep) {
  struct doorbell *bell;
  if (q->fork_id != fork_id())
    return 0;
  if (q->closed) {
    if (!keep) close_kept(q);
    return 0;
  }
  lock_take(&q->lock);
  q->closed = true;
  q->wanted = false;
  q->undelivered = q->accepted.messages - taken(q) - (q->reading ? 1 : 0);
  q->left = q->undelivered;
  q->kept = keep;
  bell = q->bell;
  q->bell = NULL;
  unlock(q);
  if (bell) refblock_release(&bell->block);
  refuse_all(q);
  if (!q->reading && !keep) discard(q);
  return q->undelivered;
}


/* ---- its life ---------------------------------------------------------- */

static void queue_end (struct refblock *b) {
  struct queue *q = (struct queue *)b;
  queue_close(q, false);
  free(q);
}

struct queue *queue_new (const struct queue_limits *limits) {
  struct queue *q = calloc(1, sizeof(*q));
  struct chunk *c = q ? chunk_new(CHUNK_FIRST) : NULL;
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
  atomic_init(&q->taken, 0);
  atomic_init(&q->taken_bytes, 0);
  atomic_init(&q->taken_fds, 0);
  atomic_init(&q->senders_wait, false);
  atomic_init(&q->asked, 0);
  atomic_init(&q->others, 0);
  atomic_init(&q->come, 0);
  atomic_init(&q->over, false);
  atomic_init(&q->linked, false);
  return q;
}
