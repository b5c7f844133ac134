/*
** ring_check: may a ring be used here and now? That it is open, this
** process's, and, if it was made with SINGLE_ISSUER, this thread's.
*/

#ifndef uring_ring_check_h
#define uring_ring_check_h

#include "ring/ring.h"
#include "lua/state.h"

/* A ring at `index`, part of argument `arg`, that is open and this process's;
** raises otherwise. */
struct ring *ring_check_open (lua_State *L, int index, int arg);

/* One at `arg` that may be used. */
struct ring *ring_check (lua_State *L, int arg);

/* The same for a value at `index` that is part of argument `arg`. */
struct ring *ring_check_in (lua_State *L, int index, int arg);

/* Raises if a task waits on it: by hand would take what is the task's. */
struct ring *ring_check_by_hand (lua_State *L, int arg);

/* Raises if a request with IO_DRAIN may not go to this ring, for tasks await
** on it: `awaited`, or it is theirs. */
void ring_check_drain (lua_State *L, const struct ring *r, int arg,
                       bool awaited);

/* A wait was interrupted: let a debug hook that a signal has set run. */
void ring_interrupted (lua_State *L);

#endif
