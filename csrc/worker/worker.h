/*
** worker: the class uring.Worker: what the parent has of a worker. It begins
** with an address of the worker's inbox: it is an address, with more methods.
**
** Which scope a worker belongs to, and what it is called with, is in
** lua/uring/worker.lua. Here a thread is started, waited for, cancelled, and
** its outcome taken.
**
** An outcome is what the worker's state has posted as its last act: an enum
** worker_outcome, and values. It is taken once, into the object, so that all
** tasks that join see the same. A thread without one had no memory to say
** more.
**
** Invariant: a thread that runs is in its state's list (state->workers), with
** its object or without. A state that closes waits for them for a bounded
** time, and leaves the rest to themselves: it says so by a warning, and they
** are counted (uring.workers).
*/

#ifndef uring_worker_h
#define uring_worker_h

#include "lua/state.h"

enum worker_outcome { OUTCOME_DONE = 1, OUTCOME_FAILED, OUTCOME_CANCELLED };

void worker_functions (lua_State *L);  /* for lua/uring/worker.lua */
void worker_open (lua_State *L);

#endif
