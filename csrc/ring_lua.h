/*
** ring_lua: the class uring.Ring, and uring.Ref.
**
** The userdata is a `struct ring`. Every method first asks whether the ring
** may be used here and now: that it is open, this process's, and, if it was
** made with SINGLE_ISSUER, this thread's.
*/

#ifndef uring_ring_lua_h
#define uring_ring_lua_h

#include "ring.h"
#include "state.h"

/* Argument `arg` is a ring that may be used; raises otherwise. */
struct ring *ring_check (lua_State *L, int arg);

/* The same for a value at `index` that is part of argument `arg`. */
struct ring *ring_check_in (lua_State *L, int index, int arg);

/* Raises if a task waits on it: by hand would take what is the task's. */
struct ring *ring_check_by_hand (lua_State *L, int arg);

/* A ring made and pushed, or nil, message, errno pushed; returns how many.
** Arguments are the option table of uring.ring. */
int ring_new (lua_State *L, const struct ring_options *o, struct ring **out);

int ring_new_lua (lua_State *L);          /* uring.ring{…} */

/* The `n` SQEs from argument `first` on, as one chain for `r`; raises for
** what can never go, naming argument `array` if that is not 0. */
void ring_check_requests (lua_State *L, struct ring *r, int first, int n,
                          const struct request **requests, int array);

/* Raises if a request with IO_DRAIN may not go to this ring, for tasks await
** on it: `awaited`, or it is theirs. */
void ring_check_drain (lua_State *L, const struct ring *r, int arg,
                       bool awaited);

/* Why ring_push failed: nil, message, errno. */
int ring_push_failed (lua_State *L, const struct ring *r, int rc);

/* A wait was interrupted: let a debug hook that a signal has set run. */
void ring_interrupted (lua_State *L);

void ring_lua_open (lua_State *L);

#endif
