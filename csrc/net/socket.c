/*
** socket: see the header. It makes, adopts and closes sockets, and has their
** methods that do not wait. What must not break: closing cancels every request
** of the socket's own, takes its queues out of all operations, and wakes every
** waiter.
*/

#include "compat.h"
#include "net/socket.h"

#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "lua/args.h"
#include "lua/constants.h"
#include "lua/errors.h"
#include "api/cmsg.h"
#include "api/fd.h"
#include "task/ring_watch.h"
#include "task/wait_cancel.h"
#include "net/rx_data.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

/* The capacity for control messages that options enable, however many of them
** are set: with few sizes of buffers there are few pools. */
#define OPTION_CONTROL 512u

/* Attempts of the kernel that find nothing before the one that does: each
** writes credentials (see cmsg_of_last_try). Mostly there is one. */
#define TRIES 4

/* The capacity for control messages that no option of ours has enabled:
** descriptors, and credentials, for SO_PASSCRED may be set by other processes
** that share the socket. */
static unsigned default_control (int family) {
  return family == AF_UNIX
         ? (unsigned)(CMSG_SPACE(CONTROL_FDS * sizeof(int))
                      + (TRIES + 1) * CMSG_SPACE(sizeof(struct ucred)))
         : 0;
}


/* ---- life -------------------------------------------------------------- */

struct socket *socket_push (lua_State *L, int family, int type) {
  struct socket *s;
  pressure_tell(L, 0, 1);
  s = class_new(L, CLASS_SOCKET, sizeof(*s), SOCKET_VALUES);
  s->fork_id = fork_id();
  s->family = family;
  s->type = type;
  s->in.waitq.what = "to receive on socket";
  s->out.waitq.what = "to send on socket";
  s->in.waitq.fd = s->out.waitq.fd = -1;
  s->control_capacity = default_control(family);
  s->input.ops = state_of(L)->socket_input;
  s->input.waitq = &s->in.waitq;
  s->input.limit = SIZE_MAX;
  s->input.line_limit = INPUT_LIMIT;
  s->output.ops = state_of(L)->socket_output;
  s->output.waitq = &s->out.waitq;
  s->output.sends = true;
  s->output.d = &s->d;
  s->input.name = s->output.name = "the socket";
  s->d = handle_new();
  if (s->d == NULL)
    luaL_error(L, "not enough memory for a socket");
  pressure_hold(&state_of(L)->pressure, 0, 1);
  socket_waitq_open(state_of(L), &s->in.waitq);
  socket_waitq_open(state_of(L), &s->out.waitq);
  s->input.open = s->output.open = true;
  return s;
}

/* Why a socket without a descriptor cannot be used. */
static const char *away_text (const struct socket *s) {
  switch (s->away) {
    case FD_LENT: return "this socket is on its way, in a message that waits "
                         "to be sent";
    case FD_SENT: return "this socket was sent away, in a message";
    default: return "attempt to use a closed socket";
  }
}

struct socket *socket_check (lua_State *L, int arg) {
  struct socket *s = class_check(L, arg, CLASS_SOCKET);
  if (s->d == NULL || handle_closed(s->d))
    luaL_argerror(L, arg, away_text(s));
  if (s->fork_id != fork_id())  /* guard: fork */
    luaL_argerror(L, arg, "this socket belongs to another process: it was "
                  "made before a fork");
  return s;
}

struct op *socket_find_op (const struct socket *s, uint64_t token) {
  return token != 0 && s->ring->open ? op_find(&s->ring->ops, token) : NULL;
}

struct op *socket_op (const struct socket *s, const struct socket_side *side) {
  return socket_find_op(s, side->token);
}

static void socket_abandon (struct socket *s, struct op *op) {
  struct loop *loop = loop_of_ring(s->ring);
  if (op) {
    op->waitq = NULL;  /* guard: the queue ends with the socket */
    if (op->waiter == NULL) ring_drop(s->ring, op);
    else if ((op->op_flags & OP_NOTIFYING) && loop) loop_cancel_wait(loop,
                                                               op->waiter);
    ring_cancel(s->ring, op);
  }
}

/* Cancel its requests, and wake all that wait in its queue. */
static void socket_end_side (struct socket *s, struct socket_side *side) {
  struct op *op = socket_op(s, side), *next;
  socket_abandon(s, op);
  side->token = 0;
  for (op = s->d->ops; op; op = next) {  /* of sends there may be several */
    next = op->next;
    if (op->waitq == &side->waitq) socket_abandon(s, op);
  }
  turnq_wake_all(loop_of_ring(s->ring), &side->waitq.q);
}

/* Cancel all requests of the socket's own, and close its queues. */
static void socket_end_sides (struct socket *s) {
  if (s->fork_id == fork_id() && s->ring && s->ring->open) {
    socket_end_side(s, &s->in);
    socket_abandon(s, socket_find_op(s, s->poll_in));
    socket_abandon(s, socket_find_op(s, s->poll_out));
    socket_end_side(s, &s->out);
  }
  socket_waitq_close(&s->in.waitq);
  socket_waitq_close(&s->out.waitq);
}

static void socket_drop_buffers (lua_State *L, struct socket *s) {
  /* guard: a finalizer closes it */
  if (!input_in_push(L, &s->input)) rx_data_free(s);
  if (s->own_pool) buf_pool_drop(s->own_pool, s->fork_id == fork_id());
  s->own_pool = NULL;
}

/* Cancel what is in flight, wake all waiters, release all memory; and close
** the descriptor, or give it away: 0 or -errno, or its number. */
static int socket_end (lua_State *L, struct socket *s, bool closes) {
  struct handle *d = s->d;
  int rc;
  if (d == NULL)
    return 0;
  pressure_drop(&state_of(L)->pressure, 0, 1);
  output_end(&s->output, s->fork_id == fork_id());
  socket_end_sides(s);
  s->d = NULL;
  s->input.open = false;
  rc = closes ? ring_close_handle(state_of(L)->rings, d) : handle_release(d);
  socket_drop_buffers(L, s);
  refblock_release(&d->block);
  return rc;
}

static int close_now (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  int n = output_close(L, &s->output);
  int rc = socket_end(L, s, true);
  return n > 0 ? n : fd_closed(L, rc);
}

/* socket:close(): what was written goes first, for as long as it may linger */
static int s_close (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  if (s->away == FD_LENT)
    return luaL_argerror(L, 1, away_text(s));
  if (s->d == NULL || s->fork_id != fork_id()) {
    socket_end(L, s, true);
    lua_pushboolean(L, 1);
    return 1;
  }
  return output_linger(L, &s->output, close_now);
}

/* Why it cannot be given away: what would be lost; or NULL. */
static const char *socket_busy (const struct socket *s) {
  const struct op *op = s->ring ? socket_op(s, &s->in) : NULL;
  if (store_size(&s->input.store) > 0 || s->rx.at || s->arrived.first
      || (op && op->results.first))
    return "what it has received was not read";
  if (output_size(&s->output) > 0)
    return "what was written is not sent yet: flush it";
  return s->d->ops ? "a request is under way on it" : NULL;
}

/* socket:release(): the number; the caller owns it from now on. */
static int s_release (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  const char *why;
  int n = output_failed(L, &s->output);
  if (n > 0)
    return n;
  ring_submit_all(state_of(L)->rings);
  ring_reap_uses(state_of(L)->rings, s->d);
  why = socket_busy(s);
  if (why)  /* guard: nothing that came is lost */
    return fail(L, EBUSY, "release socket (fd %d): %s", handle_number(s->d),
                why);
  lua_pushinteger(L, socket_end(L, s, false));
  return 1;
}

/* A collected socket was not closed: requests of other owners on it go on, and
** keep the descriptor open. */
static int socket_gc (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  struct handle *d = s->d;
  if (d) {
    pressure_collected(&state_of(L)->pressure, s->own_pool
                       ? buf_pool_weight(s->own_pool) : 0, 1);
    pressure_drop(&state_of(L)->pressure, 0, 1);
    state_of(L)->unflushed += output_end(&s->output,
                                         s->fork_id == fork_id());
    socket_end_sides(s);
    s->d = NULL;
    s->input.open = false;
    if (s->ring) ring_settle(s->ring, d);
    ring_reap_uses(state_of(L)->rings, d);
    socket_drop_buffers(L, s);
    refblock_release(&d->block);
  }
  if (s->lent) s->lent->socket = NULL;  /* guard: it is freed */
  rx_data_free(s);
  return 0;
}


/* ---- make -------------------------------------------------------------- */

void socket_own (lua_State *L, struct socket *s, int socket_number) {
  handle_own(&state_of(L)->handles, s->d, socket_number);
  s->in.waitq.fd = s->out.waitq.fd = socket_number;
}

static void read_control (struct socket *s);
static void read_zero_copy (struct socket *s);

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
  read_control(s);
  read_zero_copy(s);
  return 1;
}

/* A new one (socket(2)). */
static int socket_create (lua_State *L) {
  int family = (int)arg_integer(L, 1, 0, INT32_MAX);
  int type = (int)arg_integer(L, 2, 0, INT32_MAX);
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

static int socket_number (const struct socket *s) {
  return handle_number(s->d);
}

/* socket:bind(address): the socket (bind(2)) */
static int s_bind (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  struct address a = arg_address(L, 2);
  if (bind(socket_number(s), &a.any, a.len) < 0) {
    int err = errno;
    char text[ADDRESS_TEXT + 1];
    text[address_text(&a, text)] = '\0';
    lua_pushfstring(L, "bind socket (fd %d) to %s", socket_number(s), text);
    return fail_cured(L, IORING_OP_BIND, err);
  }
  lua_settop(L, 1);
  return 1;
}

/* socket:listen([backlog]): the socket (listen(2)) */
static int s_listen (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int backlog = (int)arg_optional(L, 2, SOMAXCONN, 0, INT32_MAX);
  if (listen(socket_number(s), backlog) < 0) {
    int err = errno;
    struct address a;
    char at[ADDRESS_TEXT + 5] = "";
    if (socket_name(s, getsockname, &a)) {
      memcpy(at, " at ", 4);
      at[4 + address_text(&a, at + 4)] = '\0';
    }
    lua_pushfstring(L, "listen on socket (fd %d)%s", socket_number(s), at);
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
  rc = shutdown(socket_number(s), how == 0 ? SHUT_RD : how == 1 ? SHUT_WR
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
    return fail(L, errno, "shutdown on socket (fd %d)", socket_number(s));
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
  if (call(socket_number(s), &a->any, &a->len) < 0)
    return false;
  if (a->len > sizeof(a->bytes)) a->len = sizeof(a->bytes);
  return true;
}

static int socket_push_name (lua_State *L, socket_name_call call,
                             const char *what) {
  struct socket *s = socket_check(L, 1);
  struct address a;
  if (!socket_name(s, call, &a))
    return fail(L, errno, "%s of socket (fd %d)", what, socket_number(s));
  sockaddr_push(L, &a);
  return 1;
}

static int s_getsockname (lua_State *L) {
  return socket_push_name(L, getsockname, "getsockname");
}

static int s_getpeername (lua_State *L) {
  return socket_push_name(L, getpeername, "getpeername");
}


/* ---- options ----------------------------------------------------------- */

static const struct option {
  const char *prefix;
  int level;
} levels[] = {
  { "SO_", SOL_SOCKET }, { "IPV6_", IPPROTO_IPV6 }, { "IP_", IPPROTO_IP },
  { "TCP_", IPPROTO_TCP }, { "UDP_", IPPROTO_UDP },
};

/* The option, by its C name, which gives the level too, or by level and
** number: the index of the next argument. */
static int option_at (lua_State *L, int *level, int *name) {
  if (lua_type(L, 2) == LUA_TSTRING) {
    const char *text = lua_tostring(L, 2);
    int64_t value;
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
      if (strncmp(text, levels[i].prefix, strlen(levels[i].prefix)) == 0
          && constant_find(text, &value)) {
        *level = levels[i].level;
        *name = (int)value;
        return 3;
      }
    }
    luaL_argerror(L, 2, lua_pushfstring(L, "unknown socket option '%s': "
      "give its C name, such as SO_REUSEADDR or TCP_NODELAY, or its level "
      "and number", text));
  }
  if (lua_type(L, 2) != LUA_TNUMBER)
    luaL_argerror(L, 2, lua_pushfstring(L, "option's C name, or level and "
      "number, expected, got %s", luaL_typename(L, 2)));
  *level = (int)arg_integer(L, 2, INT32_MIN, INT32_MAX);
  *name = (int)arg_integer(L, 3, INT32_MIN, INT32_MAX);
  return 4;
}

static int option_failed (lua_State *L, const struct socket *s,
                          const char *what, int level, int name) {
  if (lua_type(L, 2) == LUA_TSTRING)
    return fail(L, errno, "%s %s on socket (fd %d)", what, lua_tostring(L, 2),
                socket_number(s));
  return fail(L, errno, "%s(%d, %d) on socket (fd %d)", what, level, name,
              socket_number(s));
}

/* Options that make the kernel add control messages to the data. */
static const struct { int level, name; } control_options[] = {
  { IPPROTO_IP, IP_PKTINFO }, { IPPROTO_IP, IP_RECVORIGDSTADDR },
  { IPPROTO_IP, IP_RECVTTL }, { IPPROTO_IP, IP_RECVTOS },
  { IPPROTO_IP, IP_RECVOPTS }, { IPPROTO_IP, IP_RETOPTS },
  { IPPROTO_IP, IP_RECVERR }, { IPPROTO_IP, IP_CHECKSUM },
  { IPPROTO_IP, IP_PASSSEC }, { IPPROTO_IP, 25 /* IP_RECVFRAGSIZE */ },
  { IPPROTO_IPV6, IPV6_RECVPKTINFO }, { IPPROTO_IPV6, IPV6_RECVHOPLIMIT },
  { IPPROTO_IPV6, IPV6_RECVTCLASS }, { IPPROTO_IPV6, IPV6_RECVERR },
  { IPPROTO_IPV6, IPV6_RECVORIGDSTADDR },
  { IPPROTO_IPV6, IPV6_RECVHOPOPTS }, { IPPROTO_IPV6, IPV6_RECVDSTOPTS },
  { IPPROTO_IPV6, IPV6_RECVRTHDR }, { IPPROTO_IPV6, IPV6_RECVPATHMTU },
  { IPPROTO_IPV6, IPV6_RECVFRAGSIZE }, { IPPROTO_IPV6, 11 /* FLOWINFO */ },
  { SOL_SOCKET, SO_TIMESTAMP }, { SOL_SOCKET, SO_TIMESTAMPNS },
  { SOL_SOCKET, SO_TIMESTAMPING }, { SOL_SOCKET, SO_RXQ_OVFL },
  { SOL_SOCKET, SO_RCVMARK }, { SOL_SOCKET, SO_PASSSEC },
  { SOL_SOCKET, SO_PASSPIDFD }, { SOL_SOCKET, SO_WIFI_STATUS },
  { SOL_SOCKET, SO_PASSCRED },
  { IPPROTO_UDP, 104 /* UDP_GRO */ },
};
#define CONTROL_OPTIONS (sizeof(control_options) / sizeof(*control_options))

static bool enables_control (int level, int name) {
  for (size_t i = 0; i < CONTROL_OPTIONS; i++)
    if (control_options[i].level == level && control_options[i].name == name)
      return true;
  return false;
}

/* From now on requests have the capacity for what options enable. The request
** in flight has not: cancel it, so that a new one follows. */
static void reserve_control (struct socket *s) {
  unsigned capacity = default_control(s->family) + OPTION_CONTROL;
  struct op *op = s->ring ? socket_op(s, &s->in) : NULL;
  if (s->control_capacity == capacity && s->family != AF_UNIX)
    return;
  s->control_capacity = capacity;
  if (op && op->opcode != IORING_OP_ACCEPT) ring_cancel(s->ring, op);
}

static bool is_on (const struct socket *s, int level, int name) {
  int on = 0;
  socklen_t len = sizeof(on);
  return getsockopt(socket_number(s), level, name, &on, &len) == 0 && on != 0;
}

unsigned socket_control_capacity (const struct socket *s, bool *fds) {
  unsigned capacity = 0;
  if (s->family != AF_UNIX) *fds = false;
  if (*fds || s->family != AF_UNIX)
    return s->control_capacity;
  /* (just for what the kernel adds to every message) */
  if (is_on(s, SOL_SOCKET, SO_PASSCRED))
    capacity += (unsigned)CMSG_SPACE(sizeof(struct ucred));
  if (!socket_is_stream(s) && (is_on(s, SOL_SOCKET, SO_TIMESTAMP)
                               || is_on(s, SOL_SOCKET, SO_TIMESTAMPNS)))
    capacity += (unsigned)CMSG_SPACE(sizeof(struct timespec));
  *fds = is_on(s, SOL_SOCKET, SO_PASSPIDFD) || is_on(s, SOL_SOCKET, SO_PASSSEC)
         || is_on(s, SOL_SOCKET, SO_TIMESTAMPING);
  return *fds ? s->control_capacity : capacity;
}

/* The same for options that were set before the socket was ours. */
static void read_control (struct socket *s) {
  for (size_t i = 0; i < CONTROL_OPTIONS; i++) {
    if (is_on(s, control_options[i].level, control_options[i].name)) {
      reserve_control(s);
      return;
    }
  }
}

static void read_zero_copy (struct socket *s) {
  s->zero_copy = is_on(s, SOL_SOCKET, SO_ZEROCOPY);
}

/* socket:setsockopt(name, boolean | integer | string): true */
static int s_setsockopt (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int level, name, n;
  int arg = option_at(L, &level, &name);
  const void *value = &n;
  size_t len = sizeof(n);
  if (lua_type(L, arg) == LUA_TSTRING)
    value = lua_tolstring(L, arg, &len);
  else if (lua_isboolean(L, arg))
    n = lua_toboolean(L, arg);
  else if (lua_type(L, arg) == LUA_TNUMBER)
    n = (int)(uint32_t)arg_integer(L, arg, INT32_MIN, UINT32_MAX);
  else
    return luaL_argerror(L, arg, lua_pushfstring(L,
             "boolean, integer or string expected, got %s",
             luaL_typename(L, arg)));
  if (setsockopt(socket_number(s), level, name, value, (socklen_t)len) < 0)
    return option_failed(L, s, "setsockopt", level, name);
  if (enables_control(level, name)) reserve_control(s);
  if (level == SOL_SOCKET && name == SO_ZEROCOPY) read_zero_copy(s);
  lua_pushboolean(L, 1);
  return 1;
}

/* socket:getsockopt(name): an integer, or a string if it is no int */
static int s_getsockopt (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int level, name;
  char value[512];
  socklen_t len = sizeof(value);
  option_at(L, &level, &name);
  if (getsockopt(socket_number(s), level, name, value, &len) < 0)
    return option_failed(L, s, "getsockopt", level, name);
  if (len == sizeof(int)) {
    int n;
    memcpy(&n, value, sizeof(n));
    lua_pushinteger(L, n);
  }
  else
    lua_pushlstring(L, value, len);
  return 1;
}


/* ---- inspection -------------------------------------------------------- */

static int s_fileno (lua_State *L) {
  lua_pushinteger(L, socket_number(socket_check(L, 1)));
  return 1;
}

/* socket:stats(): pending completions of the receive side; accepts that failed
** for want of a descriptor or memory; whether large sends use zero copy */
static int s_stats (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  const struct op *op = socket_op(s, &s->in);
  lua_Integer waiting = (lua_Integer)s->arrived.count
    + (op && s->in.waitq.bound > 0 ? op->results.count : 0);
  lua_createtable(L, 0, 3);
  lua_pushboolean(L, s->zero_copy);
  lua_setfield(L, -2, "zero_copy");
  lua_pushinteger(L, waiting);
  lua_setfield(L, -2, "waiting");
  lua_pushinteger(L, s->failed_accepts);
  lua_setfield(L, -2, "failed_accepts");
  return 1;
}

static int socket_tostring (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  static const char *const away[] = { "closed", "on its way", "sent away" };
  if (s->d == NULL) lua_pushfstring(L, "uring.Socket (%s)", away[s->away]);
  else lua_pushfstring(L, "uring.Socket (fd %d)", socket_number(s));
  return 1;
}


/* ---- for lua/uring/compat ---------------------------------------------- */

/* socket_disconnect(socket), of datagrams: it has no peer any more. The errno,
** or 0. */
static int s_disconnect (lua_State *L) {
  static const struct sockaddr none = { .sa_family = AF_UNSPEC };
  int rc = connect(socket_number(socket_check(L, 1)), &none, sizeof(none));
  lua_pushinteger(L, rc < 0 ? errno : 0);
  return 1;
}

void socket_functions (lua_State *L) {
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
  {"setsockopt", s_setsockopt},
  {"getsockopt", s_getsockopt},
  {"fileno", s_fileno},
  {"release", s_release},
  {"stats", s_stats},
  {"close", s_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", socket_gc},
  {"__close", s_close},
  {"__tostring", socket_tostring},
  {NULL, NULL}
};

void socket_open (lua_State *L) {
  class_define(L, CLASS_SOCKET, methods, meta, NULL);
}
