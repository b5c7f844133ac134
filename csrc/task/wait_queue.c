#include "compat.h"
#include "task/wait_queue.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"


/* ---- who waits for the same -------------------------------------------- */

void loop_notify (struct loop *loop, struct task *t) {
  t->task_flags |= TASKF_NOTIFIED;
  if (t->wait == WAIT_PARK) loop_wake(loop, t);
}

void waitq_wake_first (struct loop *loop, struct waitq *waitq) {
  struct wait_node *s = waitq_pop(waitq);
  if (s->co)
    loop_wake(loop, (struct task *)s);
  else
    select_waiter_wake(loop, (struct select_waiter *)s);
}

void waitq_wake_all (struct loop *loop, struct waitq *waitq) {
  while (waitq->last) waitq_wake_first(loop, waitq);
}


/* ---- ears -------------------------------------------------------------- */

void select_waiter_wake (struct loop *loop, struct select_waiter *e) {
  e->waitq = NULL;
  e->called = true;
  if (e->ring) e->ring->held--;
  loop_notify(loop, e->task);
}

void select_waiter_enqueue (struct select_waiter *e, struct waitq *waitq) {
  waitq_add(waitq, &e->node);
  e->waitq = waitq;
  e->called = false;
  if (e->ring) e->ring->held++;
}

void select_waiter_dequeue (struct select_waiter *e) {
  if (e->waitq) {
    waitq_remove(e->waitq, &e->node);
    e->waitq = NULL;
    if (e->ring) e->ring->held--;
  }
}

static struct op *op_of (const struct select_waiter *e, struct ring *r) {
  return r->open && r->fork_id == fork_id() && e->token
         ? op_find(&r->ops, e->token) : NULL;
}

struct op *select_waiter_op (const struct select_waiter *e, struct ring *r) {
  struct op *op = op_of(e, r);
  return op && op->state == OP_FLYING ? op : NULL;
}

void select_waiter_drop (struct select_waiter *e, struct ring *r, bool stay) {
  struct op *op = op_of(e, r), *flying = select_waiter_op(e, r);
  if (op) ring_drop(r, op);
  if (flying) ring_cancel(r, flying);
  if (flying && stay) flying->waiter = e;
  else e->token = 0;
}


/* ---- lines ------------------------------------------------------------- */

void socket_waitq_open (struct state *s, struct socket_waitq *waitq) {
  waitq->next = s->waitqs;
  waitq->back = &s->waitqs;
  if (waitq->next) waitq->next->back = &waitq->next;
  s->waitqs = waitq;
}

void socket_waitq_hold (struct loop *loop, struct socket_waitq *waitq,
                        struct task *t) {
  waitq->holder = t;
  loop->nholds++;
}

bool socket_waitq_unhold (struct loop *loop, struct socket_waitq *waitq,
                  const struct task *t) {
  if (waitq->holder != t)
    return false;
  waitq->holder = NULL;
  loop->nholds--;
  return true;
}

void loop_release_holds (struct loop *loop, const struct task *t) {
  struct socket_waitq *waitq = loop->nholds > 0 ? loop->state->waitqs : NULL;
  for (; waitq; waitq = waitq->next)
    if (socket_waitq_unhold(loop, waitq, t)) loop_wake_first(loop, waitq);
}

void socket_waitq_serve (struct socket_waitq *waitq, struct op *op) {
  op->waitq = waitq;
  op->results.owned = true;
}

void socket_waitq_close (struct socket_waitq *waitq) {
  if (waitq->back) {
    *waitq->back = waitq->next;
    if (waitq->next) waitq->next->back = waitq->back;
    waitq->back = NULL;
  }
}

void loop_wake_skipped (struct loop *loop) {
  if (!loop->passed_over)
    return;
  loop->passed_over = false;
  for (struct socket_waitq *waitq = loop->state->waitqs; waitq; waitq =
       waitq->next)
    loop_wake_first(loop, waitq);
}

int loop_wait_queue (lua_State *L, struct task *t, struct socket_waitq *waitq,
                    int64_t deadline, lua_KContext ctx, lua_KFunction k) {
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  waitq_add(&waitq->queue, &t->node);
  return loop_wait(L, t, WAIT_QUEUE, waitq, deadline, ctx, k);
}

void loop_wake_first (struct loop *loop, struct socket_waitq *waitq) {
  if (loop && waitq->queue.last) waitq_wake_first(loop, &waitq->queue);
}

void loop_wake_all (struct loop *loop, struct socket_waitq *waitq) {
  waitq_wake_all(loop, &waitq->queue);
}


/* ---- what nobody waits for --------------------------------------------- */

/* A socket's request that goes on for whoever comes next; or, of a socket that
** was closed, one that only has memory to give back. */
static bool unattended (const struct op *op) {
  const unsigned left = OP_LOOPED | OP_DROPPED | OP_NOTIFYING;
  const struct socket_waitq *waitq = op->waitq;
  return op->state == OP_FLYING && op->waiter == NULL
         && (waitq ? waitq->queue.last == NULL : (op->op_flags & left) ==
             left);
}

unsigned loop_unattended (const struct loop *loop) {
  struct op_table *ops = &loop->ring->ops;
  unsigned n = 0;
  for (struct op *op = op_each(ops, NULL); op; op = op_each(ops, op))
    if (unattended(op)) n++;
  return n;
}

void loop_cancel_unattended (struct loop *loop) {
  struct op_table *ops = &loop->ring->ops;
  for (struct op *op = op_each(ops, NULL); op; op = op_each(ops, op))
    if (unattended(op) && !(op->op_flags & OP_CANCEL))
      ring_cancel(loop->ring, op);
}
