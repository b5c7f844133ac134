/*
** codec: Lua values to a message, and a message to Lua values.
**
** To encode calls no Lua code and allocates nothing in Lua: no finalizer runs,
** so what was checked stays true until the message was sent. A value that
** cannot travel raises, with its path: "cannot send [3][1]: a function".
**
** To decode allocates, so it runs under a protected call, and finalizers may
** run. The message stays whole meanwhile: its descriptors get their owners
** last of all.
**
** Values are nil (not the first), booleans, integers, floats, strings, arrays
** (tables with the keys 1 to n and no metatable) of values, and uring.Fd,
** which move. Blocks, which C posts, become leases. A reader may not take all
** kinds of values: then those others cannot travel to it.
*/

#ifndef uring_codec_h
#define uring_codec_h

#include "lua/state.h"
#include "worker/queue.h"

#define CODEC_CELLS 62     /* so many need no memory: QUEUE_SMALL bytes */
#define CODEC_FDS   MESSAGE_FDS

struct encoded {
  struct message *message; /* `small`, or memory of malloc's */
  unsigned nfds;
  struct handle *fds[CODEC_FDS];  /* in the order of their cells */
  uint64_t small[2 + CODEC_CELLS];
};

/* Encode the values from stack index `first` to `last` for this queue. 0;
** -EMSGSIZE: it counts more bytes than that ever takes; -ENOMEM. Raises for
** what cannot travel. */
int codec_encode (lua_State *L, int first, int last, const struct queue *q,
                  struct encoded *e);

/* The message, if it has memory of its own, is not used any more. */
void codec_free (struct encoded *e);

/* The message in memory of its own; NULL: no memory. */
struct message *codec_keep (struct encoded *e);

/* Push the values of a message, whose descriptors and blocks are Lua's from
** then on: how many. It does not raise; if it fails the message is as it was,
** and the error was pushed, or there is no space on the stack. */
#define CODEC_FAILED   (-1)
#define CODEC_NO_STACK (-2)
int codec_decode (lua_State *L, struct message *m);

void codec_open (lua_State *L);

#endif
