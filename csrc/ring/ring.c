/*
** ring: opening, with the best flags that the kernel accepts, and closing.
** A close is bounded in time, and must bury the memory of every operation
** that the kernel has not ended by then.
*/

#include "compat.h"
#include "ring/ring.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "base/thread_id.h"
#include "ring/doorbell.h"
#include "ring/ring_buffers.h"
#include "ring/ring_cancel.h"
#include "ring/ring_internal.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"

#include <errno.h>
#include <string.h>

#define CQ_MAX 65536u
#define BATCH 256      /* cancels between two checks of the time */
#define NAP_NS 10000000

static _Atomic uint64_t ring_ids;


/* ---- open -------------------------------------------------------------- */

/* In the order in which they are given up if the kernel answers EINVAL. */
static const unsigned wanted[] = {
  0,
  IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_CQSIZE
};

static int setup_ring (struct ring *r, const struct ring_options *o,
                       unsigned flags, unsigned cq_entries) {
  struct io_uring_params p;
  memset(&p, 0, sizeof(p));
  p.flags = flags;
  p.cq_entries = (flags & IORING_SETUP_CQSIZE) ? cq_entries : 0;
  p.sq_thread_cpu = o->sq_thread_cpu;
  p.sq_thread_idle = o->sq_thread_idle;
  p.wq_fd = (unsigned)o->wq_fd;
  return sys_setup(o->entries, &r->io, &p);
}

int ring_open (struct ring *r, struct handles *all,
               const struct ring_options *o) {
  unsigned flags = o->flags & ~IORING_SETUP_NO_SQARRAY;  /* liburing's own */
  unsigned cq = o->cq_entries;
  int rc = op_table_init(&r->ops);
  r->owner = thread_id();
  if (o->disabled) flags |= IORING_SETUP_R_DISABLED;
  if (rc < 0)
    return rc;
  r->handle = r->owner ? handle_new() : NULL;
  if (r->handle == NULL)
    return -ENOMEM;
  if (o->exact) {
    if (cq > 0) flags |= IORING_SETUP_CQSIZE;
    rc = setup_ring(r, o, flags, cq);
  }
  else {
    if (cq == 0)  /* large: an overflow is slow and ends multishots */
      cq = o->entries < CQ_MAX / 8 ? o->entries * 8 : CQ_MAX;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
      flags |= wanted[i];
    for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
      flags &= ~wanted[i];
      if (o->cq_entries > 0) flags |= IORING_SETUP_CQSIZE;  /* not optional */
      rc = setup_ring(r, o, flags, cq);
      if (rc != -EINVAL) break;
    }
  }
  if (rc < 0) {
    refblock_release(&r->handle->block);
    r->handle = NULL;
    return rc;
  }
  r->handle->ring = true;
  handle_own(all, r->handle, r->io.ring_fd);
  r->ops.deliver = ring_deliver;
  r->id = atomic_fetch_add(&ring_ids, 1) + 1;
  r->fork_id = fork_id();
  r->enabled = (r->io.flags & IORING_SETUP_R_DISABLED) == 0;
  r->marked_count = handle_marked_count();
  r->open = true;
  return 0;
}

void ring_set_account (struct ring *r, struct account *a) {
  r->account = r->ops.account = r->pending.account = a;
}


int ring_bind (struct ring *r) {
  uint64_t thread = thread_id();
  int rc;
  if (thread == 0)
    return -ENOMEM;
  ring_look_at_number(r);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
  if (rc >= 0) {
    r->enabled = true;
    r->owner = thread;
    r->io.flags &= ~(unsigned)IORING_SETUP_R_DISABLED;
  }
  return rc;
}


/* ---- close ------------------------------------------------------------- */

/* Reap what has ended so far. False if that cannot work any more: the ring is
** another thread's, it was never enabled, its number was closed by others, the
** process may not enter the kernel for it any longer (seccomp), or there is no
** memory. */
static bool reap_ended (struct ring *r) {
  switch (ring_enter(r, 0, SYS_FOREVER)) {
    case -EEXIST: case -EBADF: case -EBADFD:
    case -EPERM: case -EACCES: case -ENOSYS:
      return false;  /* guard: do not wait for what cannot end */
    default:
      return ring_reap(r) >= 0;
  }
}

/* Does the kernel keep these in a list, so that it finds one of them only by
** a search? */
static bool searched_for (const struct op *op) {
  return op->opcode == IORING_OP_TIMEOUT || op->opcode == IORING_OP_FUTEX_WAIT
      || op->opcode == IORING_OP_WAITID;
}

/* Cancel one by one all operations that the kernel finds by token without a
** search; the call that cancels everything searches anew for each, but for
** those in lists. */
static bool cancel_each (struct ring *r, int64_t deadline) {
  unsigned n = 0;
  for (struct op *op = NULL; (op = op_each(&r->ops, op)) != NULL; ) {
    if (!searched_for(op) && (!(op->op_flags & OP_INTERNAL) || op->waiter))
      ring_cancel(r, op);
    if (++n % BATCH == 0 && (!reap_ended(r) || clock_left(deadline) == 0))
      return false;
  }
  return reap_ended(r);
}

/* guard: on an SQPOLL ring the io-wq workers are the polling thread's, so that
   a call from this thread does not find their requests; a cancel request is
   run by the polling thread and does. Nor is the call allowed everywhere. */
static void ring_cancel_all (struct ring *r) {
  if ((r->io.flags & IORING_SETUP_SQPOLL)
      || ring_cancel_now(r, 0, IORING_ASYNC_CANCEL_ANY
                         | IORING_ASYNC_CANCEL_ALL) < 0) {
    for (struct op *op = NULL; (op = op_each(&r->ops, op)) != NULL; )
      if (!(op->op_flags & OP_INTERNAL) || op->opcode == IORING_OP_TIMEOUT)
        ring_cancel(r, op);
  }
}

static void drain_ops (struct ring *r, int64_t ns) {
  int64_t deadline = clock_after(ns);
  uint32_t before = r->ops.flying;
  bool many = before > BATCH;
  if (before == 0 || !reap_ended(r) || (many && !cancel_each(r, deadline)))
    return;
  if (!many) ring_cancel_all(r);
  while (r->ops.flying > 0) {
    int64_t left = clock_left(deadline);
    before = r->ops.flying;
    if (!reap_ended(r) || r->ops.flying == 0)
      return;
    if (left == 0)
      return;  /* guard: closing is bounded */
    if (r->ops.flying < before)
      continue;  /* one entry ends only a part of what was cancelled */
    ring_cancel_all(r);
    if (left > NAP_NS) left = NAP_NS;
    switch (ring_enter_bare(r, 1, left)) {
      case -EAGAIN: case -EBUSY: case -ENOMEM: clock_sleep(left / 10); break;
      default: break;
    }
  }
}

/* Close the kernel's ring. Registered files and buffers are unregistered by
** calls, because another process, such as a forked child, may keep the ring's
** descriptor open. (Not while operations are in flight: older kernels would
** wait for them.) */
static void close_kernel_side (struct ring *r, bool idle) {
  ring_look_at_number(r);
  if (idle) {
    ring_unregister(r, IORING_UNREGISTER_FILES);
    ring_unregister(r, IORING_UNREGISTER_BUFFERS);
  }
  r->io.ring_fd = handle_detach(r->handle);  /* guard: may be in use */
  sys_exit(&r->io);
}

/* End what is in flight, without its completions. */
static void abandon_flying (struct ring *r) {
  bool ours = r->fork_id == fork_id();
  for (struct op *op = NULL; (op = op_each(&r->ops, op)) != NULL; ) {
    if (op->state == OP_FLYING) {
      /* guard: memory of an operation that the kernel has is not freed */
      bool bury = ours && r->enabled && (op->op_flags & OP_READS);
      if (bury) r->stats.leaked++;
      op_abandon(&r->ops, op, bury);
    }
  }
}

void ring_lost (struct ring *r) {
  handle_release(r->handle);  /* guard: the number may be another file's */
  ring_look_at_number(r);
  abandon_flying(r);
  if (r->callbacks) r->callbacks->closed(r);
}

unsigned ring_close (struct ring *r, int64_t ns) {
  bool ours = r->fork_id == fork_id();
  unsigned kept, left;
  struct pending_cqe a;
  if (!r->open)
    return 0;
  r->open = false;
  r->closing = true;
  if (ours) drain_ops(r, ns);
  left = r->ops.flying;
  abandon_flying(r);
  /* (after the operations, whose completions wake tasks) */
  if (r->callbacks) r->callbacks->closed(r);
  if (r->doorbell) {  /* (after it, for it closes an eventfd that is polled) */
    refblock_release(&r->doorbell->block);
    r->doorbell = NULL;
  }
  for (struct op *op = NULL; ours && (op = op_each(&r->ops, op)) != NULL; )
    while (pending_take_from(&r->pending, &op->results, &a))
      ring_dispose(r, op->disposal, op->group, a.res, a.flags);
  kept = (unsigned)r->stats.leaked;
  if (ours) close_kernel_side(r, left == 0);  /* guard: not in a child */
  refblock_release(&r->handle->block);
  r->handle = NULL;
  r->closing = false;
  pending_free(&r->pending);
  op_table_free(&r->ops);
  ring_release_buffers(r, kept > 0);
  if (r->pprev) {
    *r->pprev = r->next;
    if (r->next) r->next->pprev = r->pprev;
    r->pprev = NULL;
  }
  return kept;
}
