/*
** ring_reap: take CQEs out of the CQ and deliver each. (No Lua in it.)
**
** A completion goes to the task that waits for the operation (by the ring
** callbacks, which the loop provides); or it is disposed of, if it is not
** wanted any more; or it becomes pending until it is taken by hand. A message
** goes to a waiter for messages, or becomes pending. The ring's owner calls
** this module.
**
** Invariant: no completion or message is dropped because the CQ was full or
** memory was short; no descriptor that a completion has opened, and no buffer
** that it has picked, is lost because the completion was not wanted.
*/

#ifndef uring_ring_reap_h
#define uring_ring_reap_h

#include "ring/pending.h"
#include "ring/ring.h"

/* Deliver all that is in the CQ: returns the number of CQEs, or -ENOMEM and
** the rest stays in the CQ. */
int ring_reap (struct ring *r);

/* The same for at most RING_BATCH of them. */
#define RING_BATCH 64
int ring_reap_batch (struct ring *r);

/* The ring's doorbell was rung: count the ring if it was forged. */
void ring_doorbell (struct ring *r);

/* This operation's results are not wanted any more. */
void ring_drop (struct ring *r, struct op *op);

/* Dispose of a result that is not wanted: close the descriptor that it has
** opened, and recycle the buffer that it has picked from `group`. */
void ring_dispose (struct ring *r, unsigned disposal, unsigned group,
                   int32_t res, uint32_t flags);

/* Take the oldest pending CQE: of the ring (except from owned sources), of one
** operation, or of the messages. False if there is none. */
bool ring_take (struct ring *r, struct pending_cqe *out);
bool ring_take_op (struct ring *r, struct op *op, struct pending_cqe *out);
bool ring_take_message (struct ring *r, struct pending_cqe *out);

/* Is there a message? */
static inline bool ring_has_message (const struct ring *r) {
  return r->messages.first != NULL;
}

#endif
