/*
** socket_option: see the header. What must not break: when an option enables
** control messages, a receive in flight that has no space for them is
** cancelled.
*/

#include "compat.h"
#include "net/socket_option.h"

#include "ring/ring_cancel.h"
#include "lua/args.h"
#include "lua/constants.h"
#include "lua/errors.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

/* The capacity for control messages that options enable, however many of them
** are set: with few sizes of buffers there are few pools. */
#define OPTION_CONTROL 512u

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
      "number, expected, got %s", arg_typename(L, 2)));
  *level = (int)arg_integer(L, 2, INT32_MIN, INT32_MAX);
  *name = (int)arg_integer(L, 3, INT32_MIN, INT32_MAX);
  return 4;
}

static int option_failed (lua_State *L, const struct socket *s,
                          const char *what, int level, int name) {
  if (lua_type(L, 2) == LUA_TSTRING)
    return fail(L, errno, "%s %s on socket (fd %d)", what, lua_tostring(L, 2),
                handle_number(s->d));
  return fail(L, errno, "%s(%d, %d) on socket (fd %d)", what, level, name,
              handle_number(s->d));
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
  unsigned capacity = socket_default_control(s->family) + OPTION_CONTROL;
  struct op *op = s->ring ? socket_op(s, &s->in) : NULL;
  if (s->control_capacity == capacity && s->family != AF_UNIX)
    return;
  s->control_capacity = capacity;
  if (op && op->opcode != IORING_OP_ACCEPT) ring_cancel(s->ring, op);
}

static bool is_on (const struct socket *s, int level, int name) {
  int on = 0;
  socklen_t len = sizeof(on);
  return getsockopt(handle_number(s->d), level, name, &on, &len) == 0
         && on != 0;
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

static void read_zero_copy (struct socket *s) {
  s->zero_copy = is_on(s, SOL_SOCKET, SO_ZEROCOPY);
}

void socket_read_options (struct socket *s) {
  for (size_t i = 0; i < CONTROL_OPTIONS; i++) {
    if (is_on(s, control_options[i].level, control_options[i].name)) {
      reserve_control(s);
      break;
    }
  }
  read_zero_copy(s);
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
             arg_typename(L, arg)));
  if (setsockopt(handle_number(s->d), level, name, value, (socklen_t)len) < 0)
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
  if (getsockopt(handle_number(s->d), level, name, value, &len) < 0)
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

static const luaL_Reg methods[] = {
  {"setsockopt", s_setsockopt},
  {"getsockopt", s_getsockopt},
  {NULL, NULL}
};

void socket_option_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
}
