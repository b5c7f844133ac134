/*
** probe: report the features of the running kernel, and why a ring could not
** be made. The tests themselves are in feature_tests.
**
** It owns nothing but one cached answer. Any thread may call it. It prints
** nothing and leaves no descriptor open.
**
** Invariant: no C resource is held while Lua may raise. All tests run first,
** into a plain struct; tables are built afterwards.
*/

#ifndef uring_probe_h
#define uring_probe_h

#include "compat.h"

#include <lua.h>

/*
** Explain why sys_setup failed with this errno (of either sign), and what
** would help: one line, without the errno's name. Reads /proc to tell a sysctl
** from a seccomp filter. Returns buf, or NULL if the errno's own text says it
** all.
*/
const char *probe_refusal (int err, char *buf, size_t len);

/*
** Can a message be sent from no ring (since Linux 6.13)? Tested once in a
** process, with a message that must work: older kernels answer EINVAL, which
** could also mean a bad argument.
*/
int probe_sync_msg (void);

/* uring.probe(): one table with the properties of this system. */
int probe_lua (lua_State *L);

#endif
