/*
** socket_poll: polls that a socket makes for itself, and which wake its tasks.
** Called by the other modules of net. A poll pins the socket's handle: it ends
** at the latest when the socket is closed.
*/

#ifndef uring_socket_poll_h
#define uring_socket_poll_h

#include "net/socket.h"

/* Push a poll for these events: of the socket, or of `other` if it is not
** NULL, of which the operation takes a count. 0 or -errno. */
int socket_poll (struct socket *s, unsigned events, struct handle *other,
                 struct op **op);

/* The same for a side: the poll wakes the side's queue, and its result is not
** used. While the operation `*token` is in flight, the socket is not ready.
** 0 or -errno. */
int socket_watch (struct socket *s, struct socket_side *side, unsigned events,
                  uint64_t *token);

#endif
