/*
** ring_submit: into the kernel: requests into the SQ, and entering. (No Lua in
** it.)
**
** A request becomes an operation and an SQE, whole chains at a time. Cancels
** that are due go with each ring_enter. Who owns the ring calls this room, and
** for all rings of a state who is about to close what SQEs may name.
**
** What can never happen: a part of a chain is queued; a request or a cancel is
** lost because there was no room for it in the SQ; a message goes to a ring
** that is known to be closed.
*/

#ifndef uring_ring_submit_h
#define uring_ring_submit_h

#include "ring/ring.h"

/*
** Put `n` requests into the SQ, linked if n > 1, and their operations into
** `ops`; all or none: 0 or -errno, -EPIPE where a target is known to be
** closed. A full SQ is submitted first. n is at most the SQ's size.
*/
int ring_push (struct ring *r, const struct request *const *requests,
               unsigned n, unsigned flags, struct op **ops);

/* The same for one request, which is the common case. */
int ring_push_one (struct ring *r, const struct request *q, unsigned flags,
                   struct op **op);

/* One of the library's own, of which hooks->internal is told. */
int ring_push_internal (struct ring *r, const struct io_uring_sqe *sqe,
                        void *waiter, struct op **op);

/* Send what is queued and run what is due, as sys_enter. */
int ring_enter (struct ring *r, unsigned wait, int64_t ns);

/* Silent requests complete in the CQ as others do, and a program that never
** waits does not look there: take what has come before it overflows. What
** ring_reap answers. */
int ring_take_quiet (struct ring *r);

/* Is there anything that entering the kernel would move? */
static inline bool ring_needs_enter (const struct ring *r) {
  return r->ops.cancels != NULL || sys_sq_ready(&r->io) > 0
         || sys_needs_enter(&r->io);
}

/* A number changes hands only after what names it has been submitted: do that
** for all rings of the list. */
void ring_submit_all (struct ring *list);

#endif
