/*
** fd: descriptors that this library owns: `uring.fd(n)`.
**
** The userdata over a descriptor.h. Its close submits first what is queued,
** so that what names the number has been started before it is another's;
** what could not be submitted keeps it.
*/

#ifndef uring_fd_h
#define uring_fd_h

#include "descriptor.h"
#include "state.h"

struct fd {                /* the userdata */
  struct descriptor *d;    /* NULL: closed */
};

/* Own `number` in a new uring.fd on top. On failure the number stays the
** caller's and memory is the error that is raised. */
void fd_push (lua_State *L, int number);

/* Its descriptor is the caller's from now on; NULL: it was closed. */
struct descriptor *fd_let_go (lua_State *L, struct fd *f);

void fd_open (lua_State *L);   /* define the class */
int fd_new (lua_State *L);     /* uring.fd(n) */

#endif
