/*
** owned: what a message owns, on the threads of its sender and of its reader:
** descriptors, addresses, references to rings, buffers, sockets, and C's
** blocks.
**
** Addresses and references are counted for the message when it is encoded.
** Descriptors, buffers and sockets move: the sender has them until the message
** was accepted. While it waits they are lent to it. What was not sent is
** withdrawn from it, and as before. (What is in a socket is in the message
** from the start, since the reader may have it at once; so it is put back.)
**
** At the reader each gets an object first, which is empty. When all values
** were made the objects are filled: that allocates nothing and cannot fail.
*/

#ifndef uring_owned_h
#define uring_owned_h

#include "api/buffer.h"
#include "lua/state.h"
#include "net/socket_move.h"
#include "worker/message.h"
#include "worker/queue.h"

#define OWNED_MOST MESSAGE_FDS   /* descriptors, and buffers, in a message */

/* What moves, in the order of its cells. The handles of sockets are in `fds`,
** too. */
struct moved {
  unsigned nfds, nbuffers, nsockets;
  struct handle *fds[OWNED_MOST];
  struct buffer *buffers[OWNED_MOST];
  struct socket *sockets[OWNED_MOST];
};

/* The same while the message waits, counted. */
struct lent {
  unsigned nfds, nbuffers, nsockets;
  struct handle *fds[OWNED_MOST];
  struct buffer_loan *buffers[OWNED_MOST];
  struct socket_lent sockets[OWNED_MOST];
};


/* ---- the sender's ------------------------------------------------------ */

/* A block for a message: of another sender of this queue; of a count of this
** handle; of this memory, whose count is not the message's yet; of what is in
** a socket. */
struct message_block owned_address (struct queue *q);
struct message_block owned_ring (struct handle *ring);
struct message_block owned_buffer (struct memory *m);
struct message_block owned_socket (struct parcel *p);

/* The same message once more: count its addresses and references for that. */
void owned_count (struct message *m);

/* It was not sent: nothing in it is its own, and what moves is as before. */
void owned_withdraw (lua_State *L, const struct moved *moved,
                     struct message *m);

/* The same of a message in which nothing moves: one that was only copied. */
void owned_withdraw_plain (struct message *m);

/* It was sent: what moved is not this state's any more. (The reader may have
** it, and have freed it, by now.) */
void owned_sent (lua_State *L, const struct moved *moved);

/* Lend what moves to the message, of which `*sent` says that it was sent:
** false, and nothing was lent: no memory. Then one of these: it was sent, or
** it was not. (Where nothing moves `lent` is NULL, and costs nothing.) */
bool owned_lend (lua_State *L, const struct moved *moved,
                 const _Atomic bool *sent, struct lent **lent);
void owned_lent_sent (struct lent *lent);
void owned_lent_back (lua_State *L, struct lent *lent, struct message *m);


/* ---- the reader's ------------------------------------------------------ */

/* Push an empty object for what is at this cell. Raises if out of memory. */
void owned_push (lua_State *L, const uint64_t *cell);

/* Is it for something that a message owns? */
static inline bool owned_is (uint64_t cell) {
  return message_kind(cell) == MESSAGE_FD || message_is_block(cell);
}

/* Give the object at `index` what is at this cell. */
void owned_give (lua_State *L, int index, uint64_t *cell);

#endif
