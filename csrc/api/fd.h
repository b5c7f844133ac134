/*
** fd: descriptors that the library owns: `uring.fd(n)`.
**
** A userdata with a handle. Invariant: a number has at most one owner in a
** Lua state. A second uring.fd of it would close the first one's file, or
** another one that has got the number since.
*/

#ifndef uring_fd_h
#define uring_fd_h

#include "base/handle.h"
#include "lua/state.h"

/* In a message that waits to be sent; in one that was sent. (Of a uring.fd its
** handle says so.) */
enum fd_away { FD_HERE, FD_LENT, FD_SENT };

struct fd {                /* the userdata */
  struct handle *d;        /* NULL: closed, or away */
  uint8_t away;
};


/* Where is it, if it has no number? */
enum fd_away fd_where (const struct fd *f);

/* The uring.fd, socket, stream or child at this index: all of them begin so.
** NULL for any other value. */
struct fd *fd_at (lua_State *L, int index);

/* Push a new uring.fd without a number. Raises only if out of memory. */
struct fd *fd_push (lua_State *L);

/* Replace a plain number at this index, if an object of the library owns it,
** by a uring.fd that counts the owner's handle. Other values stay. */
void fd_share_owner (lua_State *L, int index);

/* The end of a close, which has given 0 or -errno: true; or nil, message,
** errno. */
int fd_closed (lua_State *L, int rc);

/* Take its handle, and its count, from it; NULL if it is closed. */
struct handle *fd_take_handle (lua_State *L, struct fd *f);

/* An argument that names a descriptor: an integer, a uring.fd, a socket, a
** ring or a Lua file. */
struct fd_arg {
  int number;             /* at this moment */
  struct handle *handle;  /* if the library owns the descriptor, or NULL */
  int anchor;             /* stack index of a Lua file to keep alive, or 0 */
};
struct fd_arg arg_fd (lua_State *L, int arg);

/* The same for a value at `index` that is part of argument `arg`. */
struct fd_arg arg_fd_in (lua_State *L, int index, int arg);

void fd_open (lua_State *L);   /* define the class */
int fd_new (lua_State *L);     /* uring.fd(n) */

#endif
