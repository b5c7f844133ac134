/*
** completion: the callbacks by which the rings of a state report completions
** and messages to its loop. Only rings call them (ring.h).
**
** A completion wakes the first waiter of the queue that its operation serves,
** and the operation's own waiter. A task that awaits the operation, alone or
** in a chain, is given the result; for all others the ring keeps it, and they
** take it when they run. Watched eventfds are ring_watch's.
**
** Invariants: only the last completion of an operation ends an await; no
** completion reaches a task whose loop is gone.
*/

#ifndef uring_completion_h
#define uring_completion_h

#include "ring/ring.h"

extern const struct ring_callbacks loop_callbacks;

#endif
