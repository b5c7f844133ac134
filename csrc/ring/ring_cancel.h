/*
** ring_cancel: the operations whose end is asked for. (No Lua in it.)
**
** They are listed until a cancel of them is sent, which ring_submit does, for
** it needs room in the SQ. This room tells which they are, and which member
** of a chain a cancel has to name. Who owns the ring asks for an operation's
** end; the rest is for its own rooms (ring_private.h).
**
** What can never happen: a cancel is forgotten, because there was no room for
** it or because it came too early.
*/

#ifndef uring_ring_cancel_h
#define uring_ring_cancel_h

#include "ring/ring.h"

/* Ask for an operation's end; its last completion tells how it went. The
** request leaves with the next ring_enter. */
void ring_cancel (struct ring *r, struct op *op);

#endif
