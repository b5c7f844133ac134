/*
** control: control messages between their wire form and Lua tables.
**
** As a table:
**     { fds = { fd, … }, creds = { pid=, uid=, gid= },
**       pktinfo = { addr = sockaddr, ifindex = n }, origdst = sockaddr,
**       pidfd = fd, { level, type, data }, … }
** The first five have names, the array has everything else. In wire form they
** are cmsghdrs one after another (cmsg(3)). What a peer or the kernel wrote
** is read with bounds and by copying: nothing in it is trusted.
**
** Descriptors: what is sent is a dup, owned until it was sent, for the kernel
** looks at the numbers late; what arrives is owned as soon as it is pushed.
*/

#ifndef uring_cmsg_h
#define uring_cmsg_h

#include "compat.h"
#include "lua/state.h"

#define CONTROL_MAX 20480   /* net.core.optmem_max's default */
#define CONTROL_FDS 253     /* SCM_MAX_FD */

/* How many bytes the table at `index` needs; raises if anything in it is
** wrong. `nfds` of them are descriptors. */
size_t control_size (lua_State *L, int index, int arg, unsigned *nfds);

/* Where it is written to, with the room that control_size has told. */
struct control {
  unsigned char *at;
  size_t size, room;       /* so much of it is written */
  int *fds;                /* dups */
  unsigned nfds, most;     /* so many are there */
};

/* Write it: 0, or -errno. It raises where the table is not any more what was
** measured: a finalizer may have changed it. The dups that are there belong to
** the caller at once, and in any case. */
int control_encode (lua_State *L, int index, struct control *c);

/* Push the table of `size` bytes of control messages. Descriptors in it become
** uring.fds, and the bytes have them no more. */
void control_push (lua_State *L, unsigned char *at, size_t size);

/* The same of a copy, whose numbers may be anybody's: they stay raw. */
void control_push_raw (lua_State *L, const unsigned char *at, size_t size);

#endif
