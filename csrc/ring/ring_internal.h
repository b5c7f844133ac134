/*
** ring_private: what a ring's rooms have for each other, and for nobody else.
** (No Lua in it.)
**
** ring, ring_uses, ring_submit, ring_reap, ring_cancel, ring_provided include
** it. Each uses only those after it.
*/

#ifndef uring_ring_internal_h
#define uring_ring_internal_h

#include "ring/ring.h"


/* Whose operation is it? */
static inline struct ring *ring_of (const struct op *op) {
  return (struct ring *)((char *)op_table_of(op) - offsetof(struct ring, ops));
}


/* ---- ring_submit ------------------------------------------------------- */

/* As ring_enter, but cancels that are due stay where they are; and put those
** into the SQ, submitting what fills it: 0, or -errno and the rest stays. */
int ring_enter_bare (struct ring *r, unsigned wait, int64_t ns);
int ring_send_cancels (struct ring *r);


/* ---- ring_reap --------------------------------------------------------- */

/* The table's `deliver`. */
void ring_deliver (struct op_table *t, struct op *op, int32_t res,
                   uint32_t flags, bool last);


/* ---- ring_cancel ------------------------------------------------------- */

/* A cancel came back. If it found nothing though its operation has not
** ended, the operation was just then between two places; if it found a worker
** of the kernel's at it (EALREADY), that may have been about to sleep, and
** have missed the signal: ask again. */
void ring_cancelled (struct ring *r, const struct op *cancel, int32_t res);

/* By a call of its own, which looks and does not wait. False where the kernel
** has no such call. */
bool ring_cancel_now (struct ring *r, uint64_t token, unsigned flags);


/* ---- ring_provided ----------------------------------------------------- */

/* Each group has blank notes for so many completions, but for those that were
** told of some since: see to these; false: no memory. */
bool ring_reserve_notes (struct ring *r);
void ring_buffers_noted (struct ring *r, struct buf_group *g);
#define RING_BATCH 64

/* Room for the memory that the kernel keeps beyond the request. */
int ring_reserve_kept (struct ring *r, unsigned n);

/* This operation's memory, for which there is room; the kernel has not taken
** what it was given to keep. */
void ring_keep (struct ring *r, const struct op *op);
void ring_unkeep (struct ring *r, uint64_t token);

/* What the kernel was told of, and not by an operation. */
void ring_let_go_of_provided (struct ring *r, bool bury);

#endif
