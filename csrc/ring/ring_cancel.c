/*
** ring_cancel: put operations on the list of cancels to send, and put them
** back there when a cancel came too early. Of a chain only the first
** unfinished member may be on the list: the kernel finds no other.
*/

#include "compat.h"
#include "ring/ring_cancel.h"
#include "ring/ring_internal.h"

#include <errno.h>
#include <string.h>

#define CANCEL_TRIES 200  /* a poll re-queues a request up to 128 times */


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

void ring_cancelled (struct ring *r, const struct op *cancel, int32_t res) {
  struct op *op = op_find(&r->ops, cancel->data);
  if ((res == -ENOENT || res == -EALREADY) && op && op->state == OP_FLYING
      && !(op->op_flags & OP_NOTIFYING)  /* guard: no cancel finds it */
      && op->tries++ < CANCEL_TRIES)
    op_cancel_list(&r->ops, op);
}


bool ring_cancel_now (struct ring *r, uint64_t token, unsigned flags) {
  struct io_uring_sync_cancel_reg reg;
  memset(&reg, 0, sizeof(reg));
  reg.addr = token;
  reg.fd = -1;
  reg.flags = flags;
  return sys_register(r->io.ring_fd, IORING_REGISTER_SYNC_CANCEL, &reg, 1)
         != -EINVAL;
}
