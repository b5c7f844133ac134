#include "compat.h"
#include "task/handover.h"

#include "task/line.h"
#include "ring/ring_reap.h"


struct seats *loop_message_line (struct ring *r) {
  return &((struct watch *)r->watch)->line;
}

void loop_await_message (struct task *t, struct ring *r) {
  seats_add(loop_message_line(r), &t->seat);
  r->held++;
}

void loop_forgo_message (struct task *t) {
  seats_remove(loop_message_line(t->ring), &t->seat);
  t->ring->held--;
}

/* To the first who waits for one. An ear is only called, and the message
** stays where it is: then the answer is false. */
static bool hand_over (struct watch *w, const struct arrival *a) {
  struct task *t = (struct task *)seats_first(&w->line);
  if (t->seat.co == NULL) {
    loop_call_first(w->loop, &w->line);
    return false;
  }
  loop_forgo_message(t);
  w->ring->arrivals.promised++;
  loop_wake(w->loop, t);
  t->res = a->res;
  t->flags = a->flags;
  t->marks |= MARK_HANDED;
  t->data = a->data;
  t->timer.when = (int64_t)a->order;
  return true;
}

bool loop_message_came (struct ring *r, uint64_t data, int32_t res,
                        uint32_t flags) {
  struct watch *w = r->watch;
  struct arrival a = {0};
  if (w == NULL || w->line.last == NULL)
    return false;
  a.order = ++r->arrivals.came;
  a.data = data;
  a.res = res;
  a.flags = flags;
  return hand_over(w, &a);
}

void loop_message_accepted (struct task *t) {
  t->marks &= (uint8_t)~MARK_HANDED;
  if (t->ring->open) t->ring->arrivals.promised--;
}

void loop_pass_message (struct ring *r) {
  struct watch *w = r->watch;
  struct seat *first = w ? seats_first(&w->line) : NULL;
  struct arrival a;
  if (first == NULL || !ring_has_message(r))
    return;
  if (first->co == NULL)
    loop_call_first(w->loop, &w->line);
  else if (ring_take_message(r, &a))
    hand_over(w, &a);
}

/* Before the task runs, so that whoever comes next sees all in order. */
static void message_back (struct task *t) {
  struct arrival a = {0};
  t->marks &= (uint8_t)~MARK_HANDED;
  if (!t->ring->open)
    return;
  a.order = (uint64_t)t->timer.when;
  a.data = t->data;
  a.res = t->res;
  a.flags = t->flags;
  ring_put_back(t->ring, &a);  /* guard: a cancelled task loses nothing */
  loop_pass_message(t->ring);
}


/* ---- values of channels ------------------------------------------------ */

static bool is_listed (const struct task *t) {
  const unsigned marks = MARK_HANDED | MARK_CANCELLED;
  return (t->marks & marks) == marks && t->wait != WAIT_MESSAGE;
}

void loop_revoke (struct loop *loop, struct task *t) {
  if (t->wait == WAIT_MESSAGE) {
    message_back(t);
    return;
  }
  t->behind = loop->revoked;
  t->seat.prev = NULL;
  if (t->behind) t->behind->seat.prev = &t->seat;
  loop->revoked = t;
}

void loop_unrevoke (struct loop *loop, struct task *t) {
  struct task *before = (struct task *)t->seat.prev;
  if (!is_listed(t))
    return;
  if (before) before->behind = t->behind;
  else loop->revoked = t->behind;
  if (t->behind) t->behind->seat.prev = t->seat.prev;
  t->seat.prev = NULL;
}

struct task *loop_next_revoked (struct loop *loop) {
  struct task *t = loop->revoked;
  if (t) {
    loop_unrevoke(loop, t);
    t->marks &= (uint8_t)~MARK_HANDED;
  }
  return t;
}
