#include "compat.h"
#include "task/msg_delivery.h"

#include "ring/ring_reap.h"
#include "task/wait_queue.h"


struct waitq *msg_delivery_queue (struct ring *r) {
  return &((struct watch *)r->watch)->waitq;
}

void loop_await_message (struct task *t, struct ring *r) {
  waitq_add(msg_delivery_queue(r), &t->node);
  r->held++;
}

void loop_forgo_message (struct task *t) {
  waitq_remove(msg_delivery_queue(t->ring), &t->node);
  t->ring->held--;
}

/* To the first who waits for one. An ear is only called, and the message
** stays where it is: then the answer is false. */
static bool hand_over (struct watch *w, const struct pending_cqe *a) {
  struct task *t = (struct task *)waitq_first(&w->waitq);
  if (t->node.co == NULL) {
    waitq_wake_first(w->loop, &w->waitq);
    return false;
  }
  loop_forgo_message(t);
  w->ring->pending.promised++;
  loop_wake(w->loop, t);
  t->res = a->res;
  t->flags = a->flags;
  t->task_flags |= TASKF_DELIVERED;
  t->data = a->data;
  t->timer.when = (int64_t)a->order;
  return true;
}

bool loop_message_came (struct ring *r, uint64_t data, int32_t res,
                        uint32_t flags) {
  struct watch *w = r->watch;
  struct pending_cqe a = {0};
  if (w == NULL || w->waitq.last == NULL)
    return false;
  a.order = ++r->pending.came;
  a.data = data;
  a.res = res;
  a.flags = flags;
  return hand_over(w, &a);
}

void loop_message_accepted (struct task *t) {
  t->task_flags &= (uint8_t)~TASKF_DELIVERED;
  if (t->ring->open) t->ring->pending.promised--;
}

void loop_pass_message (struct ring *r) {
  struct watch *w = r->watch;
  struct wait_node *first = w ? waitq_first(&w->waitq) : NULL;
  struct pending_cqe a;
  if (first == NULL || !ring_has_message(r))
    return;
  if (first->co == NULL)
    waitq_wake_first(w->loop, &w->waitq);
  else if (ring_take_message(r, &a))
    hand_over(w, &a);
}

/* Before the task runs, so that whoever comes next sees all in order. */
static void message_back (struct task *t) {
  struct pending_cqe a = {0};
  t->task_flags &= (uint8_t)~TASKF_DELIVERED;
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
  const unsigned flags = TASKF_DELIVERED | TASKF_CANCELLED;
  return (t->task_flags & flags) == flags && t->wait != WAIT_MESSAGE;
}

void loop_revoke (struct loop *loop, struct task *t) {
  if (t->wait == WAIT_MESSAGE) {
    message_back(t);
    return;
  }
  t->behind = loop->revoked;
  t->node.prev = NULL;
  if (t->behind) t->behind->node.prev = &t->node;
  loop->revoked = t;
}

void loop_unrevoke (struct loop *loop, struct task *t) {
  struct task *before = (struct task *)t->node.prev;
  if (!is_listed(t))
    return;
  if (before) before->behind = t->behind;
  else loop->revoked = t->behind;
  if (t->behind) t->behind->node.prev = t->node.prev;
  t->node.prev = NULL;
}

struct task *loop_next_revoked (struct loop *loop) {
  struct task *t = loop->revoked;
  if (t) {
    loop_unrevoke(loop, t);
    t->task_flags &= (uint8_t)~TASKF_DELIVERED;
  }
  return t;
}
