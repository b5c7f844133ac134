/*
** ring_uses: the operations in flight on a descriptor, and its close. (No Lua
** in it.)
**
** A close ends the uses of the descriptor: queued SQEs that may name it are
** submitted, operations in flight on it are cancelled, on all rings of its
** state, and their completions are reaped. An operation that was only waiting
** has ended then, with ECANCELED or with a result that was faster. One that an
** io-wq worker is executing ends later, and holds the file until then.
**
** A handle lists its operations, so the cost of a close depends only on these.
** IORING_ASYNC_CANCEL_FD is not used: it compares files, and would also cancel
** requests on other descriptors of the same file. A request that names the
** descriptor by its plain number is listed too, from when it is queued.
**
** Invariant: the file does not stay open because an SQE, a reference, or a
** ring that cannot be entered names the descriptor.
*/

#ifndef uring_ring_uses_h
#define uring_ring_uses_h

#include "base/handle.h"
#include "ring/ring.h"

/* Close a descriptor that the rings of the list may be using: 0, or -errno of
** close(2). The caller keeps its count. */
int ring_close_handle (struct ring *list, struct handle *h);

/* The same without the close, which for a ring's handle ring_close does. */
void ring_cancel_uses (struct ring *list, struct handle *h);

/* The owner gives the descriptor up, so that only its operations keep it open:
** reap those that have ended already. */
void ring_reap_uses (struct ring *list, const struct handle *h);

/* Cancels of operations on this descriptor were requested: send them, and reap
** the operations that end at once. */
void ring_settle (struct ring *r, const struct handle *h);

#endif
