/*
** queue_reader: the part of the queue that runs on the reader's thread: to
** count, read and take messages, and to wait for more. What must not break: to
** read and take it never waits for the lock, which a thread without
** a processor may hold: what needs the lock it asks for (queue_ask).
*/

#include "compat.h"
#include "worker/queue.h"

#include "base/cpu.h"
#include "base/nocancel.h"
#include "worker/queue_internal.h"

#include <errno.h>

#define STREAM 16            /* messages, without a wait */
#define SMALL_BATCH 4
#define LINGER 200


/* If all were taken begin anew, in the same memory. */
static void rewind_chunk (struct queue *q) {
  if (q->head_at < q->head->size / 2 || !lock_try(&q->lock))
    return;  /* (then the next time) */
  if (q->accepted.messages == queue_taken_count(q) && q->head == q->tail)
    q->head_at = q->tail_at = 0;
  queue_unlock(q);
}

/* A reader that is as fast as its senders would look at `come` for each
** message, and each look makes the next sender wait for that cache line: so
** both were slowed by half. In a stream it looks less often. */
static void linger (struct queue *q) {
  if (q->lingers && q->batch <= SMALL_BATCH
      && queue_taken_count(q) - q->began >= STREAM)
    for (int i = 0; i < LINGER; i++) cpu_relax();
}

/* See how many messages there are now. True: none, and there will be none. */
static bool refresh (struct queue *q) {
  bool over;
  uint64_t before = q->seen;
  linger(q);
  if (atomic_load_explicit(&q->senders_wait, memory_order_relaxed)) {
    bool none = atomic_load_explicit(&q->come, memory_order_relaxed)
                == queue_taken_count(q);
    /* (for want of memory, because one left, or has an offer) */
    queue_ask(q, none ? TASK_SERVE | TASK_GIVE_UP : TASK_SERVE);
  }
  over = queue_is_over(q);  /* (first: their last messages are seen then) */
  q->seen = atomic_load_explicit(&q->come, memory_order_acquire);
  q->batch = q->seen - before;
  if (q->seen == queue_taken_count(q)) {
    q->began = q->seen;
    rewind_chunk(q);
  }
  return over;
}

uint64_t queue_count (struct queue *q, uint64_t enough) {
  if (!q->closed && q->seen - queue_taken_count(q) < enough) refresh(q);
  return q->seen - queue_taken_count(q);
}

/* The first of those that were kept. */
static int read_left (struct queue *q, struct message **m) {
  if (q->left == 0)
    return -EBADF;
  q->left--;
  q->reading = q->reading_left = true;
  *m = queue_body(queue_head(q));
  return 1;
}

int queue_read (struct queue *q, struct message **m) {
  if (q->reading)
    return -EBUSY;  /* guard: a finalizer would take the same one */
  if (q->closed)
    return read_left(q, m);
  if (q->seen == queue_taken_count(q)) {
    bool over = refresh(q);
    if (q->seen == queue_taken_count(q))
      return over ? -EPIPE : 0;
  }
  q->reading = true;
  *m = queue_body(queue_head(q));
  return 1;
}

/* Add to a count that only this thread writes. */
static void add (_Atomic uint64_t *count, uint64_t n) {
  uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
  atomic_store_explicit(count, now + n, memory_order_relaxed);
}

void queue_taken (struct queue *q) {
  const struct message *m = queue_head(q);
  uint64_t cost = m->cost, fds = m->fds;
  bool was_left = q->reading_left;
  queue_drop_head(q);
  q->reading = q->reading_left = false;
  if (was_left) {  /* (it stays undelivered) */
    if (!q->kept) queue_discard(q);
    return;
  }
  add(&q->taken_bytes, cost);
  if (fds > 0) add(&q->taken_fds, fds);
  /* guard: a full store, before the load of `senders_wait`; see queue.h */
  atomic_store(&q->taken, queue_taken_count(q) + 1);
  if (q->closed && !q->kept) queue_discard(q);
  else if (atomic_load(&q->senders_wait)) queue_serve_waiting(q);
}

void queue_unread (struct queue *q) {
  bool was_left = q->reading_left;
  q->reading = q->reading_left = false;
  if (!q->closed)
    return;
  q->left++;
  lock_take(&q->lock);
  if (!was_left) q->undelivered++;
  queue_unlock(q);
  if (!q->kept) queue_discard(q);
  else if (!was_left) queue_lose_calls(q);  /* (if it is one) */
}

void queue_want (struct queue *q, struct doorbell *doorbell, uint64_t others) {
  if (q->closed)
    return;
  if (q->doorbell == NULL) {  /* (no other thread looks: `wanted` is false) */
    refblock_retain(&doorbell->block);
    q->doorbell = doorbell;
  }
  atomic_store(&q->others, others);
  queue_ask(q, TASK_WANT);
}

static unsigned count_doorbells (const struct queue_sender *last,
                                 const struct doorbell *doorbell) {
  const struct queue_sender *s = last;
  unsigned n = 0;
  if (s)
    do {
      if (s->doorbell == doorbell) n++;
      s = s->next;
    } while (s != last);
  return n;
}

unsigned queue_own_doorbells (struct queue *q,
                              const struct doorbell *doorbell) {
  /* (Without the lock: each thread that takes it has a count, and this sees
     all that those did which have none any more.) */
  if (refblock_owners(&q->block) != q->own)
    return 0;  /* guard: others may send, or leave the list */
  return (q->doorbell == doorbell ? 1u : 0)
         + count_doorbells(q->waiting, doorbell)
         + count_doorbells(q->monitors, doorbell);
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
    n->next = NULL;
    if (atomic_load(&q->notices)) q->last_notice->next = n;
    else atomic_store(&q->notices, n);
    q->last_notice = n;
    queue_wake_reader(q, &w);
  }
  queue_unlock(q);
  queue_wake_now(&w);
  return !closed;
}

struct queue_notice *queue_first_notice (struct queue *q) {
  return atomic_load_explicit(&q->notices, memory_order_acquire);
}

void queue_drop_notice (struct queue *q) {
  lock_take(&q->lock);
  atomic_store(&q->notices, atomic_load(&q->notices)->next);
  queue_unlock(q);
}

bool queue_rest (struct queue *q) {
  bool rest;
  lock_take(&q->lock);
  rest = q->accepted.messages == queue_taken_count(q) && !queue_is_over(q)
         && atomic_load(&q->notices) == NULL;
  if (rest && !q->wanted) {
    uint64_t n;
    /* guard: under the lock, and then armed */
    nocancel_read(q->eventfd, &n, sizeof(n));
    q->wanted = true;
  }
  if (rest && atomic_load(&q->senders_wait))
    atomic_fetch_or(&q->asked, TASK_SERVE | TASK_GIVE_UP);
  queue_unlock(q);
  return rest;
}
