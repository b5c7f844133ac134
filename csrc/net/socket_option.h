/*
** socket_option: a socket's options, by their C names, and what they mean for
** its requests: the capacity for the control messages that they make the
** kernel add, and whether large sends go without a copy.
**
** What can never happen: a control message that `setsockopt` has asked for is
** cut, because the request was made before. It is cancelled then, and a new
** one follows.
*/

#ifndef uring_socket_option_h
#define uring_socket_option_h

#include "net/socket.h"

/* The capacity for control messages of a request that is to receive
** descriptors, if `*fds`, or else not. Then a unix socket's has no capacity
** for them, and the kernel closes them. But if an option asks for control
** messages that follow them they are received too, and `*fds` becomes true.
** Other sockets receive none. */
unsigned socket_control_capacity (const struct socket *s, bool *fds);

/* Read what was set before the socket was ours. */
void socket_read_options (struct socket *s);

void socket_option_open (lua_State *L);  /* setsockopt, getsockopt */

#endif
