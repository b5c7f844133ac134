/*
** fd: descriptors that this library owns: `uring.fd(n)`.
**
** The userdata over a handle. A number has one owner in a state: a second
** uring.fd of it would close what is the first one's, or a stranger's.
*/

#ifndef uring_fd_h
#define uring_fd_h

#include "handle.h"
#include "state.h"

struct fd {                /* the userdata */
  struct handle *d;        /* NULL: closed */
};

/* A new uring.fd on top, still without a number; what raises is memory. */
struct fd *fd_push (lua_State *L);

/* Its handle is the caller's from now on; NULL: it was closed. */
struct handle *fd_let_go (lua_State *L, struct fd *f);

void fd_open (lua_State *L);   /* define the class */
int fd_new (lua_State *L);     /* uring.fd(n) */

#endif
