/*
** queue_wake: which loop is woken, the reader's or a waiting sender's. Under
** the queue's lock what is ready is linked into the ready list of its loop;
** the doorbell is rung when the lock was freed, on a count that was taken
** under it. `linked` is set and cleared here alone.
*/

#include "compat.h"
#include "base/nocancel.h"
#include "worker/queue_internal.h"


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

void queue_wake_reader (struct queue *q, struct wakeups *w) {
  if (!q->wanted)
    return;
  q->wanted = false;
  if (q->eventfd >= 0) {
    nocancel_signal(q->eventfd);
    return;
  }
  if (!atomic_exchange(&q->linked, true)) {  /* guard: or the ready list is
                                                broken */
    refblock_retain(&q->block);
    doorbell_link(q->doorbell, &q->link);
  }
  wake_later(w, q->doorbell);
}

void queue_ready (struct ready_link *link, struct loop *loop) {
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

void queue_wake_sender (struct queue_sender *s, enum queue_result result,
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

void queue_sender_ready (struct ready_link *link, struct loop *loop) {
  struct queue_sender *s = (struct queue_sender *)
    ((char *)link - offsetof(struct queue_sender, link));
  atomic_exchange(&s->linked, false);  /* guard: before it is looked at */
  if (loop && s->owner) s->woken(s->owner, loop);
  refblock_release(&s->block);
}
