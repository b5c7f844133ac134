/*
** ring_cancel: put operations on the list of cancels to send, and put them
** back there when a cancel came too early. Of a chain only the first
** unfinished member may be on the list: the kernel finds no other.
**
** A cancel that found nothing to end is sent again for as long as its
** operation is in flight. ENOENT: the operation was on its way, between poll
** and task work or from a queue to an io-wq worker, where no cancel finds it.
** EALREADY: a worker has it and was signalled; the signal may be lost, or the
** worker cannot end yet. The first of the two passes within a turn, mostly, so
** that cancel is sent again with the next enter. All others wait for a pause:
** without one hundreds would be sent before a worker has even run. All of
** a ring have the same pause, a timeout of the kernel's, so that whatever
** drives the ring is woken. Each is twice as long as the one before, up to
** LONGEST_PAUSE, until one has ended with nothing to send.
*/

#include "compat.h"
#include "ring/ring_cancel.h"
#include "ring/ring_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

#define LONGEST_PAUSE 64000000  /* ns */


void ring_cancel (struct ring *r, struct op *op) {
  struct op *first = op;
  if (op->state != OP_FLYING || (op->op_flags & OP_NOTIFYING))
    return;
  /* With hard links the next member starts when this one has ended. So all
     members up to `op` are marked, the first is listed now, and each other
     when it becomes the first (op_leave_chain). If one is marked already, all
     members before it are. */
  op->op_flags |= OP_CANCEL;
  while (first->before) {
    first = first->before;
    if (first->op_flags & OP_CANCEL)
      return;
    first->op_flags |= OP_CANCEL;
  }
  op_cancel_list(&r->ops, first);
  if (r->watch) r->callbacks->queued(r);
}

void ring_cancel_answered (struct ring *r, struct op *op, int32_t res) {
  if ((res != -ENOENT && res != -EALREADY) || op->state != OP_FLYING
      || (op->op_flags & OP_NOTIFYING))  /* guard: no cancel finds it */
    return;
  if (res == -ENOENT && op->cancel_state == CANCEL_FIRST) {
    op->cancel_state = CANCEL_AGAIN;
    op_cancel_list(&r->ops, op);
  }
  else
    op_cancel_pause(&r->ops, op);  /* guard: no burst of them */
}

void ring_cancel_again (struct ring *r) {
  while (r->ops.futile.first) op_cancel_list(&r->ops, r->ops.futile.first);
}

void ring_cancel_unpaced (struct ring *r) {
  int64_t now = clock_now();
  if (now >= r->next_cancels) {
    r->next_cancels = now + LONGEST_PAUSE;
    ring_cancel_again(r);
  }
}

const struct __kernel_timespec *ring_next_pause (struct ring *r) {
  /* (not on the ring: an SQPOLL thread may read it when that is closed) */
  static const struct __kernel_timespec lengths[] = {
    {0, 250000}, {0, 500000}, {0, 1000000}, {0, 2000000}, {0, 4000000},
    {0, 8000000}, {0, 16000000}, {0, 32000000}, {0, LONGEST_PAUSE}
  };
  const struct __kernel_timespec *pause = &lengths[r->pauses];
  if (pause->tv_nsec < LONGEST_PAUSE) r->pauses++;
  return pause;
}

static void pause_ended (struct ring *r, int32_t res) {
  r->pausing = false;
  if (res != -ETIME && res != -ECANCELED) r->no_pause = true;
  if (r->ops.futile.first == NULL) r->pauses = 0;
  else if (res == -ETIME) ring_cancel_again(r);
}

void ring_cancelled (struct ring *r, const struct op *own, int32_t res) {
  if (own->opcode == IORING_OP_TIMEOUT)
    pause_ended(r, res);
  else {
    struct op *op = op_find(&r->ops, own->data);
    if (op) ring_cancel_answered(r, op, res);
  }
}


int ring_cancel_now (struct ring *r, uint64_t token, unsigned flags) {
  struct io_uring_sync_cancel_reg reg;
  memset(&reg, 0, sizeof(reg));
  reg.addr = token;
  reg.fd = -1;
  reg.flags = flags;
  return sys_register(r->io.ring_fd, IORING_REGISTER_SYNC_CANCEL, &reg, 1);
}
