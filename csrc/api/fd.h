/*
** fd: descriptors that this library owns: `uring.fd(n)`.
**
** The userdata over a handle. A number has one owner in a state: a second
** uring.fd of it would close what is the first one's, or a stranger's.
*/

#ifndef uring_fd_h
#define uring_fd_h

#include "base/handle.h"
#include "lua/state.h"

struct fd {                /* the userdata */
  struct handle *d;        /* NULL: closed */
};

/* A new uring.fd on top, still without a number; what raises is memory. */
struct fd *fd_push (lua_State *L);

/* Its handle is the caller's from now on; NULL: it was closed. */
struct handle *fd_let_go (lua_State *L, struct fd *f);

/* Whatever names a descriptor: an integer, a uring.fd, a Ring, a Lua file. */
struct fd_arg {
  int number;             /* now */
  struct handle *handle;  /* of what the library owns, or NULL */
  int anchor;             /* stack index of a Lua file to be kept, or 0 */
};
struct fd_arg arg_fd (lua_State *L, int arg);

/* The same for a value at `index` that is part of argument `arg`. */
struct fd_arg arg_fd_in (lua_State *L, int index, int arg);

void fd_open (lua_State *L);   /* define the class */
int fd_new (lua_State *L);     /* uring.fd(n) */

#endif
