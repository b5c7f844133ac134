/*
** datagram: polls that tell when a unix datagram socket is writable.
**
** On such a socket no request sends: an attempt that finds no space has used
** up its bytes, and when io_uring retries it sends an empty datagram. So sends
** are calls that do not wait, and what waits is a poll. Called by send.c and
** send_request.c.
**
** Space may be lacking in two places: the send buffer of the sender, and the
** receiver's queue. A poll of a connected socket covers both. One that sends
** to an address covers only its own buffer; then a second socket, connected to
** that address for as long as the poll lasts, covers the receiver's queue.
**
** What can never happen: a datagram is lost because there was no space; the
** second socket outlives its poll.
*/

#ifndef uring_datagram_h
#define uring_datagram_h

#include "api/sockaddr.h"
#include "net/socket.h"

/* Is it a unix datagram socket? */
static inline bool datagram_needs_poll (const struct socket *s) {
  return s->family == AF_UNIX && !socket_is_ordered(s);
}

/* Will the kernel refuse a message of this size, by EMSGSIZE? (Then it need
** not be copied first.) */
bool datagram_too_long (const struct socket *s, size_t size);

/* A send to `to`, or to the connected peer if that is NULL, found no space.
** Poll for some: 0, and the operation is the caller's; or -errno. -EAGAIN:
** there is nothing to poll, so try again after a pause. */
int datagram_poll (lua_State *L, struct socket *s, const struct address *to,
                   struct op **op);

#endif
