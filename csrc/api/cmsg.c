/*
** cmsg: decode received control messages, and encode those to send. No
** descriptor may leak when a push raises: the uring.fds are made first, and
** take the numbers when nothing can raise any more.
*/

#include "compat.h"
#include "api/cmsg.h"

#include "ring/recvmsg_out.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/fd.h"
#include "api/sockaddr.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>


/* ---- to Lua ------------------------------------------------------------ */

static void cmsg_set_address (lua_State *L, const char *key, const void *from,
                              size_t size) {
  struct address a;
  address_set(&a, from, size, size);
  sockaddr_push(L, &a);
  lua_setfield(L, -2, key);
}

static void set_integer (lua_State *L, const char *key, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, key);
}

static void push_pktinfo (lua_State *L, const struct cmsg *m) {
  lua_createtable(L, 0, 2);
  if (m->level == IPPROTO_IP) {
    struct in_pktinfo info;
    struct sockaddr_in in = { .sin_family = AF_INET };
    memcpy(&info, m->data, sizeof(info));
    in.sin_addr = info.ipi_addr;
    cmsg_set_address(L, "addr", &in, sizeof(in));
    set_integer(L, "ifindex", info.ipi_ifindex);
  }
  else {
    struct in6_pktinfo info;
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    memcpy(&info, m->data, sizeof(info));
    in6.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
      in6.sin6_scope_id = info.ipi6_ifindex;
    cmsg_set_address(L, "addr", &in6, sizeof(in6));
    set_integer(L, "ifindex", info.ipi6_ifindex);
  }
}

/* Make the uring.fds for the table on top, and push `fds` and `pidfd`, or
** nils. The uring.fds own nothing before all of them are made: a push that
** raises loses no descriptor. */
static void push_fds (lua_State *L, unsigned char *at, size_t size) {
  int table = lua_gettop(L), fds = table + 1, pidfd = table + 2;
  lua_Integer n = 0;
  lua_settop(L, pidfd);
  for (struct cmsg_fd fd = {0}; cmsg_next_fd(at, size, &fd); ) {
    fd_push(L);
    if (fd.in.type == SCM_PIDFD) {
      lua_pushvalue(L, -1);
      lua_setfield(L, table, "pidfd");
      lua_replace(L, pidfd);
    }
    else {
      if (n == 0) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_replace(L, fds);
        lua_setfield(L, table, "fds");
      }
      lua_rawseti(L, fds, ++n);
    }
  }
}

/* Give the numbers to the uring.fds that push_fds has made. Does not raise. */
static void own_fds (lua_State *L, unsigned char *at, size_t size) {
  int fds = lua_gettop(L) - 1;
  lua_Integer n = 0;
  for (struct cmsg_fd fd = {0}; cmsg_next_fd(at, size, &fd); ) {
    const struct fd *f;
    if (fd.in.type == SCM_PIDFD) lua_pushvalue(L, fds + 1);
    else lua_rawgeti(L, fds, ++n);
    f = lua_touserdata(L, -1);
    handle_own(&state_of(L)->handles, f->d, fd.number);
    cmsg_own_fd(&fd);
    lua_pop(L, 1);
  }
}

/* Put all other control messages into the table on top. */
static void push_others (lua_State *L, unsigned char *at, size_t size,
                         bool raw) {
  struct cmsg m;
  lua_Integer others = 0;
  int table = lua_gettop(L);
  for (size_t i = 0; cmsg_next(at, size, &i, &m); ) {
    if (cmsg_brings_fds(&m) && !raw)
      continue;
    if (cmsg_is(&m, SOL_SOCKET, SCM_CREDENTIALS, sizeof(struct ucred))) {
      struct ucred c;
      memcpy(&c, m.data, sizeof(c));
      lua_createtable(L, 0, 3);
      set_integer(L, "pid", c.pid);
      set_integer(L, "uid", c.uid);
      set_integer(L, "gid", c.gid);
      lua_setfield(L, table, "creds");
    }
    else if (cmsg_is(&m, IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo))
             || cmsg_is(&m, IPPROTO_IPV6, IPV6_PKTINFO,
                        sizeof(struct in6_pktinfo))) {
      push_pktinfo(L, &m);
      lua_setfield(L, table, "pktinfo");
    }
    else if (cmsg_is(&m, IPPROTO_IP, IP_ORIGDSTADDR,
                     sizeof(struct sockaddr_in))
             || cmsg_is(&m, IPPROTO_IPV6, IPV6_ORIGDSTADDR,
                        sizeof(struct sockaddr_in6)))
      cmsg_set_address(L, "origdst", m.data, m.size);
    else {
      lua_createtable(L, 3, 0);
      lua_pushinteger(L, m.level);
      lua_rawseti(L, -2, 1);
      lua_pushinteger(L, m.type);
      lua_rawseti(L, -2, 2);
      lua_pushlstring(L, (const char *)m.data, m.size);
      lua_rawseti(L, -2, 3);
      lua_rawseti(L, table, ++others);
    }
    lua_settop(L, table);
  }
}

void control_push (lua_State *L, unsigned char *at, size_t size) {
  stack_reserve(L, 10, NULL);
  lua_createtable(L, 0, 1);
  push_others(L, at, size, false);
  push_fds(L, at, size);
  own_fds(L, at, size);
  lua_pop(L, 2);
}

void control_push_raw (lua_State *L, const unsigned char *at, size_t size) {
  stack_reserve(L, 10, NULL);
  lua_newtable(L);
  push_others(L, (unsigned char *)(uintptr_t)at, size, true);
}


/* ---- from Lua ---------------------------------------------------------- */

/* (The kernel's ints; an uid may be unsigned.) */
static bool fits_int (lua_Integer n) {
  return n >= INT32_MIN && n <= (lua_Integer)UINT32_MAX;
}

static lua_Integer int_field (lua_State *L, int arg, const char *of,
                              const char *key, lua_Integer otherwise) {
  lua_Integer n;
  int ok;
  if (options_push(L, lua_gettop(L), key) == LUA_TNIL) {
    lua_pop(L, 1);
    return otherwise;
  }
  n = lua_tointegerx(L, -1, &ok);
  if (!ok || lua_type(L, -1) != LUA_TNUMBER || !fits_int(n))
    luaL_argerror(L, arg, lua_pushfstring(L,
      "control: %s.%s must be an integer", of, key));
  lua_pop(L, 1);
  return n;
}

/* Push the table `control.<key>`; if it is nil push nothing: false. */
static bool open_field (lua_State *L, int index, int arg, const char *key) {
  if (options_push(L, index, key) == LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  if (!lua_istable(L, -1))
    luaL_argerror(L, arg, lua_pushfstring(L, "control: %s must be a table",
                                          key));
  return true;
}

/* Check that the keys of a table are `names` or integers; returns the number
** of integer keys. `of` describes the table in messages. */
static lua_Unsigned check_keys (lua_State *L, int index, int arg,
                                const char *of, const char *const *names) {
  lua_Unsigned others = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    if (lua_isinteger(L, -1)) others++;
    else if (lua_type(L, -1) != LUA_TSTRING)
      luaL_argerror(L, arg, lua_pushfstring(L, "%s: names or an array "
                                            "expected", of));
    else {
      size_t len;
      const char *key = lua_tolstring(L, -1, &len);
      const char *const *n = names;
      while (*n && (strlen(*n) != len || memcmp(*n, key, len) != 0)) n++;
      if (*n == NULL)
        luaL_argerror(L, arg, lua_pushfstring(L, "%s: unknown name '%s'%s", of,
          key, strcmp(of, "control") == 0 ? ": fds, creds, pktinfo, or "
          "{ level, type, data } in the array" : ""));
    }
  }
  return others;
}

static void check_count (lua_State *L, int arg, const char *of,
                         lua_Unsigned have, lua_Unsigned should) {
  if (have != should)
    luaL_argerror(L, arg, lua_pushfstring(L, "%s: %I values at integer keys, "
      "and its array has %I", of, (LUAI_UACINT)have, (LUAI_UACINT)should));
}

static bool is_int (lua_State *L, int index) {
  return lua_isinteger(L, index) && fits_int(lua_tointeger(L, index));
}

/* Push level, type and data of the `i`th of the array; at its end push
** nothing: false. */
static bool open_raw (lua_State *L, int index, int arg, lua_Integer i) {
  static const char *const none[] = { NULL };
  if (lua_rawgeti(L, index, i) == LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  if (!lua_istable(L, -1))
    luaL_argerror(L, arg, "control: the array has { level, type, data }");
  lua_rawgeti(L, -1, 1);
  lua_rawgeti(L, -2, 2);
  lua_rawgeti(L, -3, 3);
  if (!is_int(L, -3) || !is_int(L, -2) || lua_type(L, -1) != LUA_TSTRING)
    luaL_argerror(L, arg, "control: the array has { level, type, data }: two "
                  "integers and a string");
  check_count(L, arg, "control: { level, type, data }",
              check_keys(L, lua_gettop(L) - 3, arg,
                         "control: { level, type, data }", none), 3);
  lua_remove(L, -4);
  return true;
}

static struct address pktinfo_address (lua_State *L, int arg) {
  struct address a;
  options_push(L, lua_gettop(L), "addr");
  a = arg_address_in(L, lua_gettop(L), arg);
  lua_pop(L, 1);
  if (a.any.sa_family != AF_INET && a.any.sa_family != AF_INET6)
    luaL_argerror(L, arg, "control: pktinfo.addr must be of IPv4 or IPv6");
  return a;
}

/* The descriptor on top, which is to be sent. */
static struct fd_arg arg_sent_fd (lua_State *L, int arg) {
  if (class_test(L, lua_gettop(L), CLASS_RING))
    luaL_argerror(L, arg, "control: a ring cannot be sent: the kernel refuses "
                  "its descriptor");
  return arg_fd_in(L, lua_gettop(L), arg);
}

size_t control_size (lua_State *L, int index, int arg, unsigned *nfds) {
  static const char *const names[] = { "fds", "creds", "pktinfo", NULL };
  static const char *const creds[] = { "pid", "uid", "gid", NULL };
  static const char *const pktinfo[] = { "addr", "ifindex", NULL };
  static const char *const *const none = &names[3];
  lua_Unsigned others;
  lua_Integer i;
  size_t size = 0;
  int top = lua_gettop(L);
  *nfds = 0;
  stack_reserve(L, 10, NULL);
  if (!lua_istable(L, index))
    luaL_argerror(L, arg, "control: table expected");
  others = check_keys(L, index, arg, "control", names);
  if (open_field(L, index, arg, "fds")) {
    lua_Unsigned n = lua_rawlen(L, -1);
    if (n > CONTROL_FDS)
      luaL_argerror(L, arg, "control: a message takes at most 253 fds");
    check_count(L, arg, "control: fds", check_keys(L, top + 1, arg,
                "control: fds", none), n);
    for (i = 1; i <= (lua_Integer)n; i++) {
      lua_rawgeti(L, -1, i);
      arg_sent_fd(L, arg);
      lua_pop(L, 1);
    }
    *nfds = (unsigned)n;
    if (n > 0) size += CMSG_SPACE(n * sizeof(int));
    lua_pop(L, 1);
  }
  if (open_field(L, index, arg, "creds")) {
    check_count(L, arg, "control: creds", check_keys(L, top + 1, arg,
                "control: creds", creds), 0);
    int_field(L, arg, "creds", "pid", 0);
    int_field(L, arg, "creds", "uid", 0);
    int_field(L, arg, "creds", "gid", 0);
    size += CMSG_SPACE(sizeof(struct ucred));
    lua_pop(L, 1);
  }
  if (open_field(L, index, arg, "pktinfo")) {
    struct address a = pktinfo_address(L, arg);
    check_count(L, arg, "control: pktinfo", check_keys(L, top + 1, arg,
                "control: pktinfo", pktinfo), 0);
    int_field(L, arg, "pktinfo", "ifindex", 0);
    size += a.any.sa_family == AF_INET
            ? CMSG_SPACE(sizeof(struct in_pktinfo))
            : CMSG_SPACE(sizeof(struct in6_pktinfo));
    lua_pop(L, 1);
  }
  for (i = 1; open_raw(L, index, arg, i); i++) {
    size += CMSG_SPACE(lua_rawlen(L, -1));
    lua_pop(L, 3);
    if (size > CONTROL_MAX)
      luaL_argerror(L, arg, "control: too much of it");
  }
  check_count(L, arg, "control", others, (lua_Unsigned)i - 1);
  lua_settop(L, top);
  return size;
}

static void raise_changed (lua_State *L) {
  luaL_error(L, "control: the table was changed while it was read");
}

/* Append a control message of this size; returns the place of its data. */
static unsigned char *cmsg_put (lua_State *L, struct control *c, int level,
                                int type, size_t size) {
  unsigned char *at = c->at + c->size;
  struct cmsghdr h;
  if (size > c->capacity || CMSG_SPACE(size) > c->capacity - c->size)
    raise_changed(L);  /* guard: the table may have grown since measured */
  memset(&h, 0, sizeof(h));
  h.cmsg_len = CMSG_LEN(size);
  h.cmsg_level = level;
  h.cmsg_type = type;
  memset(at, 0, CMSG_SPACE(size));
  memcpy(at, &h, sizeof(h));
  c->size += CMSG_SPACE(size);
  return at + CMSG_LEN(0);
}

static int put_fds (lua_State *L, struct control *c) {
  size_t n = lua_rawlen(L, -1);
  unsigned char *data;
  if (n > c->most) raise_changed(L);  /* guard: the same */
  data = cmsg_put(L, c, SOL_SOCKET, SCM_RIGHTS, n * sizeof(int));
  for (size_t i = 0; i < n; i++) {
    struct fd_arg fd;
    int dup;
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    fd = arg_sent_fd(L, 1);  /* (control_size has checked it) */
    lua_pop(L, 1);
    dup = fcntl(fd.number, F_DUPFD_CLOEXEC, 0);
    if (dup < 0)
      return -errno;
    c->fds[c->nfds++] = dup;
    memcpy(data + i * sizeof(int), &dup, sizeof(int));
  }
  return 0;
}

static void put_pktinfo (lua_State *L, struct control *c) {
  struct address a = pktinfo_address(L, 1);
  lua_Integer ifindex = int_field(L, 1, "pktinfo", "ifindex", 0);
  if (a.any.sa_family == AF_INET) {
    struct in_pktinfo info;
    memset(&info, 0, sizeof(info));
    info.ipi_spec_dst = a.in.sin_addr;
    info.ipi_ifindex = (int)ifindex;
    memcpy(cmsg_put(L, c, IPPROTO_IP, IP_PKTINFO, sizeof(info)), &info,
           sizeof(info));
  }
  else {
    struct in6_pktinfo info;
    memset(&info, 0, sizeof(info));
    info.ipi6_addr = a.in6.sin6_addr;
    info.ipi6_ifindex = (unsigned)ifindex;
    memcpy(cmsg_put(L, c, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(info)), &info,
           sizeof(info));
  }
}

int control_encode (lua_State *L, int index, struct control *c) {
  int top = lua_gettop(L), rc = 0;
  if (open_field(L, index, 1, "creds")) {
    struct ucred u;
    u.pid = (pid_t)int_field(L, 1, "creds", "pid", getpid());
    u.uid = (uid_t)int_field(L, 1, "creds", "uid", getuid());
    u.gid = (gid_t)int_field(L, 1, "creds", "gid", getgid());
    memcpy(cmsg_put(L, c, SOL_SOCKET, SCM_CREDENTIALS, sizeof(u)), &u,
           sizeof(u));
    lua_pop(L, 1);
  }
  if (open_field(L, index, 1, "pktinfo")) {
    put_pktinfo(L, c);
    lua_pop(L, 1);
  }
  for (lua_Integer i = 1; open_raw(L, index, 1, i); i++) {
    size_t size;
    const char *data = lua_tolstring(L, -1, &size);
    memcpy(cmsg_put(L, c, (int)lua_tointeger(L, -3),
                    (int)lua_tointeger(L, -2), size), data, size);
    lua_pop(L, 3);
  }
  if (open_field(L, index, 1, "fds") && lua_rawlen(L, -1) > 0)
    rc = put_fds(L, c);
  lua_settop(L, top);
  return rc;
}
