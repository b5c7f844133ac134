/*
** ring_cancel: which operations are to be cancelled. (No Lua in it.)
**
** An operation whose cancel is requested is put on a list; ring_submit sends
** the listed cancels, because that needs free slots in the SQ. This module
** decides what goes on the list, and which member of a chain a cancel has to
** name. The ring's owner calls ring_cancel; the rest is for the other modules
** of the ring (ring_internal.h).
**
** Invariant: a requested cancel is not lost because the SQ was full, or
** because it reached the kernel too early to find its operation.
*/

#ifndef uring_ring_cancel_h
#define uring_ring_cancel_h

#include "ring/ring.h"

/* Request the cancel of an operation. It is sent by the next ring_enter; the
** operation's last completion tells how it ended. */
void ring_cancel (struct ring *r, struct op *op);

#endif
