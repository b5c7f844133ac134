/*
** ring_reap: deliver CQEs in batches. Which of them is a completion, and which
** a message, is decided by op_match (op_table). Memory for all that a batch
** can become is reserved before the batch leaves the CQ, so that nothing can
** be lost after it.
*/

#include "compat.h"
#include "ring/ring_reap.h"
#include "ring/ring_internal.h"

#include "ring/doorbell.h"
#include "ring/ring_buffers.h"
#include "ring/ring_cancel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ERESTARTSYS 512  /* the result of a cancelled pipe read on 6.1 */


/* ---- delivering -------------------------------------------------------- */

void ring_dispose (struct ring *r, unsigned disposal, unsigned group,
                   int32_t res, uint32_t flags) {
  if (flags & IORING_CQE_F_BUFFER) {  /* guard: or the buffer is lost */
    struct buf_group *g = ring_group(r, group);
    if (g) buf_group_dispose(g, res, flags);
    r->stats.disposed++;
  }
  if (res < 0 || disposal == DISPOSE_NOTHING)
    return;
  r->stats.disposed++;
  if (disposal == DISPOSE_FD)
    close(res);
  else if (disposal == DISPOSE_SLOT && (r->open || r->closing)) {
    int none = -1;
    struct io_uring_files_update up;
    memset(&up, 0, sizeof(up));
    up.offset = (uint32_t)res;
    up.fds = (uint64_t)(uintptr_t)&none;
    sys_register(r->io.ring_fd, IORING_REGISTER_FILES_UPDATE, &up, 1);
  }
}

void ring_deliver (struct op_table *t, struct op *op, int32_t res,
                   uint32_t flags, bool last) {
  struct ring *r = (struct ring *)((char *)t - offsetof(struct ring, ops));
  if (res == -ERESTARTSYS)
    res = -ECANCELED;
  if (flags & IORING_CQE_F_BUFFER) {
    struct buf_group *g = ring_group(r, op->group);
    if (g) {
      buf_group_note(g, res, flags, op->layout, op->op_flags & OP_BUNDLE);
      ring_buffers_noted(r, g);
    }
  }
  if (op->disposal == DISPOSE_FD && res >= 0 && r->open && r->handle->owner)
    handle_number_reused(r->handle->owner, res);
  if (!last && op_notifies(op->opcode) && !(op->op_flags & OP_NOTIFYING)) {
    op->op_flags |= OP_NOTIFYING;
    t->notifying++;
    if (op->op_flags & OP_CANCEL_LISTED)
      op_cancel_unlist(t, op);  /* (too late for a cancel) */
    op_leave_chain(t, op);  /* guard: no cancel finds it */
  }
  if (last) {
    if ((op->op_flags & (OP_LOOPED | OP_SILENT)) == OP_LOOPED) r->held--;
    if (op->opcode == IORING_OP_PROVIDE_BUFFERS && res < 0)
      ring_unkeep(r, op->token);
  }
  if (op->op_flags & OP_INTERNAL) {
    if (op->waiter) r->callbacks->internal(r, op, res, flags, last);
    else ring_cancelled(r, op, res);
    if (last) op_free(t, op);
  }
  else if ((op->waiter || op->waitq)
           && r->callbacks->completion(r, op, res, flags, last)) {
    return;
  }
  else if ((op->op_flags & OP_DROPPED) || r->closing
           || op_unreported(op, res)) {
    ring_dispose(r, op->disposal, op->group, res, flags);
    if (last && op->results.first == NULL) op_free(t, op);
  }
  else
    pending_add(&r->pending, &op->results, op, op->data, res, flags);
}

void ring_doorbell (struct ring *r) {
  if (!doorbell_arrived(r->doorbell)) r->stats.forged_doorbells++;
}

/* If the descriptor was closed before the request was started the kernel
** reports a bad number. Report a cancel instead; for a message EPIPE: the
** target ring is closed. */
static int32_t error_of_closed (const struct op *op, int32_t res) {
  const struct handle *h = op_handle(op);
  if (h == NULL || !handle_closed(h))
    return res;
  if (op->opcode == IORING_OP_MSG_RING)
    return res == -EBADF || res == -EBADFD ? -EPIPE : res;
  return res == -EBADF || (res == -ENOTDIR && op->opcode == IORING_OP_OPENAT)
         ? -ECANCELED : res;
}

/* A request has closed this number, whatever owns it: that must not close it
** again, for it may be another file's by then. */
static void number_closed (const struct op *op) {
  struct handle *h = op_handle(op);
  if (h) handle_release(h);  /* guard: closed once */
}

static void deliver_message (struct ring *r, const struct cqe *c) {
  if (r->doorbell && c->user_data == r->doorbell->token) {
    ring_doorbell(r);
    return;
  }
  r->stats.messages++;
  if (r->closing)
    return;
  pending_add(&r->pending, &r->messages, NULL, c->user_data, c->res,
              c->flags);
  if (++r->stats.waiting > r->stats.most_waiting)
    r->stats.most_waiting = r->stats.waiting;
  if (r->watch) r->callbacks->message(r);
}

static bool reserve_pending (struct ring *r, unsigned n) {
  return ring_reserve_notes(r)
         && (r->closing || pending_reserve(&r->pending, n));
}

static void deliver (struct ring *r, struct cqe *c) {
  struct op *op;
  switch (op_match(&r->ops, c->user_data, &op)) {
    case MATCH_LIVE:
      if (c->res < 0) c->res = error_of_closed(op, c->res);
      else if (op->opcode == IORING_OP_CLOSE) number_closed(op);
      op_complete(&r->ops, op, c->res, c->flags);
      break;
    case MATCH_MESSAGE:
      deliver_message(r, c);
      break;
    case MATCH_STALE:
      break;
  }
}

int ring_reap_batch (struct ring *r) {
  struct cqe batch[RING_BATCH];
  unsigned n = sys_cq_ready(&r->io);
  if (n == 0)
    return 0;
  if (n > RING_BATCH) n = RING_BATCH;
  /* guard: memory for all that these can become, before they are taken; a ring
     that closes keeps nothing */
  if (!reserve_pending(r, n) && !r->closing)
    return -ENOMEM;
  n = sys_take(&r->io, batch, n);
  r->stats.cqes += n;
  for (unsigned i = 0; i < n; i++) deliver(r, &batch[i]);
  return (int)n;
}

int ring_reap (struct ring *r) {
  unsigned total = 0;
  while (total < r->io.cq.ring_entries) {
    int n = ring_reap_batch(r);
    if (n <= 0)
      return total > 0 ? (int)total : n;
    total += (unsigned)n;
  }
  return (int)total;
}


/* ---- taking ------------------------------------------------------------ */

static bool after_take (struct ring *r, const struct pending_cqe *c) {
  if (c->op == NULL)
    r->stats.waiting--;
  else if (c->op->state == OP_ENDED && c->op->results.first == NULL)
    op_free(&r->ops, c->op);
  return true;
}

bool ring_take (struct ring *r, struct pending_cqe *out) {
  return pending_take(&r->pending, out) && after_take(r, out);
}

bool ring_take_op (struct ring *r, struct op *op, struct pending_cqe *out) {
  return pending_take_from(&r->pending, &op->results, out)
         && after_take(r, out);
}

bool ring_take_message (struct ring *r, struct pending_cqe *out) {
  return pending_take_from(&r->pending, &r->messages, out)
         && after_take(r, out);
}

void ring_drop (struct ring *r, struct op *op) {
  struct pending_cqe a;
  bool ended = op->state == OP_ENDED;
  op->op_flags |= OP_DROPPED;
  op->waiter = NULL;
  while (pending_take_from(&r->pending, &op->results, &a))
    ring_dispose(r, op->disposal, op->group, a.res, a.flags);
  if (ended) op_free(&r->ops, op);
  else if (op->op_flags & OP_MULTI) ring_cancel(r, op);
}
