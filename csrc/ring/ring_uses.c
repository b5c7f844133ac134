#include "compat.h"
#include "ring/ring_uses.h"
#include "ring/ring_internal.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"

#include <sched.h>

#define ROUNDS 8         /* in a row that end nothing */
#define OTHERS 5000000   /* ns for threads of the kernel's: what has to be
                            cancelled again is a worker's, and on an SQPOLL
                            ring all is its thread's */
#define NAP 50000        /* ns before a worker is signalled again */


static bool is_ours (const struct ring *r) {
  return r->open && r->fork_id == fork_id();
}

/* Chains end as a whole: a hard link would start the next member. */
static void cancel_uses (const struct handle *h) {
  for (struct op *op = h->ops; op; op = op->next) {
    struct ring *r = ring_of(op);
    struct op *last = op;
    r->settling = true;
    if (!is_ours(r) || (op->op_flags & OP_CANCEL))
      continue;
    while (last->behind) last = last->behind;
    ring_cancel(r, last);
  }
}

void ring_settle (struct ring *r, const struct handle *h) {
  int64_t deadline = clock_after(OTHERS);
  bool polled = r->io.flags & IORING_SETUP_SQPOLL;
  unsigned futile = 0;
  r->settling = false;
  if (!is_ours(r) || !r->enabled || ring_reap(r) < 0)
    return;  /* guard: a cancel names the first of a chain that has not come */
  while (h->ops && futile < ROUNDS) {
    unsigned before = r->ops.flying - r->ops.internal;
    int rc = ring_enter(r, 0, SYS_FOREVER);
    int taken = ring_reap(r);
    if (taken < 0 || (rc < 0 && rc != -EINTR && taken == 0))
      return;  /* what finds no room goes with the next submit */
    if (r->ops.flying - r->ops.internal < before)
      futile = 0;
    else if (r->ops.cancels && clock_left(deadline) > 0)
      clock_sleep(NAP);
    else if (polled && clock_left(deadline) > 0)
      sched_yield();
    else if (r->ops.cancels || sys_needs_enter(&r->io))
      futile++;
    else
      return;
  }
}

void ring_leave_uses (struct ring *list, const struct handle *h) {
  ring_submit_all(list);  /* guard: SQEs that name it */
  for (const struct op *op = h->ops; op; op = op->next)
    ring_of(op)->settling = true;
  for (struct ring *r = list; r && h->ops; r = r->next) {
    if (r->settling && is_ours(r)) ring_reap(r);
    r->settling = false;
  }
}

void ring_end_uses (struct ring *list, struct handle *h) {
  ring_submit_all(list);  /* guard: SQEs that name it */
  cancel_uses(h);
  for (struct ring *r = list; r && h->ops; r = r->next)
    if (r->settling) ring_settle(r, h);
  if (h->ops)  /* (for the next submit of each ring has to look) */
    handle_shut(h);  /* guard: SQEs that could not be submitted */
  /* guard: messages that have arrived need a ring's number no more, whether
     their senders ever look or not */
  for (struct ring *r = list; r && refblock_flying(&h->block) > 0; r = r->next)
    if (is_ours(r)) ring_reap(r);
}

int ring_close_handle (struct ring *list, struct handle *h) {
  ring_end_uses(list, h);
  return handle_close(h);
}
