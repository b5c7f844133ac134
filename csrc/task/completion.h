/*
** hooks: what the rings of a state tell its loop, and whom that wakes.
**
** Only rings call these, as ring.h says. A completion wakes the first in its
** operation's line, and the task that waits for the operation. Who awaits it,
** alone or in a chain, is given what has come; all others look for themselves,
** and the ring keeps it for them. Messages are handover's, all else is
** watch's.
**
** What can never happen: a completion that is not the last ends an await; one
** reaches a task whose loop is gone.
*/

#ifndef uring_completion_h
#define uring_completion_h

#include "ring/ring.h"

extern const struct ring_callbacks loop_callbacks;

#endif
