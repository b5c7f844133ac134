/*
** rx_data: the payload of one completion, on its way from a socket to Lua.
**
** A socket has at most one. It is made of a completion that was taken, stays
** where the kernel wrote it (the socket's own memory, or a provided buffer,
** which it keeps) or where it has arrived with the socket, and lasts until all
** its values have been pushed. A stream's may be read in parts. Descriptors in
** it that were not read are closed with it.
**
** Called by recv_request.c alone, but for its end (socket.c), and when the
** socket moves (socket_move.c). What can never happen: a payload is lost
** because pushing it raised, for want of memory; a buffer is recycled while
** bytes in it are to be read.
*/

#ifndef uring_rx_data_h
#define uring_rx_data_h

#include "net/socket.h"

/* Make it of a completion of a single request, or of a multishot. `headers`:
** it was a recvmsg. */
void rx_data_from_memory (struct socket *s, const struct pending_cqe *a,
                          bool headers);
void rx_data_from_group (struct socket *s, const struct pending_cqe *a,
                         bool headers);

/* Make it of the first of what has arrived; and put it back there, as the
** first: false: no memory. */
void rx_data_from_arrived (struct socket *s);
bool rx_data_to_arrived (struct socket *s);

/* The next completion of `op`, a receive, becomes the rx_data, of which there
** is none: 0. Or it is an error: -errno. */
int rx_data_complete (struct socket *s, struct op *op);

/* The same, and the rx_data, or the error, is the last of what has arrived:
** false: no memory, and it is still to be taken. */
bool rx_data_complete_to_arrived (struct socket *s, struct op *op);

/* Push at most `max` bytes of the store, or of the rx_data if that is empty,
** as a string or as a lease, and up to `results` of payload, from and info;
** or, at the end of data, a single nil. Without `fds` the descriptors in it
** are closed. `socket` is the socket's index on the stack. */
int rx_data_push (lua_State *L, struct socket *s, lua_Integer max, int results,
                  bool leases, bool fds, int socket);

/* Move its bytes to the socket's store, for formatted reads: 1; 0, it is the
** end of data; -ENOMEM, and it stays. */
int rx_data_store (struct socket *s);

/* Drop what is left of it and of the store, and release all memory for
** receiving. */
void rx_data_free (struct socket *s);

#endif
