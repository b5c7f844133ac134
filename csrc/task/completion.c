/*
** completion: from a CQE to the task that it wakes. It takes the result of an
** awaited operation, and leaves all others with their ring.
**
** A completion that is not the last must not end an await, and none may reach
** a task whose loop is gone.
*/

#include "compat.h"
#include "task/completion.h"

#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "task/ring_watch.h"
#include "task/wait_cancel.h"
#include "task/wait.h"


/* A zero copy send has its result: the queue's next task sends, and this one
** waits until the kernel has released its memory. */
static void send_zc_done (struct loop *loop, struct task *t, struct op *op,
                          int32_t res) {
  t->res = res;
  if (op->waitq) turnq_wake(loop, &op->waitq->q);
  if (op->op_flags & OP_CANCEL)
    loop_cancel_wait(loop, t);  /* cancelled or timed out: it ends now */
}

/* A completion of `op` wakes the first waiter of the queue that it serves. The
** notification of a zero copy send only frees memory: it wakes none. */
static void wake_op_waitq (struct loop *loop, struct ring *r, struct op *op,
                           int32_t res, bool last) {
  struct object_waitq *waitq = op->waitq;
  if (last && waitq->completed) waitq->completed(loop, waitq, op, res);
  if (last && (op->op_flags & OP_PIECE) && op->waiter)
    object_waitq_hold(waitq, op->task);  /* guard: bytes do not mix */
  else if ((last ? !(op->op_flags & OP_NOTIFYING) : op->waiter == NULL)
           && !(waitq->one_turn && waitq->q.turns > 0))
    turnq_wake(loop, &waitq->q);
  if (op->op_flags & OP_DROPPED)
    return;  /* (a poll, or a request that its socket has dropped) */
  if (waitq->bound > 0 && op->results.count + 1 >= waitq->bound && !last
      && !(op->op_flags & OP_CANCEL))
    ring_cancel(r, op);  /* backpressure: the reader is too slow */
}

/* ring_callbacks.completion: true if the result was taken here. */
static bool wake_waiter (struct ring *r, struct op *op, int32_t res,
                         uint32_t flags, bool last) {
  struct task *t;
  struct watch *w = r->watch;
  if (op->waitq && w) wake_op_waitq(w->loop, r, op, res, last);
  if (op->waiter == NULL)
    return false;
  if (w == NULL) {  /* the loop is gone, and the waiter with it */
    op->waiter = NULL;
    op->op_flags |= OP_DROPPED;
    return false;
  }
  if (op->node->co == NULL) {  /* the select tries its events again */
    struct select_waiter *e = op->select_waiter;
    op->waiter = NULL;
    select_waiter_wake(w->loop, e);
    return false;
  }
  t = op->task;
  if (!last && (t->wait == WAIT_AWAIT || t->wait == WAIT_CHAIN)) {
    if (op_notifies(op->opcode)) send_zc_done(w->loop, t, op, res);
    else  /* an await takes one result, the last: dispose of the others */
      ring_dispose(r, op->disposal, op->group, res, flags);
    return true;
  }
  switch (t->wait) {
    case WAIT_AWAIT:
      if (op->op_flags & OP_NOTIFYING)
        flags |= (uint32_t)res & IORING_NOTIF_USAGE_ZC_COPIED;
      else t->res = res;
      t->flags = flags;
      t->disposal = op->disposal & 3u;
      t->data = loop_pack_op(op, flags);
      op_free(&r->ops, op);
      loop_wake(w->loop, t);
      return true;
    case WAIT_CHAIN: {
      struct chain *c = t->chain;
      for (unsigned i = 0; i < c->n; i++) {
        struct link *l = &c->link[(c->next + i) % c->n];
        if (l->token == op->token) {
          c->next = (unsigned)(l - c->link) + 1;
          l->res = res;
          l->flags = flags;
          l->token = 0;
          l->unreported = op_unreported(op, res);
          op_free(&r->ops, op);
          if (--c->pending == 0) loop_wake(w->loop, t);
          break;
        }
      }
      return true;
    }
    default:  /* WAIT_OPERATION: the ring keeps it until the task takes it */
      op->waiter = NULL;
      loop_wake(w->loop, t);
      return false;
  }
}

/* ring_callbacks.message: one has arrived, and the ring keeps it. */
static void wake_receiver (struct ring *r) {
  struct watch *w = r->watch;
  if (w) turnq_wake(w->loop, &r->receivers);
}

/* ring_callbacks.queued: the loop must enter the ring. */
static void enter_needed (struct ring *r) {
  struct watch *w = r->watch;
  if (w->loop->quiet) loop_notify_host(w->loop);  /* guard: or it sleeps */
}

const struct ring_callbacks loop_callbacks = {
  wake_waiter, wake_receiver, ring_watch_signaled, ring_watch_closed,
  ring_watch_stop, enter_needed
};
