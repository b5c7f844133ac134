/*
** ring_private: what a ring's rooms have for each other, and for nobody else.
** (No Lua in it.)
**
** ring, ring_submit, ring_reap, ring_cancel, ring_provided include it. Each
** uses only those after it.
*/

#ifndef uring_ring_private_h
#define uring_ring_private_h

#include "ring.h"


/* ---- ring_provided ----------------------------------------------------- */

/* Room for the memory that the kernel keeps beyond the request. */
int ring_reserve_kept (struct ring *r, unsigned n);

/* This operation's memory, for which there is room; the kernel has not taken
** what it was given to keep. */
void ring_keep (struct ring *r, const struct op *op);
void ring_unkeep (struct ring *r, uint64_t token);

/* What the kernel was told of, and not by an operation. */
void ring_let_go_of_provided (struct ring *r, bool bury);

#endif
