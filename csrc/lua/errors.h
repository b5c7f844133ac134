/*
** errors: what went wrong, in words. Every `nil, message, errno` of the
** library is worded here: what was tried, on what, and the cure where one is
** known. A programmer's mistake raises and does not come here.
*/

#ifndef uring_errors_h
#define uring_errors_h

#include "compat.h"

#include <lua.h>
#include <lauxlib.h>

/* Room for so many more values on the stack; raises, for `what` or NULL, where
** that has no more, or there is no memory for it. */
void stack_reserve (lua_State *L, int n, const char *what);

/* nil, "<what>: <strerror> (<NAME>)<cure>", errno. `err` is positive. */
int fail (lua_State *L, int err, const char *what, ...)
  __attribute__((format(printf, 3, 4)));

/* The same for what an opcode does, with the cure that is known for it. The
** text on top says what was done, and is taken. */
int fail_cured (lua_State *L, unsigned opcode, int err);

/* Raise the text on top, with where the calling loop is, as io.lines does. */
int raise_here (lua_State *L);

/* nil, "timed out", ETIME */
int fail_timeout (lua_State *L);

/* An operation's negative result: nil, message, errno, flags. `since` is the
** kernel that first had what was asked for, or 0. */
int fail_result (lua_State *L, unsigned opcode, int fd, unsigned min_kernel,
                 int32_t res, uint32_t flags);

/* The same of a request with a subject (subject.h); `on`: its words, or
** NULL. */
int fail_result_on (lua_State *L, unsigned opcode, int fd, const char *on,
                    unsigned min_kernel, int32_t res, uint32_t flags);

/* Entering the kernel for a ring failed. */
int fail_enter (lua_State *L, int err, int fd);

#endif
