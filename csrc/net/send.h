/*
** send: a socket's sends and connects. send.c has the calls and their waits,
** send_request.c what they ask of the kernel, send_event.c `socket:sending`,
** sendfile.c `socket:sendfile`, socket_try.c `socket:try_send`. Only these
** include this header.
**
** All state of a call is on the Lua stack of its task, at the indices below:
** it outlives a wait there, and each of the files reads it, for a
** description from another coroutine.
**
** What can never happen: a request names memory of Lua's; bytes of two tasks
** mix in a stream, for its requests go one after another.
*/

#ifndef uring_send_h
#define uring_send_h

#include "api/buffer.h"
#include "api/sockaddr.h"
#include "net/socket.h"

/* At most so much of a string is copied for one request of a stream: to copy
** more at a time would keep all other tasks waiting. */
#define PIECE (1u << 20)

/* The stack of a call: what is sent, to which address, by which call (below),
** and how much was sent (bytes, or messages of an array). Then of the message
** being sent, perhaps in pieces: where in it the request in flight begins and
** ends, and its length. */
enum { SOCKET = 1, DATA, TO, HOW, SENT, FROM, UPTO, SIZE, LAST = SIZE };

enum { SEND, SEND_MESSAGE, SEND_MESSAGES, CONNECT, SEND_FILE };


/* ---- turns ------------------------------------------------------------- */

/* Is it the turn of this waiter to make a request? */
bool send_in_turn (const struct socket *s, struct wait_node *node);

/* Must this waiter, or NULL for one that has not waited yet, wait for its
** turn? */
bool send_busy (const struct socket *s, struct wait_node *node);

/* The turn of this waiter, if it had one, ends without a request: wake the
** next. */
void send_end_turn (lua_State *L, struct socket *s, struct wait_node *node);


/* Sockets have a write buffer. The state is on top of the stack. */
void send_output_open (lua_State *L);


/* ---- requests ---------------------------------------------------------- */

/* The kernel mostly takes a small send at once, and then a system call costs
** less than a request with its memory, its completion and a turn of the loop.
** But if system calls are expensive, a request that is submitted together with
** those of other tasks costs less. Is a call the better way? */
bool send_prefers_call (const struct loop *loop);

/* sendto(2) without waiting: `n` becomes its result or -errno. False if the
** socket is not writable. */
bool send_at_once (const struct socket *s, const struct bytes *b,
                   const struct address *to, ssize_t *n);

/* The request for what is left to be sent, from FROM on. UPTO and SIZE become
** where it ends and how long the whole is. 0 or -errno; raises for invalid
** arguments. In every case the caller releases what the request pins. */
int send_prepare (lua_State *L, struct socket *s, struct request *q);

/* Is the request in flight for a part of a message, with more to come? */
static inline bool send_piece (lua_State *L) {
  return lua_tointeger(L, UPTO) < lua_tointeger(L, SIZE);
}

/* Check each message of the array at DATA, before the first of them is
** sent. */
void send_check_messages (lua_State *L);

/* Is a send of this size worth zero copy? It takes a single message, and bytes
** only if they are a buffer's. */
bool send_worth_zero_copy (const struct socket *s, int how, bool buffer,
                           size_t size);

/* Send plain datagrams of the array at this index, from number `first` on, by
** one sendmmsg(2) that does not wait: how many it sent, which may be none.
**
** A message is plain if it has `data`, perhaps `name`, and nothing else. The
** messages are sent from where their bytes are, up to the first that is not
** plain or for which the socket is not writable. The rest is left to requests
** (send.c), and so are errors.
**
** What can never happen: Lua code runs, or memory of Lua's is freed, between
** the check of a message and the call. Nothing here allocates or raises. */
unsigned sendmmsg_plain (lua_State *L, const struct socket *s, int array,
                         lua_Integer first);


/* ---- descriptions ------------------------------------------------------ */

/* nil, message, errno: which call failed, and the address if it is known. */
int send_failed_as (lua_State *L, const struct socket *s, int how, int err);

/* The `describe` of the send side's queue (struct object_waitq). */
void send_describe (lua_State *L, const struct object_waitq *waitq,
                    lua_State *co);

#endif
