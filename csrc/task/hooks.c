#include "compat.h"
#include "task/hooks.h"

#include "task/handover.h"
#include "task/leave.h"
#include "task/line.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "task/watch.h"


/* A send without copy has gone: the next in line goes, and its own task waits
** until its memory is free. */
static void told (struct loop *loop, struct task *t, struct op *op,
                  int32_t res) {
  t->res = res;
  if (op->line) loop_wake_line(loop, op->line);
  if (op->marks & OP_CANCEL) loop_leave(loop, t);  /* it has no time left */
}

/* (that its memory is free is nobody's turn) */
static void in_line (struct loop *loop, struct ring *r, struct op *op,
                     bool last) {
  struct line *line = op->line;
  if (last && (op->marks & OP_PIECE) && op->waiter)
    line_hold(loop, line, op->waiter);  /* guard: bytes of two do not mix */
  else if (last ? !(op->marks & OP_TOLD) : op->waiter == NULL)
    loop_wake_line(loop, line);
  if (op->marks & OP_DROPPED)
    return;  /* (a poll, or what a socket has no more to do with) */
  if (line->bound > 0 && ++line->count >= line->bound && !last
      && !(op->marks & OP_CANCEL))
    ring_cancel(r, op);  /* a slow reader stops its own reading */
}

static bool on_completion (struct ring *r, struct op *op, int32_t res,
                           uint32_t flags, bool last) {
  struct task *t = op->waiter;
  struct watch *w = r->watch;
  if (op->line && w) in_line(w->loop, r, op, last);
  if (t == NULL)
    return false;
  if (w == NULL) {  /* the loop is gone, and with it whoever waited */
    op->waiter = NULL;
    op->marks |= OP_DROPPED;
    return false;
  }
  if (t->seat.co == NULL) {  /* an ear: it will look for itself */
    op->waiter = NULL;
    ear_call(w->loop, (struct ear *)t);
    return false;
  }
  if (!last && (t->wait == WAIT_AWAIT || t->wait == WAIT_CHAIN)) {
    if (op_tells_twice(op->opcode)) told(w->loop, t, op, res);
    else  /* it waits for one completion: what comes before the last is lost */
      ring_dispose(r, op->disposal, op->group, res, flags);
    return true;
  }
  switch (t->wait) {
    case WAIT_AWAIT:
      if (op->marks & OP_TOLD)
        flags |= (uint32_t)res & IORING_NOTIF_USAGE_ZC_COPIED;
      else t->res = res;
      t->flags = flags;
      t->disposal = op->disposal;
      t->data = loop_words(op, flags);
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

const struct ring_hooks loop_hooks = {
  on_completion, loop_message_came, loop_heard, loop_ring_closed, loop_unwatch
};
