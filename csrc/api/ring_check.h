/*
** ring_check: check that a ring may be used: that it is open, belongs to this
** process and, if it was made with SINGLE_ISSUER, to this thread.
*/

#ifndef uring_ring_check_h
#define uring_ring_check_h

#include "ring/ring.h"
#include "lua/state.h"

/* The ring at `index`, which is part of argument `arg`, if it is open and this
** process's; raises otherwise. */
struct ring *ring_check_open (lua_State *L, int index, int arg);

/* The ring at `arg`, if it may be used; raises otherwise. */
struct ring *ring_check (lua_State *L, int arg);

/* The same for a value at `index` that is part of argument `arg`. */
struct ring *ring_check_in (lua_State *L, int index, int arg);

/* The same; also raises if the loop drives it: taking CQEs by hand would take
** those of tasks. */
struct ring *ring_check_by_hand (lua_State *L, int arg);

/* The same of a ring that is known to be one, and to be open. */
void ring_check_again (lua_State *L, struct ring *r, int arg);

/* Raises if a request with IO_DRAIN must not be queued on this ring, because
** tasks wait on it, or are about to (`awaited`). */
void ring_check_drain (lua_State *L, const struct ring *r, int arg,
                       bool awaited);

/* A sleep was interrupted: run a debug hook that a signal handler has set. */
void ring_interrupted (lua_State *L);

/* The loop's ring is bound to the thread that first uses it. */
static inline void ring_bind_loop (struct ring *r) {
  if (r->is_loop_ring && !r->enabled) ring_bind(r);
}

#endif
