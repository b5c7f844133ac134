/*
** socket_calls: the system calls of sockets that never wait: socket(2), bind,
** listen, shutdown and names. (`shutdown` sends first what was written.)
*/

#ifndef uring_socket_calls_h
#define uring_socket_calls_h

#include "net/socket.h"

/* The result of getsockname(2) or getpeername(2); or false and errno. */
typedef int (*socket_name_call)(int, struct sockaddr *, socklen_t *);
bool socket_name (const struct socket *s, socket_name_call call,
                  struct address *a);

int socket_new (lua_State *L);   /* uring.socket(family, type, protocol) */
int socket_pair (lua_State *L);  /* uring.socketpair([type]) */

/* The functions for lua/uring, into the table on top; the state is below. */
void socket_calls_functions (lua_State *L);
void socket_calls_open (lua_State *L);

#endif
