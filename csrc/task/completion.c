#include "compat.h"
#include "task/completion.h"

#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "task/ring_watch.h"
#include "task/wait_cancel.h"
#include "task/wait.h"


/* A send without copy has gone: the next in line goes, and its own task waits
** until its memory is free. */
static void sent_zero_copy (struct loop *loop, struct task *t, struct op *op,
                  int32_t res) {
  t->res = res;
  if (op->waitq) turnq_wake(loop, op->waitq);
  if (op->op_flags & OP_CANCEL) loop_leave(loop, t);  /* it has no time left */
}

/* (that its memory is free is nobody's turn) */
static void in_line (struct loop *loop, struct ring *r, struct op *op,
                     bool last) {
  struct socket_waitq *waitq = op->waitq;
  if (last && (op->op_flags & OP_PIECE) && op->waiter)
    socket_waitq_hold(waitq, op->waiter);  /* guard: bytes do not mix */
  else if (last ? !(op->op_flags & OP_NOTIFYING) : op->waiter == NULL)
    turnq_wake(loop, &waitq->q);
  if (op->op_flags & OP_DROPPED)
    return;  /* (a poll, or what a socket has no more to do with) */
  if (waitq->bound > 0 && ++waitq->count >= waitq->bound && !last
      && !(op->op_flags & OP_CANCEL))
    ring_cancel(r, op);  /* a slow reader stops its own reading */
}

static bool on_completion (struct ring *r, struct op *op, int32_t res,
                           uint32_t flags, bool last) {
  struct task *t = op->waiter;
  struct watch *w = r->watch;
  if (op->waitq && w) in_line(w->loop, r, op, last);
  if (t == NULL)
    return false;
  if (w == NULL) {  /* the loop is gone, and with it whoever waited */
    op->waiter = NULL;
    op->op_flags |= OP_DROPPED;
    return false;
  }
  if (t->node.co == NULL) {  /* an ear: it will look for itself */
    op->waiter = NULL;
    select_waiter_wake(w->loop, (struct select_waiter *)t);
    return false;
  }
  if (!last && (t->wait == WAIT_AWAIT || t->wait == WAIT_CHAIN)) {
    if (op_notifies(op->opcode)) sent_zero_copy(w->loop, t, op, res);
    else  /* it waits for one completion: what comes before the last is lost */
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
      t->data = loop_describe_op(op, flags);
      op_free(&r->ops, op);
      loop_wake(w->loop, t);
      return true;
    case WAIT_CHAIN: {
      struct chain *c = t->on;
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
    default:  /* WAIT_OPERATION: the result is kept until the task takes it */
      op->waiter = NULL;
      loop_wake(w->loop, t);
      return false;
  }
}

/* A message has come, and lies with the ring. */
static void on_message (struct ring *r) {
  struct watch *w = r->watch;
  if (w) turnq_wake(w->loop, &r->receivers);
}

const struct ring_callbacks loop_callbacks = {
  on_completion, on_message, ring_watch_signaled, ring_watch_closed,
      ring_watch_stop
};
