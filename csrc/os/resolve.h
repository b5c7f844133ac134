/*
** resolve: the addresses of a host and a service, by getaddrinfo(3) on
** a helper thread, and the names of an address, by getnameinfo(3).
** lua/uring/resolve.lua makes uring.resolve of the first.
**
** An address and a port in digits are read here, without a thread. What can
** never happen: a resolver that hangs holds up a loop, or a task that has been
** cancelled.
*/

#ifndef uring_resolve_h
#define uring_resolve_h

#include "lua/state.h"

/* The functions for lua/uring, into the table on top; the state is below. */
void resolve_functions (lua_State *L);

#endif
