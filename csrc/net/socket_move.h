/*
** socket_move: sockets that go to another state, in a message: with what they
** have received that was not taken, and what was written and has not gone.
**
** First a socket is settled: the requests of its own are cancelled, and what
** they have brought is listed (net/arrived.h). It is the same socket after
** that, also if it then stays. What cannot be ended so, a task that waits in
** it or a request by hand on its descriptor, keeps it where it is.
**
** Then all that it has is packed: it moves to a `parcel`, memory of C that
** belongs to the message. The number stays in the socket's handle until the
** message was accepted. While the message waits the socket is lent. To unpack
** it, here because it was not sent, or in the reader's state, cannot fail.
**
** A parcel that is not received is freed: what was written goes as far as it
** can without waiting, and all descriptors in it are closed.
**
** All but parcel_free is on the thread of the socket's state. None of it calls
** Lua code or allocates in Lua, but for socket_push_for.
*/

#ifndef uring_socket_move_h
#define uring_socket_move_h

#include "net/socket.h"

struct parcel;


/* ---- the sender's ------------------------------------------------------ */

/* 0: it may be packed. -EINVAL: it may not, and this is why, "a socket …".
** -ENOMEM. */
#define SOCKET_WHY 120
int socket_settle (lua_State *L, struct socket *s, char why[SOCKET_WHY]);

/* What the bytes in it count as. */
size_t socket_size (const struct socket *s);

/* NULL: no memory. */
struct parcel *socket_pack (struct socket *s);

/* It was not sent: it is as before. */
void socket_unpack (lua_State *L, struct socket *s, struct parcel *p);

/* It was sent. */
void socket_sent (lua_State *L, struct socket *s);

/* Lend it, its handle (handle_lend) being lent as well. Then one of these: it
** was sent; or it was not, and its handle is no longer lent. */
void socket_lend (lua_State *L, struct socket *s, struct socket_lent *lent);
void socket_lent_sent (struct socket_lent *lent);
void socket_lent_back (lua_State *L, struct socket_lent *lent,
                       struct parcel *p);


/* ---- the reader's, and any thread's ------------------------------------ */

/* Push an empty socket for a parcel; and give it that. */
struct socket *socket_push_for (lua_State *L, const struct parcel *p);
void socket_adopt (lua_State *L, struct socket *s, struct parcel *p);

void parcel_free (struct parcel *p);

#endif
