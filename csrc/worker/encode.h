/*
** encode: Lua values to a message.
**
** It calls no Lua code and allocates nothing in Lua but stack: no finalizer
** runs, so what was checked stays true until the message was sent. (A socket's
** own requests are ended, for which the loop's ring is entered and reaped;
** that makes tasks ready, and runs none.) Metamethods are not called. A value
** that cannot travel raises, with its path: "cannot send .players[3].handler:
** a function".
**
** Values are nil (not the first), booleans, integers, floats, strings, tables
** without a metatable, mailboxes and addresses (as an address), references to
** rings; and uring.Fd, buffers and sockets, which move. A table that is met
** again is the same table for the reader; so tables may contain themselves.
** How deep they lie in each other is bounded by Lua's stack alone.
**
** A reader may not take all kinds of values: then those others cannot travel
** to it. To one in C that does not take tables an array can: a table with the
** keys 1 to n, in up to 8 others; one that is met again is sent again.
*/

#ifndef uring_encode_h
#define uring_encode_h

#include "lua/state.h"
#include "worker/owned.h"

#define ENCODE_CELLS 62    /* so many need no memory */

struct encoded {
  struct message *message; /* `small`, or memory of malloc's */
  struct moved moved;
  uint64_t small[2 + ENCODE_CELLS];
};

/* Encode the values from stack index `first` to `last` for this queue. 0;
** -EMSGSIZE: it counts more bytes than that ever takes; -ENOMEM. Raises for
** what cannot travel. */
int encode_values (lua_State *L, int first, int last, const struct queue *q,
                   struct encoded *e);

/* The same for a reader that takes messages of this size, of these kinds of
** values. */
int encode_within (lua_State *L, int first, int last,
                   const struct queue_limits *most, uint32_t kinds,
                   struct encoded *e);

/* The message was not sent, or it was copied: free it, if it has memory of its
** own. If it was not sent, withdraw what is in it. */
void encode_free (struct encoded *e);
void encode_withdraw (lua_State *L, struct encoded *e);

/* The message in memory of its own; NULL: no memory. */
struct message *encode_keep (struct encoded *e);

#endif
