/*
** chunk: what one completion has brought a socket, on its way to Lua.
**
** A socket has at most one chunk. It is made of a completion that was taken,
** lies where the kernel has put it (the socket's own memory, or a provided
** buffer, which it keeps), and is there until all its values are Lua's: what
** raises on the way, for want of memory, loses nothing. A stream's may be read
** in parts. Descriptors that nobody reads are closed with it.
*/

#ifndef uring_rx_data_h
#define uring_rx_data_h

#include "net/socket.h"

/* Of a completion of a single request, or of a multishot's; `headers`: it was
** a recvmsg. */
void rx_data_from_memory (struct socket *s, const struct pending_cqe *a,
                        bool headers);
void rx_data_from_group (struct socket *s, const struct pending_cqe *a,
                       bool headers);

/* Push at most `max` bytes of it, as a string or as a lease, and up to
** `results` of payload, from and info; at the end of what comes a single nil.
** Where no `fds` are wanted those that have come are closed. `socket` is where
** the socket is on the stack. */
int rx_data_push (lua_State *L, struct socket *s, lua_Integer max, int results,
                bool leases, bool fds, int socket);

/* Nobody reads what is left of it; and all that was received goes. */
void rx_data_drop (struct socket *s);
void rx_data_free (struct socket *s);

#endif
