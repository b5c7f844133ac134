/*
** ring_wait: the methods of uring.Ring that submit, wait for completions, and
** take them by hand. The loop's ring, whose completions are its tasks', is
** refused by all but ring:submit.
*/

#ifndef uring_ring_wait_h
#define uring_ring_wait_h

#include <lua.h>

void ring_wait_open (lua_State *L);

#endif
