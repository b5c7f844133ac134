/*
** ring_object: the class uring.Ring.
**
** The userdata is a `struct ring`. Every method first checks that the ring may
** be used: see ring_check.h.
*/

#ifndef uring_ring_object_h
#define uring_ring_object_h

#include "ring/ring.h"
#include "lua/state.h"

/* Push a new ring, or nil, message, errno; returns the number of values. */
int ring_new (lua_State *L, const struct ring_options *o, struct ring **out);

int ring_new_lua (lua_State *L);          /* uring.ring{…} */

/* The requests of the `n` SQEs at stack index `first` and above, as one chain
** for `r`. Raises for a request that cannot be queued there, naming argument
** `array` if that is not 0. */
void ring_check_requests (lua_State *L, struct ring *r, int first, int n,
                          const struct request **requests, int array);

/* Close an open ring, for at most `bound` ns: the number of operations that
** did not end. */
unsigned ring_object_end (lua_State *L, struct ring *r, int64_t bound);

/* The error of ring_push: nil, message, errno. */
int ring_push_failed (lua_State *L, const struct ring *r, int rc);

void ring_object_open (lua_State *L);

#endif
