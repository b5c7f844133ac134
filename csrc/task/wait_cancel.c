/*
** wait_cancel: ends waits early, because the deadline was reached or the task
** was cancelled or will never run again; for each kind of wait.
**
** Runs without a Lua stack, allocates nothing and does not fail: a coroutine
** may be closed at any time.
*/

#include "compat.h"
#include "task/wait_cancel.h"

#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "task/channel.h"


/* The queue that the task waits in, or NULL. */
static struct waitq *queue_of (const struct task *t) {
  switch (t->wait) {
    case WAIT_MESSAGE: return &t->ring->receivers.waiting;
    case WAIT_JOIN: return &t->joined->joiners;
    case WAIT_QUEUE: case WAIT_ITEM: return &t->turnq->waiting;
    case WAIT_SEND: return &t->channel->senders;
    default: return NULL;
  }
}

/* Remove the task from what it waits for, if that outlives the wait. */
static void remove_waiter (struct task *t) {
  struct waitq *q = queue_of(t);
  if (q && t->node.next)  /* guard: the queue may have ended before */
    waitq_remove(q, &t->node);
  if (t->wait == WAIT_MESSAGE) t->ring->held--;
  if (t->wait == WAIT_OPERATION) t->op->waiter = NULL;
}

void loop_cancel_wait (struct loop *loop, struct task *t) {
  switch (t->wait) {
    case WAIT_AWAIT: {
      struct op *op = t->op;
      if (op->op_flags & OP_NOTIFYING) {  /* guard: that may take long */
        ring_drop(t->ring, op);
        t->flags = 0;
        t->data = loop_pack_op(op, 0);
        break;
      }
      ring_cancel(t->ring, op);
      return;
    }
    case WAIT_CHAIN: {
      struct chain *c = t->chain;
      for (unsigned i = c->n; i-- > 0; ) {
        struct op *op = op_find(&t->ring->ops, c->link[i].token);
        if (op) {
          ring_cancel(t->ring, op);
          return;
        }
      }
      return;
    }
    default: remove_waiter(t);
  }
  loop_wake(loop, t);
}

void loop_timed_out (struct loop *loop, struct task *t) {
  t->task_flags |= TASKF_TIMED_OUT;
  loop_cancel_wait(loop, t);
}

/* Dispose of the results of a chain that have arrived. */
static void dispose_chain (struct task *t) {
  const struct chain *c = t->chain;
  for (unsigned i = 0; i < c->n; i++) {
    const struct link *l = &c->link[i];
    if (l->token == 0)
      ring_dispose(t->ring, l->disposal, l->group, l->res, l->flags);
  }
}

void loop_abandon_wait (struct loop *loop, struct task *t) {
  if (t->state != TASK_WAITING) {  /* its wait has ended, with a result */
    if (t->has_turn) loop_end_turns(loop, t);  /* guard: wake the next */
    t->task_flags &= (uint8_t)~TASKF_CHOSEN;
    if (t->wait == WAIT_AWAIT)
      ring_dispose(t->ring, t->disposal, loop_group_or_kernel(t), t->res,
                   t->flags);
    if (t->wait == WAIT_CHAIN) dispose_chain(t);
    t->disposal = DISPOSE_NOTHING;
    t->wait = WAIT_NOTHING;
    return;
  }
  switch (t->wait) {
    case WAIT_AWAIT: {
      struct op *op = t->op;
      ring_drop(t->ring, op);
      ring_cancel(t->ring, op);
      break;
    }
    case WAIT_CHAIN: {
      struct chain *c = t->chain;
      dispose_chain(t);
      for (unsigned i = c->n; i-- > 0; ) {
        struct op *op = op_find(&t->ring->ops, c->link[i].token);
        if (op) {
          ring_drop(t->ring, op);
          ring_cancel(t->ring, op);
        }
      }
      break;
    }
    default: remove_waiter(t);
  }
  loop_wake(loop, t);
  t->wait = WAIT_NOTHING;
}

/* (Buffers go with their ring, which may be closed already.) */
static void close_results (const struct task *t) {
  if (t->wait == WAIT_AWAIT)
    ring_dispose(t->ring, t->disposal, 0, t->res, 0);
  if (t->wait == WAIT_CHAIN) {
    struct chain *c = t->chain;
    for (unsigned i = 0; i < c->n; i++) {
      struct link *l = &c->link[i];
      if (l->token == 0) ring_dispose(t->ring, l->disposal, 0, l->res, 0);
      l->disposal = DISPOSE_NOTHING;  /* guard: it is met with each of its
                                         operations */
    }
  }
}

/* Of rings that are still open only what chains have is lost: each operation's
** own result is disposed of when it comes. */
void loop_dispose_results (const struct loop *loop) {
  for (const struct wait_node *n = loop->first; n; n = n->next)
    close_results((const struct task *)n);
  for (struct ring *r = loop->state->rings; r; r = r->next)
    for (struct op *op = NULL; (op = op_each(&r->ops, op)) != NULL; )
      if (!(op->op_flags & OP_INTERNAL) && op->waiter && op->node->co
          && op->task->wait == WAIT_CHAIN) close_results(op->task);
}
