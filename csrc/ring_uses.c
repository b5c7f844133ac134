#include "compat.h"
#include "ring_private.h"
#include "ring_uses.h"

#include "clock.h"
#include "proc.h"
#include "ring_cancel.h"
#include "ring_reap.h"
#include "ring_submit.h"

#include <sched.h>

#define ROUNDS 8         /* in a row that end nothing */
#define POLLER 5000000   /* ns for the thread of an SQPOLL ring */


static bool is_ours (const struct ring *r) {
  return r->open && r->proc == proc_id();
}

/* Chains end as a whole: a hard link would start the next member. */
static void cancel_uses (const struct handle *h) {
  for (struct op *op = h->ops; op; op = op->next) {
    struct ring *r = ring_of(op);
    struct op *last = op;
    r->settling = true;
    if (!is_ours(r) || (op->marks & OP_CANCEL))
      continue;
    while (last->behind) last = last->behind;
    ring_cancel(r, last);
  }
}

void ring_settle (struct ring *r, const struct handle *h) {
  int64_t deadline = clock_after(POLLER);
  bool polled = r->io.flags & IORING_SETUP_SQPOLL;
  unsigned futile = 0;
  r->settling = false;
  if (!is_ours(r) || !r->enabled)
    return;
  while (h->ops && futile < ROUNDS) {
    unsigned before = r->ops.flying - r->ops.internal;
    int rc = ring_enter(r, 0, SYS_FOREVER);
    int taken = ring_reap(r);
    if (taken < 0 || (rc < 0 && rc != -EINTR && taken == 0))
      return;  /* what finds no room goes with the next submit */
    if (r->ops.flying - r->ops.internal < before)
      futile = 0;
    else if (polled && clock_left(deadline) > 0)
      sched_yield();
    else if (r->ops.cancels || sys_needs_enter(&r->io))
      futile++;
    else
      return;
  }
}

void ring_end_uses (struct ring *list, struct handle *h) {
  ring_submit_all(list);  /* guard: SQEs that name it */
  cancel_uses(h);
  for (struct ring *r = list; r && h->ops; r = r->next)
    if (r->settling) ring_settle(r, h);
  if (h->ops) handle_shut(h);  /* guard: SQEs that could not be submitted */
}

int ring_close_handle (struct ring *list, struct handle *h) {
  ring_end_uses(list, h);
  return handle_close(h);
}
