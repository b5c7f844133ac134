/*
** ring_internal: functions that the modules of a ring have for each other
** only. (No Lua in it.)
**
** ring, ring_uses, ring_submit, ring_reap, ring_cancel and ring_buffers
** include it. Each of them calls only those that are named after it.
*/

#ifndef uring_ring_internal_h
#define uring_ring_internal_h

#include "ring/ring.h"
#include "ring/ring_reap.h"


/* The ring of an operation. */
static inline struct ring *ring_of (const struct op *op) {
  return (struct ring *)((char *)op_table_of(op) - offsetof(struct ring, ops));
}


/* ---- ring_submit ------------------------------------------------------- */

/* As ring_enter, but without the listed cancels. */
int ring_enter_bare (struct ring *r, unsigned wait, int64_t ns);


/* ---- ring_reap --------------------------------------------------------- */

/* The table's `deliver`. */
void ring_deliver (struct op_table *t, struct op *op, int32_t res,
                   uint32_t flags, bool last);


/* ---- ring_cancel ------------------------------------------------------- */

/* One of the ring's own requests has completed: a cancel, or the pause before
** cancels are sent again. */
void ring_cancelled (struct ring *r, const struct op *own, int32_t res);

/* This cancel of an operation was answered so. If it came too early, list it
** again. */
void ring_cancel_answered (struct ring *r, struct op *op, int32_t res);

/* Cancel by a system call of its own (IORING_REGISTER_SYNC_CANCEL, since 6.0),
** with no timeout. The kernel's answer; -EINVAL if it does not have it. */
int ring_cancel_now (struct ring *r, uint64_t token, unsigned flags);

/* Send again, with the next enter, all cancels that wait for a pause; and
** where there can be none, but not too soon after the last time. */
void ring_cancel_again (struct ring *r);
void ring_cancel_unpaced (struct ring *r);

/* The length of the next pause: twice that of the one before. */
const struct __kernel_timespec *ring_next_pause (struct ring *r);


/* ---- ring_buffers ------------------------------------------------------ */

/* See to it that every group has free notes for RING_BATCH completions; false
** if out of memory. ring_buffers_noted says that this group has used one up,
** so that only such groups are looked at. */
bool ring_reserve_notes (struct ring *r);
void ring_buffers_noted (struct ring *r, struct buf_group *g);

/* Make the next `n` calls of ring_keep succeed: 0 or -ENOMEM. */
int ring_reserve_kept (struct ring *r, unsigned n);

/* The memory of this operation stays the kernel's until the close, also after
** its completion. ring_unkeep: the operation has failed, so it does not. */
void ring_keep (struct ring *r, const struct op *op);
void ring_unkeep (struct ring *r, uint64_t token);

/* The ring closes: release its groups and the memory it keeps; with `bury`
** leak them, because the kernel may still use them. */
void ring_release_buffers (struct ring *r, bool bury);

#endif
