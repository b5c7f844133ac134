/*
** socket_poll: polls of a socket's own, which wake those that wait in a half's
** queue. They end when the socket is closed.
*/

#ifndef uring_socket_poll_h
#define uring_socket_poll_h

#include "net/socket.h"

/* Push a poll for these events, or for those of `other`, if it is not NULL: a
** count of that is the operation's own. 0 or -errno. */
int socket_poll (struct socket *s, unsigned events, struct handle *other,
                 struct op **op);

/* The same of the half `h`, whose queue it wakes, and what it says does not
** matter: while `*token` is under way nothing has come. 0 or -errno. */
int socket_watch (struct socket *s, struct half *h, unsigned events,
                  uint64_t *token);

#endif
