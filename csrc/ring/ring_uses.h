/*
** ring_uses: what is under way on a descriptor, and its end. (No Lua in it.)
**
** A close ends what uses the descriptor: what is queued and may name it is
** submitted, what is under way on it is cancelled, on all rings of its state,
** and their completions are taken. A request that only waits has ended then;
** it gives ECANCELED, or the result that came first. What a worker of the
** kernel's is at ends later, and holds the file until then.
**
** A handle knows its operations, so a close costs what it cancels. It is never
** done by IORING_ASYNC_CANCEL_FD: that compares files, and so ends requests
** on other numbers of the same file too.
**
** A request that names the descriptor by its plain number counts as well, from
** when it is launched.
**
** What can never happen: the file stays open because an SQE, a reference or
** a ring that cannot be entered names the descriptor.
*/

#ifndef uring_ring_uses_h
#define uring_ring_uses_h

#include "base/handle.h"
#include "ring/ring.h"

/* Close a descriptor that one of these rings may be using: 0, or -errno of
** close(2). The count stays the caller's. */
int ring_close_handle (struct ring *list, struct handle *h);

/* The same without its close: for a ring's, which closes with the ring. */
void ring_end_uses (struct ring *list, struct handle *h);

/* It is nobody's but theirs that use it: take what has ended by now, for that
** uses it no more. */
void ring_leave_uses (struct ring *list, const struct handle *h);

/* Cancels of operations on this descriptor were asked for: send them, and take
** what ends at once. */
void ring_settle (struct ring *r, const struct handle *h);

#endif
