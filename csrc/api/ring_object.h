/*
** ring_lua: the class uring.Ring, and uring.Ref.
**
** The userdata is a `struct ring`. Every method first asks whether the ring
** may be used here and now: that it is open, this process's, and, if it was
** made with SINGLE_ISSUER, this thread's.
*/

#ifndef uring_ring_object_h
#define uring_ring_object_h

#include "api/ring_check.h"

/* A ring made and pushed, or nil, message, errno pushed; returns how many.
** Arguments are the option table of uring.ring. */
int ring_new (lua_State *L, const struct ring_options *o, struct ring **out);

int ring_new_lua (lua_State *L);          /* uring.ring{…} */

/* The `n` SQEs from argument `first` on, as one chain for `r`; raises for
** what can never go, naming argument `array` if that is not 0. */
void ring_check_requests (lua_State *L, struct ring *r, int first, int n,
                          const struct request **requests, int array);

/* Why ring_push failed: nil, message, errno. */
int ring_push_failed (lua_State *L, const struct ring *r, int rc);

void ring_object_open (lua_State *L);

#endif
