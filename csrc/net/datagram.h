/*
** datagram: room for one more at a unix datagram socket.
**
** There a send that finds no room has used up its bytes, and when a request
** tries again what goes is an empty datagram. So no request sends on such
** a socket: what is sent is sent by calls that do not wait (send.c), and what
** waits is a poll for room.
**
** Room is wanting at two places: in the sender's own buffer, and in the queue
** of the receiver. A socket that is connected tells of both. One that sends to
** an address tells of its own only; there another that is connected to the
** address tells of the receiver's, for as long as the poll takes.
*/

#ifndef uring_datagram_h
#define uring_datagram_h

#include "api/sockaddr.h"
#include "net/socket.h"

/* Is it such a socket? */
static inline bool datagram_needs_space (const struct socket *s) {
  return s->family == AF_UNIX && !socket_mixes(s);
}

/* Will the kernel refuse a message of so many bytes, as EMSGSIZE? (What it
** would refuse need not be copied before.) */
bool datagram_too_long (const struct socket *s, size_t size);

/* A send to `to`, or to whom it is connected if that is NULL, had no room.
** A poll for some, which is the caller's: 0, or -errno; -EAGAIN where there is
** nothing to be polled, and it is to be tried again in a while. */
int datagram_poll (lua_State *L, struct socket *s, const struct address *to,
                   struct op **op);

#endif
