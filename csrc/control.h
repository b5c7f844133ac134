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

#ifndef uring_control_h
#define uring_control_h

#include "compat.h"
#include "state.h"

#define CONTROL_MAX 20480   /* net.core.optmem_max's default */
#define CONTROL_FDS 253     /* SCM_MAX_FD */

/* How many bytes the table at `index` needs; raises if anything in it is
** wrong. `nfds` of them are descriptors. */
size_t control_size (lua_State *L, int index, int arg, unsigned *nfds);

/* Write it: 0, or -errno with nothing left open. `fds` gets the dups, which
** the caller then owns; `to` has control_size bytes. */
int control_encode (lua_State *L, int index, unsigned char *to, int *fds);

/* Push the table of `size` bytes of control messages. Descriptors in it become
** uring.fds, and the bytes have them no more. */
void control_push (lua_State *L, unsigned char *at, size_t size);

/* The same of a copy, whose numbers may be anybody's: they stay raw. */
void control_push_raw (lua_State *L, const unsigned char *at, size_t size);

#endif
