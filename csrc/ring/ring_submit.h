/*
** ring_submit: put requests into the SQ and enter the kernel. (No Lua in it.)
**
** A request becomes an operation and an SQE; a chain is queued as a whole.
** Listed cancels are sent by each ring_enter. The ring's owner calls this
** module, and code that is about to close a descriptor calls ring_submit_all,
** because queued SQEs may name it.
**
** Invariant: a chain is queued whole or not at all; no request and no cancel
** is lost because the SQ was full; no message is sent to a ring that is known
** to be closed.
*/

#ifndef uring_ring_submit_h
#define uring_ring_submit_h

#include "ring/ring.h"

/*
** Queue `n` requests, linked if n > 1, and put their operations into `ops`;
** all or none: 0 or -errno, which is -EPIPE if a message's target is known to
** be closed. Submits first if the SQ is full. n is at most the SQ's size.
*/
int ring_push (struct ring *r, const struct request *const *requests,
               unsigned n, unsigned flags, struct op **ops);

/* The same for one request, the common case. */
int ring_push_one (struct ring *r, const struct request *q, unsigned flags,
                   struct op **op);

/* A request of the library's own; its completions go to callbacks->internal.
** Without a waiter it is a cancel. */
int ring_push_internal (struct ring *r, const struct io_uring_sqe *sqe,
                        void *waiter, struct op **op);

/* Send the listed cancels, submit, and run deferred work: as sys_enter. */
int ring_enter (struct ring *r, unsigned wait, int64_t ns);

/* The same as sys_enter_with. */
int ring_enter_batched (struct ring *r, unsigned wait, int64_t ns,
                        uint32_t least);

/* Silent requests have CQEs as others do, but a program with silent requests
** only may never wait for one: reap before the CQ overflows. Answers as
** ring_reap. */
int ring_reap_silent (struct ring *r);

/* A host polls the eventfd that is registered with the ring: `nested` tells it
** from now on whether a request may wait for an eventfd itself. */
void ring_set_polled (struct ring *r);

/* Do cancels that came too early wait for a pause that has not begun? (Behind
** a request with IO_DRAIN it would not end, and a close has pauses of its
** own.) */
static inline bool ring_wants_pause (const struct ring *r) {
  return r->ops.futile.first != NULL && !r->pausing && !r->no_pause
         && r->ops.draining == 0 && !r->closing;
}

/* Would entering the kernel have an effect? */
static inline bool ring_needs_enter (const struct ring *r) {
  return r->ops.cancels.first != NULL || sys_sq_ready(&r->io) > 0
         || sys_needs_enter(&r->io) || ring_wants_pause(r);
}

/* Does the kernel not tell in memory of completions that wait for an enter?
** (The program has given its own flags.) */
static inline bool ring_is_blind (const struct ring *r) {
  return (r->io.flags & IORING_SETUP_DEFER_TASKRUN)
         && !(r->io.flags & IORING_SETUP_TASKRUN_FLAG);
}

/* Reap what has completed by now, and enter the kernel for that only if it has
** an effect. */
void ring_catch_up (struct ring *r);

/* Submit the SQs of all rings of the list: a descriptor is closed only after
** the SQEs that name it were submitted. */
void ring_submit_all (struct ring *list);

/* The same, if any of it may name this descriptor. */
void ring_submit_uses (struct ring *list, const struct handle *h);

#endif
