/*
** socket_calls: see the header. What must not break: the userdata exists
** before its descriptor, which therefore cannot leak; queued SQEs that name
** a descriptor are submitted before it is shut down.
*/

#include "compat.h"
#include "net/socket_calls.h"

#include "lua/args.h"
#include "lua/errors.h"
#include "api/fd.h"
#include "ring/ring_cancel.h"
#include "ring/ring_submit.h"
#include "net/socket.h"
#include "net/socket_option.h"

#include <errno.h>
#include <string.h>


/* ---- make -------------------------------------------------------------- */

/* uring.socket(fd): it takes the descriptor from a uring.fd, with all that is
** in flight on it */
static int socket_from_fd (lua_State *L, struct fd *f) {
  struct handle *d = f->d;
  int family, type, n;
  socklen_t len = sizeof(int), size = sizeof(int);
  struct socket *s;
  if (d == NULL || handle_closed(d))
    return luaL_argerror(L, 1, "attempt to use a closed descriptor");
  n = handle_number(d);
  if (getsockopt(n, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0
      || getsockopt(n, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
    return fail(L, errno, "socket: descriptor %d", n);
  s = socket_push(L, family, type);
  if (f->d != d)  /* (a finalizer may have closed it) */
    return luaL_argerror(L, 1, "attempt to use a closed descriptor");
  refblock_release(&s->d->block);
  s->d = fd_take_handle(L, f);
  s->in.waitq.fd = s->out.waitq.fd = n;
  socket_read_options(s);
  return 1;
}

/* A new one (socket(2)). */
static int socket_create (lua_State *L) {
  int family = (int)arg_integer(L, 1, 0, INT32_MAX);
  int type = lua_isnone(L, 2)
    ? luaL_argerror(L, 2, "type expected, such as uring.SOCK_STREAM; a socket "
                          "that is open is taken over by uring.socket("
                          "uring.fd(number))")
    : (int)arg_integer(L, 2, 0, INT32_MAX);
  int protocol = (int)arg_optional(L, 3, 0, 0, INT32_MAX);
  int plain = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
  struct socket *s = socket_push(L, family, plain);
  int socket_number = socket(family, plain | SOCK_CLOEXEC, protocol);
  if (socket_number < 0)
    return fail(L, errno, "socket(%d, %d, %d)", family, plain, protocol);
  socket_own(L, s, socket_number);
  return 1;
}

/* uring.socket(family, type [, protocol]), uring.socket(fd) */
int socket_new (lua_State *L) {
  struct fd *f = class_test(L, 1, CLASS_FD);
  return f ? socket_from_fd(L, f) : socket_create(L);
}

/* uring.socketpair([type]): two unix sockets (socketpair(2)) */
int socket_pair (lua_State *L) {
  int type = (int)arg_optional(L, 1, SOCK_STREAM, 0, INT32_MAX)
             & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
  struct socket *a = socket_push(L, AF_UNIX, type);
  struct socket *b = socket_push(L, AF_UNIX, type);
  int pair[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
    return fail(L, errno, "socketpair(%d)", type);
  socket_own(L, a, pair[0]);
  socket_own(L, b, pair[1]);
  return 2;
}

/* socket:bind(address): the socket (bind(2)) */
static int s_bind (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  struct address a = arg_address(L, 2);
  if (bind(handle_number(s->d), &a.any, a.len) < 0) {
    int err = errno;
    char text[ADDRESS_TEXT + 1];
    text[address_text(&a, text)] = '\0';
    lua_pushfstring(L, "bind socket (fd %d) to %s", handle_number(s->d), text);
    return fail_cured(L, IORING_OP_BIND, err);
  }
  lua_settop(L, 1);
  return 1;
}

/* socket:listen([backlog]): the socket (listen(2)) */
static int s_listen (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int backlog = (int)arg_optional(L, 2, SOMAXCONN, 0, INT32_MAX);
  if (listen(handle_number(s->d), backlog) < 0) {
    int err = errno;
    struct address a;
    char at[ADDRESS_TEXT + 5] = "";
    if (socket_name(s, getsockname, &a)) {
      memcpy(at, " at ", 4);
      at[4 + address_text(&a, at + 4)] = '\0';
    }
    lua_pushfstring(L, "listen on socket (fd %d)%s", handle_number(s->d), at);
    return fail_cured(L, IORING_OP_LISTEN, err);
  }
  lua_settop(L, 1);
  return 1;
}

/* The index in `names` of the string at 2; or -1. */
static int shutdown_mode (lua_State *L, const char *const *names) {
  for (int i = 0; names[i]; i++)
    if (strcmp(lua_tostring(L, 2), names[i]) == 0)
      return i;
  return -1;
}

static int shutdown_now (lua_State *L, int how) {
  struct socket *s = socket_check(L, 1);
  int rc;
  ring_submit_all(state_of(L)->rings);
  rc = shutdown(handle_number(s->d), how == 0 ? SHUT_RD : how == 1 ? SHUT_WR
                                                         : SHUT_RDWR);
  if (how == 0 && rc < 0 && errno == ENOTCONN && !socket_is_ordered(s))
    rc = 0;  /* (receiving ends all the same) */
  if (how != 1 && (rc == 0 || errno == ENOTCONN)) {  /* (which ends it too) */
    struct op *op = s->ring ? socket_op(s, &s->in) : NULL;
    s->rx_shutdown = true;
    /* the kernel does not end a receive of datagrams */
    if (op && !socket_is_stream(s)) ring_cancel(s->ring, op);
  }
  if (rc < 0)
    return fail(L, errno, "shutdown on socket (fd %d)", handle_number(s->d));
  lua_pushboolean(L, 1);
  return 1;
}

/* It may have waited for what was written, and been closed meanwhile. */
static int shutdown_then (lua_State *L, int how) {
  const struct socket *s = class_check(L, 1, CLASS_SOCKET);
  return endpoint_closed(s->d) ? fail(L, EBADF, "shutdown: the socket was "
                                      "closed")
                               : shutdown_now(L, how);
}

static int shutdown_write (lua_State *L) {
  return shutdown_then(L, 1);
}

static int shutdown_both (lua_State *L) {
  return shutdown_then(L, 2);
}

/* socket:shutdown("read" | "write" | "both"): true (shutdown(2)). What was
** written goes first. */
static int s_shutdown (lua_State *L) {
  static const char *const names[] = { "read", "write", "both", NULL };
  struct socket *s = socket_check(L, 1);
  int how;
  if (lua_type(L, 2) != LUA_TSTRING || (how = shutdown_mode(L, names)) < 0)
    return luaL_argerror(L, 2, "\"read\", \"write\" or \"both\" expected");
  return how == 0 ? shutdown_now(L, 0)
                  : output_linger(L, &s->output, how == 1 ? shutdown_write
                                                          : shutdown_both);
}


/* ---- names ------------------------------------------------------------- */

bool socket_name (const struct socket *s, socket_name_call call,
                  struct address *a) {
  memset(a, 0, sizeof(*a));
  a->len = sizeof(a->bytes);
  if (call(handle_number(s->d), &a->any, &a->len) < 0)
    return false;
  if (a->len > sizeof(a->bytes)) a->len = sizeof(a->bytes);
  return true;
}

static int socket_push_name (lua_State *L, socket_name_call call,
                             const char *what) {
  struct socket *s = socket_check(L, 1);
  struct address a;
  if (!socket_name(s, call, &a))
    return fail(L, errno, "%s of socket (fd %d)", what, handle_number(s->d));
  sockaddr_push(L, &a);
  return 1;
}

static int s_getsockname (lua_State *L) {
  return socket_push_name(L, getsockname, "getsockname");
}

static int s_getpeername (lua_State *L) {
  return socket_push_name(L, getpeername, "getpeername");
}


/* ---- for lua/uring/compat ---------------------------------------------- */

/* socket_disconnect(socket), of datagrams: it has no peer any more. The errno,
** or 0. */
static int s_disconnect (lua_State *L) {
  static const struct sockaddr none = { .sa_family = AF_UNSPEC };
  int rc = connect(handle_number(socket_check(L, 1)->d), &none, sizeof(none));
  lua_pushinteger(L, rc < 0 ? errno : 0);
  return 1;
}

void socket_calls_functions (lua_State *L) {
  static const luaL_Reg functions[] = {
    {"socket_disconnect", s_disconnect},
    {NULL, NULL}
  };
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}


static const luaL_Reg methods[] = {
  {"bind", s_bind},
  {"listen", s_listen},
  {"shutdown", s_shutdown},
  {"getsockname", s_getsockname},
  {"getpeername", s_getpeername},
  {NULL, NULL}
};

void socket_calls_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
}
