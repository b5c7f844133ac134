/*
** errors: compose `nil, message, errno`, also "needs Linux 6.13 (this is
** 6.1)" for what the kernel lacks. A result may be forged by a message's
** sender, so any 32 bits must be safe to describe.
*/

#include "lua/errors.h"

#include "base/names.h"
#include "lua/state.h"
#include "ring/sys.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>


void stack_reserve (lua_State *L, int n, const char *what) {
  if (!lua_checkstack(L, n))
    luaL_error(L, what ? "stack overflow, or not enough memory (%s)"
                       : "stack overflow, or not enough memory", what);
}

#define ERRNO_TEXT 96        /* and more is cut off */

/* Write "<text> (<NAME>)": its length. */
static size_t put_errno (char *buf, int err) {
  const char *name = name_errno(err);
  char number[sizeof("errno -2147483648")];
  if (name == NULL) {
    snprintf(number, sizeof(number), "errno %d", err);
    name = number;
  }
  snprintf(buf, ERRNO_TEXT, "%s (%s)", name_error_text(err), name);
  return strlen(buf);
}

static void push_errno (lua_State *L, int err) {
  char buf[ERRNO_TEXT];
  lua_pushlstring(L, buf, put_errno(buf, err));
}

/* error_text(errno): what strerror(3) says */
static int error_text (lua_State *L) {
  lua_pushstring(L, name_error_text((int)luaL_checkinteger(L, 1)));
  return 1;
}

void errors_functions (lua_State *L) {
  lua_pushcfunction(L, error_text);
  lua_setfield(L, -2, "error_text");
}

int fail (lua_State *L, int err, const char *what, ...) {
  char buf[512 + sizeof(": ") + ERRNO_TEXT];
  size_t n;
  va_list ap;
  va_start(ap, what);
  vsnprintf(buf, 512, what, ap);
  va_end(ap);
  n = strlen(buf);
  memcpy(buf + n, ": ", 2);
  n += 2;
  n += put_errno(buf + n, err);
  luaL_pushfail(L);
  lua_pushlstring(L, buf, n);
  lua_pushinteger(L, err);
  return 3;
}

int fail_text (lua_State *L, int err, const char *text) {
  luaL_pushfail(L);
  lua_pushstring(L, text);
  lua_pushinteger(L, err);
  return 3;
}

int fail_timeout (lua_State *L) {
  return fail_text(L, ETIME, "timed out");
}


/* ---- cures ------------------------------------------------------------- */

#define NO_MEMORY "the kernel has no memory for requests now; nothing is " \
                  "lost, submit again later"
#define CLOSED "its number was closed, and not by its close()"

#define NO_BUFFER "its group has no buffer left: queue it again when some " \
                  "are free (a netlink socket: it has lost messages)"
#define NO_BROADCAST "for a broadcast address set SO_BROADCAST first; to a " \
                     "unix socket's path, permission to write is missing"

#define ENTER 255  /* no request, but entering the kernel for a ring */
#define OTHER 254  /* another call: it has no cures */

static const struct cure {
  unsigned char opcode;
  unsigned char err;
  const char *text;
} cures[] = {
  { IORING_OP_MSG_RING, EBADF,
    "the target (or the source slot) is not open" },
  { IORING_OP_MSG_RING, EBADFD,
    "the target is not a ring, or its enable_rings() was not yet called" },
  { IORING_OP_MSG_RING, EPIPE,
    "the target ring is closed" },
  { IORING_OP_MSG_RING, ENXIO,
    "the target ring has no file table: its register_files_sparse(n) "
    "makes one" },
  { IORING_OP_MSG_RING, ENFILE,
    "the target ring has no free file slot: register_files_sparse(n) "
    "makes some" },
  { IORING_OP_MSG_RING, EOWNERDEAD,
    "the thread that owns the target ring has ended" },
  { IORING_OP_MSG_RING, EACCES,
    "the restrictions of the sending ring forbid messages" },
  { IORING_OP_MSG_RING, EINVAL,
    "a flag, command or slot that the kernel does not take; a descriptor "
    "cannot be sent to its own ring" },
  { IORING_OP_OPENAT, ENFILE,
    "the system has no open file left (fs.file-max); of a direct one, the "
    "ring has no free slot: register_files_sparse(n) makes some" },
  { IORING_OP_OPENAT, ENXIO,
    "no process reads from this FIFO, or there is no such device; of a direct "
    "one, the ring has no file table: register_files_sparse(n) makes one" },
  { IORING_OP_READ, EBADF,
    "not open, or not open for reading" },
  { IORING_OP_READ, ENOBUFS, NO_BUFFER },
  { IORING_OP_WRITE, EBADF,
    "not open, or not open for writing" },
  { IORING_OP_FIXED_FD_INSTALL, EBADF,
    "no file in that slot, or IOSQE_FIXED_FILE is not set" },
  { IORING_OP_ASYNC_CANCEL, ENOENT,
    "it has ended already, or was never queued" },
  { IORING_OP_POLL_REMOVE, ENOENT,
    "it has ended already, or was never queued" },
  { IORING_OP_TIMEOUT_REMOVE, ENOENT,
    "it has ended already, or was never queued" },
  { IORING_OP_ACCEPT, EINVAL,
    "the socket does not listen: listen() comes first" },
  { IORING_OP_BIND, EADDRINUSE,
    "another socket has this address; for a port whose connections are still "
    "ending set SO_REUSEADDR first (uring.tcp.listen does); of a unix socket "
    "that is gone remove the file" },
  { IORING_OP_BIND, EADDRNOTAVAIL,
    "no interface of this machine has this address" },
  { IORING_OP_BIND, EAFNOSUPPORT,
    "the address is of another family than the socket" },
  { IORING_OP_BIND, EINVAL,
    "the socket has an address already, or the address is of another family" },
  { IORING_OP_LISTEN, EADDRINUSE,
    "another socket listens there" },
  { IORING_OP_CONNECT, EADDRNOTAVAIL,
    "no local port is free for it, or no local address can reach it" },
  { IORING_OP_CONNECT, EAFNOSUPPORT,
    "the address is of another family than the socket" },
  { IORING_OP_CONNECT, EACCES, NO_BROADCAST },
  { IORING_OP_SEND, EACCES, NO_BROADCAST },
  { IORING_OP_SEND, EMSGSIZE,
    "more than one datagram may have: 65507 bytes over IPv4, 65527 over IPv6, "
    "less than SO_SNDBUF over unix, and with IP_MTU_DISCOVER the path's MTU" },
  { IORING_OP_SEND, EAFNOSUPPORT,
    "the address is of another family than the socket" },
  { IORING_OP_SEND, EDESTADDRREQ,
    "connect the socket, or give an address" },
  { IORING_OP_SEND, ENOTCONN,
    "connect the socket first" },
  { IORING_OP_SEND_ZC, ENOMEM,
    "more than RLIMIT_MEMLOCK would be held (ulimit -l): send with a copy, or "
    "less at a time" },
  { IORING_OP_RECV, ENOTCONN,
    "connect the socket first" },
  { IORING_OP_RECV, ENOBUFS, NO_BUFFER },
  { ENTER, EEXIST,
    "it was made with SINGLE_ISSUER and belongs to another thread" },
  { ENTER, EBADFD,
    "it was made with R_DISABLED: call enable_rings() first" },
  { ENTER, EBADR,
    "the kernel had no memory left and dropped completions" },
  { ENTER, EAGAIN, NO_MEMORY },
  { ENTER, ENOMEM, NO_MEMORY },
  { ENTER, EBUSY,
    "the completion queue is full: take completions, then submit again" },
  { ENTER, EBADF, CLOSED },
  { ENTER, EOPNOTSUPP, CLOSED },
};

/* The opcode whose cures also hold for this one; or itself. */
static unsigned related_opcode (unsigned opcode) {
  switch (opcode) {
    case IORING_OP_SENDMSG_ZC: return IORING_OP_SEND_ZC;
    case IORING_OP_SENDMSG: case IORING_OP_SEND_ZC: return IORING_OP_SEND;
    case IORING_OP_RECVMSG: return IORING_OP_RECV;
    case IORING_OP_READ_MULTISHOT: return IORING_OP_READ;
    default: return opcode;
  }
}

static const char *cure (unsigned opcode, int err) {
  for (size_t i = 0; i < sizeof(cures) / sizeof(*cures); i++)
    if (cures[i].opcode == opcode && cures[i].err == err)
      return cures[i].text;
  return related_opcode(opcode) == opcode ? NULL
                                          : cure(related_opcode(opcode), err);
}

/* Replace the text on top by "text: error", and the cure if one is known. */
static void add_error (lua_State *L, unsigned opcode, int err) {
  const char *why = cure(opcode, err);
  push_errno(L, err);
  lua_pushfstring(L, why ? "%s: %s: %s" : "%s: %s", lua_tostring(L, -2),
                  lua_tostring(L, -1), why);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* Push what was tried, on which object, and the error. */
static void push_failure (lua_State *L, unsigned opcode, int fd,
                          const char *on, unsigned min_kernel, int err) {
  const char *op = name_op_short(opcode);
  const char *text;
  int top = lua_gettop(L);
  text = lua_pushfstring(L, on ? "%s %s" : "%s", op ? op : "request", on);
  fd = name_op_fd(opcode, fd);
  if (fd >= 0) text = lua_pushfstring(L, "%s on fd %d", text, fd);
  if (min_kernel < name_op_min_kernel(opcode))
    min_kernel = name_op_min_kernel(opcode);
  if ((err == EINVAL || err == EOPNOTSUPP || err == ENOENT)
      && name_kernel() < min_kernel) {  /* (ENOENT: it ignores the flags) */
    unsigned k = name_kernel();
    lua_pushfstring(L, "%s needs Linux %d.%d (this is %d.%d)", text,
                    (int)(min_kernel >> 8), (int)(min_kernel & 255),
                    (int)(k >> 8), (int)(k & 255));
  }
  else add_error(L, opcode, err);
  lua_copy(L, -1, top + 1);
  lua_settop(L, top + 1);
}

int raise_here (lua_State *L) {
  luaL_where(L, 1);
  lua_insert(L, -2);
  lua_concat(L, 2);
  return lua_error(L);
}

/* Lua raises LUA_ERRMEM itself, and offers no function for that. So its
** allocator is made to refuse one request: twice, for Lua collects garbage and
** then tries again. What shrinks or is freed meanwhile goes to the allocator
** of the state, which is back before the error is raised. */
static void *refuse_once (void *ud, void *p, size_t had, size_t size) {
  struct refusal *r = ud;
  lua_Alloc f = r->f;
  void *own = r->ud;
  if (size == 0 || (p != NULL && size <= had))
    return f(own, p, had, size);
  if (--r->left == 0) lua_setallocf(r->L, f, own);
  return NULL;
}

static void ask_in_vain (lua_State *L) {
  struct refusal *r = &state_of(L)->refusal;
  r->f = lua_getallocf(L, &r->ud);
  r->L = L;
  r->left = 2;
  lua_setallocf(L, refuse_once, r);
  lua_newuserdatauv(L, 0, 0);
}

bool is_no_memory (lua_State *L) {
  return lua_type(L, -1) == LUA_TSTRING
         && strcmp(lua_tostring(L, -1), "not enough memory") == 0;  /* Lua's */
}

int raise_again (lua_State *L) {
  if (is_no_memory(L)) ask_in_vain(L);
  return lua_error(L);
}

int fail_cured (lua_State *L, unsigned opcode, int err) {
  add_error(L, opcode, err);
  luaL_pushfail(L);
  lua_insert(L, -2);
  lua_pushinteger(L, err);
  return 3;
}

int fail_result_on (lua_State *L, unsigned opcode, int fd, const char *on,
                    unsigned min_kernel, int32_t res, uint32_t flags) {
  /* -INT32_MIN overflows; a forged result must not be undefined behaviour */
  int err = res > INT32_MIN ? -res : INT32_MAX;
  luaL_pushfail(L);
  push_failure(L, opcode, fd, on, min_kernel, err);
  lua_pushinteger(L, err);
  lua_pushinteger(L, flags);
  return 4;
}

int fail_result (lua_State *L, unsigned opcode, int fd, unsigned min_kernel,
                 int32_t res, uint32_t flags) {
  return fail_result_on(L, opcode, fd, NULL, min_kernel, res, flags);
}

int fail_enter (lua_State *L, int err, int fd) {
  if (err == ETIME)
    return fail_timeout(L);
  lua_pushfstring(L, "submit to ring (fd %d)", fd);
  return fail_cured(L, ENTER, err);
}

/* Is the number another file's, or no file's? (Both errors may mean other
** things.) */
static bool number_is_lost (int err, int fd) {
  struct io_uring_probe none;
  memset(&none, 0, sizeof(none));
  return (err == EBADF || err == EOPNOTSUPP)
         && sys_register(fd, IORING_REGISTER_PROBE, &none, 0) < 0;
}

int fail_on_ring (lua_State *L, int err, int fd, const char *what) {
  lua_pushfstring(L, "%s on ring (fd %d)", what, fd);
  return fail_cured(L, number_is_lost(err, fd) ? ENTER : OTHER, err);
}
