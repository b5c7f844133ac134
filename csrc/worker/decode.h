/*
** decode: a message to Lua values.
**
** To decode allocates, so it runs under a protected call, and finalizers may
** run. The message stays whole meanwhile: what moves gets its owners last of
** all. No recursion: tables in tables are as deep as memory lasts.
**
** What C posts as a block becomes a lease.
*/

#ifndef uring_decode_h
#define uring_decode_h

#include "lua/state.h"
#include "worker/message.h"

/* Push the values of a message; what it owned is Lua's from then on: how many.
** It does not raise; if it fails the message is as it was, and the error was
** pushed, or there is no room on the stack; or it is no message at all. */
#define DECODE_FAILED   (-1)
#define DECODE_NO_STACK (-2)
#define DECODE_CORRUPT  (-3)
int decode_message (lua_State *L, struct message *m);

void decode_open (lua_State *L);

#endif
