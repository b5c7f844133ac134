/*
** queue_waiting: the senders that wait for space, in their order; the offers
** to those that are askers; and the monitors. See queue.h for the rule. All of
** it is under the queue's lock, but for what is told after a sender has left.
**
** A sender in the waiting list is counted by it and has a place. `first` is
** the first without an offer: those before it have one, some behind it may.
*/

#include "compat.h"
#include "worker/queue_internal.h"

#include <stdlib.h>
#include <string.h>

/* Instead of the queue's `holds`. */
#define HELD_FOR_OWN UINT64_MAX
#define HELD_NO_MORE (UINT64_MAX - 1)


/* ---- a sender ----------------------------------------------------------- */

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
  s->link.ready = queue_sender_ready;
  atomic_init(&s->result, SEND_WITHDRAWN);
  atomic_init(&s->sent, false);
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

void queue_has_left (struct queue_sender *s) {
  if (s->doorbell) refblock_release(&s->doorbell->block);
  s->doorbell = NULL;
  refblock_release(&s->block);
}

void queue_notify_sender (struct queue_sender *s) {
  if (s->notify) s->notify(s);
  queue_has_left(s);
}

/* ---- lists -------------------------------------------------------------- */

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

/* It is in this list from now on, unless the queue is closed. The list counts
** it, until it has left. */
static void join (struct queue *q, struct queue_sender **last,
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

/* ---- offers ------------------------------------------------------------- */

/* An asker gets an offer, whose space is held, unless the reader
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

void queue_give_up_offers (struct queue *q) {
  memset(&q->held[0], 0, sizeof(q->held[0]));
  q->holds++;
}

/* The first from this one on that has no offer; NULL: there is none. */
static struct queue_sender *without_offer (const struct queue *q,
                                           struct queue_sender *s) {
  while (s->offered && s != q->waiting) s = s->next;
  return s->offered ? NULL : s;
}

/* ---- those that wait ---------------------------------------------------- */

void queue_join_waiting (struct queue *q, struct queue_sender *s,
                         struct doorbell *doorbell) {
  bool front = s->notify != NULL;  /* (C's posts stand behind no sender) */
  join(q, &q->waiting, s, doorbell, front);
  if (q->closed)
    return;
  q->n_waiting++;
  s->place = front ? 0 : ++q->places;
  if (q->first == NULL || front) q->first = s;
  atomic_store(&q->senders_wait, true);  /* guard: before has_space_for */
}

void queue_leave_waiting (struct queue *q, struct queue_sender *s) {
  end_offer(q, s);
  if (q->first == s)
    q->first = s == q->waiting ? NULL : without_offer(q, s->next);
  q->n_waiting--;
  senders_remove(&q->waiting, s);
  if (q->waiting == NULL) atomic_store(&q->senders_wait, false);
}

/* (What is told of space posts aside.) */
static bool has_space_for (struct queue *q, const struct queue_sender *s) {
  return s->notify ? queue_has_space_aside(q, s->cost, s->fds)
                 : queue_has_space(q, s->cost, s->fds);
}

/* The first that has no offer gets one. */
static void offer (struct queue *q, struct queue_sender *s,
                   struct wakeups *w) {
  hold_space(q, s);
  q->first = without_offer(q, s);
  queue_wake_sender(s, SEND_TRY_AGAIN, w);
}

void queue_offer_again (struct queue *q, struct queue_sender *s) {
  end_offer(q, s);
  atomic_store(&s->result, SEND_WAITS);
  if (q->first == NULL || s->place < q->first->place) q->first = s;
}

bool queue_serve_first (struct queue *q, struct wakeups *w,
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
  atomic_store(&s->sent, m != NULL);
  queue_leave_waiting(q, s);
  queue_wake_sender(s, m ? SEND_ACCEPTED : SEND_TRY_AGAIN, w);
  if (m) queue_wake_reader(q, w);
  *served = s;
  return true;
}

void queue_join_monitors (struct queue *q, struct queue_sender *s,
                          struct doorbell *doorbell) {
  join(q, &q->monitors, s, doorbell, false);
}

void queue_leave_monitors (struct queue *q, struct queue_sender *s) {
  senders_remove(&q->monitors, s);
}

struct queue_sender *queue_refuse_first (struct queue *q, struct wakeups *w) {
  struct queue_sender *s = q->waiting ? q->waiting->next
                         : q->monitors ? q->monitors->next : NULL;
  if (s == NULL)
    return NULL;
  if (q->waiting) queue_leave_waiting(q, s);
  else queue_leave_monitors(q, s);
  queue_wake_sender(s, SEND_REFUSED, w);
  return s;
}
