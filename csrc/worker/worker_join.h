/*
** worker_join: waiting for a worker's end, and what it ended with.
**
** An outcome is what the worker's state has posted as its last act: an enum
** worker_outcome, and values. It is taken once, into the object, so that all
** tasks that join see the same. A thread without one had no memory to say
** more.
*/

#ifndef uring_worker_join_h
#define uring_worker_join_h

#include "lua/state.h"

enum worker_outcome { OUTCOME_DONE = 1, OUTCOME_FAILED, OUTCOME_CANCELLED };

void worker_join_functions (lua_State *L);  /* for lua/uring/worker.lua */
void worker_join_open (lua_State *L);       /* join, joining, status */

#endif
