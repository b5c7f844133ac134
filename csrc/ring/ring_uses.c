/*
** ring_uses: submit, cancel and reap until a descriptor has no operations in
** flight, or none that would end soon. Queued SQEs that name it must be
** submitted first: afterwards the number may be another file's.
*/

#include "compat.h"
#include "ring/ring_uses.h"
#include "ring/ring_internal.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"

#include <sched.h>

#define ROUNDS 8         /* at most so many in a row that end nothing */
#define THREADS_NS 5000000  /* wait for io-wq workers, whose operations need
                               another cancel, and for an SQPOLL thread */
#define NAP 50000        /* ns before a worker is signalled again */


static bool is_usable (const struct ring *r) {
  return r->open && r->fork_id == fork_id();
}

/* Chains are cancelled whole: a hard link would start the next member. */
static void cancel_uses (const struct handle *h) {
  for (struct op *op = h->ops; op; op = op->next) {
    struct ring *r = ring_of(op);
    struct op *last = op;
    r->settling = true;
    if (!is_usable(r) || (op->op_flags & OP_CANCEL))
      continue;
    while (last->behind) last = last->behind;
    ring_cancel(r, last);
  }
}

void ring_settle (struct ring *r, const struct handle *h) {
  int64_t deadline = clock_after(THREADS_NS);
  bool polled = r->io.flags & IORING_SETUP_SQPOLL;
  unsigned futile = 0;
  int reaped = 0;
  r->settling = false;
  if (!is_usable(r) || !r->enabled)
    return;
  reaped = ring_reap(r);  /* guard: a cancel must name an unfinished member */
  if (reaped < 0)
    return;
  while (h->ops && futile < ROUNDS) {
    unsigned before = r->ops.flying - r->ops.internal;
    int rc = ring_enter(r, 0, SYS_FOREVER);
    int taken = ring_reap(r);
    if (taken < 0 || (rc < 0 && rc != -EINTR && taken == 0))
      return;  /* the listed cancels go with the next submit */
    if (r->ops.flying - r->ops.internal < before)
      futile = 0;
    else if (r->ops.futile.first && clock_left(deadline) > 0) {
      clock_sleep(NAP);
      ring_cancel_again(r);  /* (without a longer pause) */
    }
    else if (r->ops.cancels.first && clock_left(deadline) > 0)
      clock_sleep(NAP);
    else if (polled && clock_left(deadline) > 0)
      sched_yield();
    else if (r->ops.cancels.first || sys_needs_enter(&r->io))
      futile++;
    else
      return;
  }
}

void ring_reap_uses (struct ring *list, const struct handle *h) {
  ring_submit_uses(list, h);
  for (const struct op *op = h->ops; op; op = op->next)
    ring_of(op)->settling = true;
  for (struct ring *r = list; r && h->ops; r = r->next) {
    if (r->settling && is_usable(r)) ring_reap(r);
    r->settling = false;
  }
}

void ring_cancel_uses (struct ring *list, struct handle *h) {
  ring_submit_uses(list, h);
  cancel_uses(h);
  for (struct ring *r = list; r && h->ops; r = r->next)
    if (r->settling) ring_settle(r, h);
  if (h->ops)  /* (makes the next submit of each ring search its SQ) */
    handle_mark_closed(h);  /* guard: SQEs that could not be submitted */
  /* guard: messages that were delivered need the ring's number no more, also
     if their senders never reap */
  for (struct ring *r = list; r && refblock_flying(&h->block) > 0; r = r->next)
    if (is_usable(r)) ring_reap(r);
}

int ring_close_handle (struct ring *list, struct handle *h) {
  ring_cancel_uses(list, h);
  return handle_close(h);
}
