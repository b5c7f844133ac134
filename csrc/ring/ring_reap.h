/*
** ring_reap: out of the kernel, and where each CQE belongs. (No Lua in it.)
**
** Where a completion goes, in this order: to whoever waits for the operation
** (`hooks`, which the loop provides); to its disposal, if nobody wants it any
** more; else to `arrivals`, until it is taken by hand. A message goes to
** whoever waits for messages, else to `arrivals`. Who owns the ring calls
** this room.
**
** What can never happen: a completion or message is dropped because there
** was no room for it, in the CQ or memory; what it has opened, or the buffer
** that it has picked, is lost because nobody wants it.
*/

#ifndef uring_ring_reap_h
#define uring_ring_reap_h

#include "ring/pending.h"
#include "ring/ring.h"

/* Take all that is in the CQ to where it belongs: how many, or -ENOMEM and
** the rest stays in the CQ. */
int ring_reap (struct ring *r);

/* Its bell has been heard; who sleeps is awake by now, and that was all. */
void ring_doorbell (struct ring *r);

/* Nobody wants this operation's results. */
void ring_drop (struct ring *r, struct op *op);

/* A result that nobody will take: close what it opened; the buffer that it
** picked, of this group, goes home. */
void ring_dispose (struct ring *r, unsigned disposal, unsigned group,
                   int32_t res, uint32_t flags);

/* Take the next arrival of all (but for what has an owner), of one operation,
** of the messages. */
bool ring_take (struct ring *r, struct pending_cqe *out);
bool ring_take_op (struct ring *r, struct op *op, struct pending_cqe *out);
bool ring_take_message (struct ring *r, struct pending_cqe *out);

/* Is there a message? */
static inline bool ring_has_message (const struct ring *r) {
  return r->messages.first != NULL;
}

#endif
