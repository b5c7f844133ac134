/*
** burst: plain datagrams of an array that the kernel takes in one call
** (sendmmsg(2)).
**
** A message is plain that has `data`, perhaps `name`, and nothing else. Those
** that come first and are plain go at once, as far as there is room, from
** where their bytes lie. What is left is the business of requests (send.c):
** one that is not plain, that there is no room for, or that is wrong.
**
** What can never happen: Lua code runs, or memory of Lua's goes, between the
** look at a message and the call. Nothing here allocates or raises.
*/

#ifndef uring_sendmmsg_h
#define uring_sendmmsg_h

#include "net/socket.h"

/* Of the array at this index, from number `first` on: how many went, which may
** be none. */
unsigned sendmmsg_plain (lua_State *L, const struct socket *s, int array,
                     lua_Integer first);

#endif
