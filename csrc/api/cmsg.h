/*
** cmsg: convert control messages between their wire form and Lua tables.
**
** As a table:
**     { fds = { fd, … }, creds = { pid=, uid=, gid= },
**       pktinfo = { addr = sockaddr, ifindex = n }, origdst = sockaddr,
**       pidfd = fd, { level, type, data }, … }
** Five kinds have names; the array has all others. The wire form is a
** sequence of cmsghdrs (cmsg(3)). Received bytes are read with bounds and by
** copying; nothing in them is trusted.
**
** Descriptors: dups are sent, and kept until the request ends, because the
** kernel looks the numbers up late. A received descriptor gets an owner when
** the table is pushed.
*/

#ifndef uring_cmsg_h
#define uring_cmsg_h

#include "compat.h"
#include "lua/state.h"

#define CONTROL_MAX 20480   /* net.core.optmem_max's default */
#define CONTROL_FDS 253     /* SCM_MAX_FD */

/* The size of the wire form of the table at `index`; raises if anything in it
** is wrong. `nfds` is the number of its descriptors. */
size_t control_size (lua_State *L, int index, int arg, unsigned *nfds);

/* The output of control_encode: space for what control_size has returned. */
struct control {
  unsigned char *at;
  size_t size, capacity;   /* bytes written; space */
  int *fds;                /* dups */
  unsigned nfds, most;     /* dups made; space */
};

/* Encode the table: 0, or -errno. Raises if the table has changed since it was
** measured, as a finalizer may do. The caller owns the dups in `c` in any
** case, also after an error. */
int control_encode (lua_State *L, int index, struct control *c);

/* Push the table for `size` bytes of control messages. Descriptors in them
** become uring.fds and are removed from the bytes. */
void control_push (lua_State *L, unsigned char *at, size_t size);

/* The same for bytes that the kernel may not have written: numbers of
** descriptors are not trusted, and stay raw. */
void control_push_raw (lua_State *L, const unsigned char *at, size_t size);

#endif
