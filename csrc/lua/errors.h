/*
** errors: the texts of run-time errors. Every `nil, message, errno` of the
** library is made here: what was tried, on which object, why it failed, and
** the cure if one is known. A programmer's mistake raises instead.
*/

#ifndef uring_errors_h
#define uring_errors_h

#include "compat.h"

#include <lua.h>
#include <lauxlib.h>

#include <stdbool.h>

/* Ensure that the stack has space for `n` more values, or raise, with `what`
** (or NULL) in the message. */
void stack_reserve (lua_State *L, int n, const char *what);

/* nil, "<what>: <strerror> (<NAME>)<cure>", errno. `err` is positive. */
int fail (lua_State *L, int err, const char *what, ...)
  __attribute__((format(printf, 3, 4)));

/* The same with the cure that is known for this error of `opcode`. `what` is
** the text on top of the stack, which is popped. */
int fail_cured (lua_State *L, unsigned opcode, int err);

/* Raise the text on top, with the position of the calling loop, as io.lines
** does. */
int raise_here (lua_State *L);

/* Raise the value on top, which a protected call or a task has raised before.
** Lua's own error for want of memory is raised as that again: LUA_ERRMEM, and
** not LUA_ERRRUN. */
int raise_again (lua_State *L);
bool is_no_memory (lua_State *L);  /* is that on top? */

/* nil, the text alone, errno */
int fail_text (lua_State *L, int err, const char *text);

/* nil, "timed out", ETIME */
int fail_timeout (lua_State *L);

/* For an operation's negative result: nil, message, errno, flags.
** `min_kernel` is the first kernel that has the requested feature, or 0. */
int fail_result (lua_State *L, unsigned opcode, int fd, unsigned min_kernel,
                 int32_t res, uint32_t flags);

/* The same for a request with a subject (api/op_subject.h); `on` describes it,
** or is NULL. */
int fail_result_on (lua_State *L, unsigned opcode, int fd, const char *on,
                    unsigned min_kernel, int32_t res, uint32_t flags);

/* Entering the kernel for a ring failed. */
int fail_enter (lua_State *L, int err, int fd);

/* `what` failed, which is no request: "what on ring (fd 5)". */
int fail_on_ring (lua_State *L, int err, int fd, const char *what);

/* The functions for lua/uring, into the table on top. */
void errors_functions (lua_State *L);

#endif
