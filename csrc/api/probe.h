/*
** probe: what works here, and why a ring could not be made. The trying itself
** is done in `trial`.
**
** It owns nothing but one cached answer. Any thread may call it. It prints
** nothing and leaves no descriptor behind.
** What can never happen: a C resource held while Lua may raise. All trying is
** done first, into a plain struct; tables are built when it is over.
*/

#ifndef uring_probe_h
#define uring_probe_h

#include "compat.h"

#include <lua.h>

/*
** Why a ring could not be made and what would help, for an errno (of either
** sign) that sys_setup has given: one line, without the errno's name. Reads
** /proc to tell a sysctl from a seccomp filter. Returns buf; NULL where there
** is nothing to say that the errno's own text does not.
*/
const char *probe_refusal (int err, char *buf, size_t len);

/*
** Can a message be sent without a ring to send it from (Linux 6.13)? Tried
** once in a process, with a message that must work: older kernels answer it
** with the EINVAL that they have for a bad argument too.
*/
int probe_sync_msg (void);

/* uring.probe(): one table with all that can be told of this system. */
int probe_lua (lua_State *L);

#endif
