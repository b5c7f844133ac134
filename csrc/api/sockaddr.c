/*
** sockaddr: parse and print addresses. A length from the kernel may be more
** than it has written, so every read is bounded by the space it had.
*/

#include "compat.h"
#include "api/sockaddr.h"

#include "lua/args.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIX_AT  offsetof(struct sockaddr_un, sun_path)


/* ---- from text --------------------------------------------------------- */

static const char *parse_port (const char *s, in_port_t *port) {
  unsigned n = 0;
  if (*s == '\0')
    return "a port is missing behind the colon";
  for (; *s; s++) {
    if (*s < '0' || *s > '9' || (n = n * 10 + (unsigned)(*s - '0')) > 65535)
      return "the port must be a number from 0 to 65535";
  }
  *port = htons((in_port_t)n);
  return NULL;
}

static const char *parse_scope (const char *s, uint32_t *scope) {
  char *end;
  unsigned long n = strtoul(s, &end, 10);
  if (*s >= '0' && *s <= '9' && *end == '\0' && n <= UINT32_MAX)
    *scope = (uint32_t)n;
  else if ((*scope = if_nametoindex(s)) == 0)
    return "there is no network interface of that name";
  return NULL;
}

static const char *parse_host (struct address *a, char *host) {
  char *scope = strchr(host, '%');
  memset(a, 0, sizeof(*a));
  if (scope) *scope++ = '\0';
  if (scope == NULL && inet_pton(AF_INET, host, &a->in.sin_addr) == 1) {
    a->in.sin_family = AF_INET;
    a->len = sizeof(a->in);
    return NULL;
  }
  if (inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1) {
    a->in6.sin6_family = AF_INET6;
    a->len = sizeof(a->in6);
    return scope ? parse_scope(scope, &a->in6.sin6_scope_id) : NULL;
  }
  return "neither an IPv4 nor an IPv6 address; uring.resolve looks up the "
         "name of a host";
}

/* "@x" is an abstract name, so the file "@x" is written "./@x", and the file
** "./@x" is written "././@x". Does this path need one more "./"? */
static bool looks_abstract (const char *path, size_t len) {
  size_t i = 0;
  while (len - i > 2 && path[i] == '.' && path[i + 1] == '/') i += 2;
  return i < len && path[i] == '@';
}

static const char *parse_unix (struct address *a, const char *s, size_t len) {
  bool abstract = len > 0 && s[0] == '@';
  if (!abstract && looks_abstract(s, len)) {
    s += 2;
    len -= 2;
  }
  memset(a, 0, sizeof(*a));
  a->un.sun_family = AF_UNIX;
  if (len > sizeof(a->un.sun_path) - (abstract ? 0 : 1))
    return "a unix path has at most 107 bytes";
  if (!abstract && memchr(s, '\0', len) != NULL)
    return "a unix path has no zero bytes";
  memcpy(a->un.sun_path, s, len);
  if (abstract) a->un.sun_path[0] = '\0';
  a->len = (socklen_t)(UNIX_AT + len + (abstract || len == 0 ? 0 : 1));
  return NULL;
}

static in_port_t *port_of (struct address *a) {
  return a->any.sa_family == AF_INET ? &a->in.sin_port : &a->in6.sin6_port;
}

/* The host is no address; the port may be what is wrong. (A name's may be the
** name of a service.) */
static const char *wrong_host (const char *host, const char *port,
                               const char *why) {
  in_port_t ignored;
  if (*host == '\0' || strcmp(host, "*") == 0)
    return "a host is missing before the colon; 0.0.0.0 and [::] mean any";
  if (port[strspn(port, "0123456789")] != '\0')
    return why;
  port = parse_port(port, &ignored);
  return port ? port : why;
}

const char *address_parse (struct address *a, const char *s, size_t len) {
  char text[128];
  char *host = text, *port;
  const char *wrong;
  if (len >= 5 && memcmp(s, "unix:", 5) == 0)
    return parse_unix(a, s + 5, len - 5);
  if (len >= sizeof(text) || memchr(s, '\0', len) != NULL)
    return "too long, or with a zero byte in it";
  memcpy(text, s, len);
  text[len] = '\0';
  if (*host == '[') {
    char *end = strchr(++host, ']');
    if (end == NULL || end[1] != ':')
      return "an IPv6 address is written [address]:port";
    *end = '\0';
    port = end + 2;
  }
  else {
    port = strrchr(host, ':');
    if (port == NULL)
      return "a port is missing: address:port";
    *port++ = '\0';
    if (strchr(host, ':'))
      return "an IPv6 address is written [address]:port";
  }
  wrong = parse_host(a, host);
  if (wrong)
    return wrong_host(host, port, wrong);
  if (host != text && a->any.sa_family != AF_INET6)
    return "only an IPv6 address is written in brackets";
  return parse_port(port, port_of(a));
}


/* ---- from the kernel, and to text -------------------------------------- */

void address_set (struct address *a, const void *from, size_t len,
                  size_t capacity) {
  memset(a, 0, sizeof(*a));
  if (len > capacity) len = capacity;  /* guard: it reports the full length */
  if (len > sizeof(a->bytes)) len = sizeof(a->bytes);
  memcpy(a->bytes, from, len);
  a->len = (socklen_t)len;
}

static bool is_whole (const struct address *a, int family, size_t size) {
  return a->len >= size && a->any.sa_family == family;
}

static size_t unix_text (const struct address *a, char *to) {
  size_t n = a->len > UNIX_AT ? a->len - UNIX_AT : 0;
  size_t at = 5;
  memcpy(to, "unix:", 5);
  if (n == 0)
    return 5;
  if (n > sizeof(a->un.sun_path)) n = sizeof(a->un.sun_path);
  if (a->un.sun_path[0] == '\0') {
    to[5] = '@';
    memcpy(to + 6, a->un.sun_path + 1, n - 1);
    return 5 + n;
  }
  n = strnlen(a->un.sun_path, n);
  if (looks_abstract(a->un.sun_path, n)) {
    memcpy(to + 5, "./", 2);
    at = 7;
  }
  memcpy(to + at, a->un.sun_path, n);
  return at + n;
}

size_t address_text (const struct address *a, char *to) {
  char host[INET6_ADDRSTRLEN];
  int n;
  if (is_whole(a, AF_INET, sizeof(a->in))) {
    const uint8_t *b = (const uint8_t *)&a->in.sin_addr;
    n = snprintf(to, ADDRESS_TEXT, "%u.%u.%u.%u:%u", b[0], b[1], b[2], b[3],
                 ntohs(a->in.sin_port));
  }
  else if (is_whole(a, AF_INET6, sizeof(a->in6))) {
    inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
    if (a->in6.sin6_scope_id)
      n = snprintf(to, ADDRESS_TEXT, "[%s%%%u]:%u", host,
                   a->in6.sin6_scope_id, ntohs(a->in6.sin6_port));
    else
      n = snprintf(to, ADDRESS_TEXT, "[%s]:%u", host,
                   ntohs(a->in6.sin6_port));
  }
  else if (a->len >= sizeof(sa_family_t) && a->any.sa_family == AF_UNIX)
    return unix_text(a, to);
  else
    n = snprintf(to, ADDRESS_TEXT, "family %d, %u bytes",
                 a->len >= sizeof(sa_family_t) ? a->any.sa_family : 0,
                 a->len);
  return (size_t)n;
}


/* ---- Lua --------------------------------------------------------------- */

void sockaddr_push (lua_State *L, const struct address *a) {
  struct address *own = class_new(L, CLASS_SOCKADDR, sizeof(*own), 0);
  *own = *a;
}

struct address arg_address_in (lua_State *L, int index, int arg) {
  const struct address *own = class_test(L, index, CLASS_SOCKADDR);
  struct address a = {0};
  if (own) return *own;
  if (lua_type(L, index) == LUA_TSTRING) {
    size_t len;
    const char *s = lua_tolstring(L, index, &len);
    const char *wrong = address_parse(&a, s, len);
    if (wrong)
      luaL_argerror(L, arg, lua_pushfstring(L, "address expected, got '%s': "
                                            "%s", s, wrong));
  }
  else
    luaL_argerror(L, arg, lua_pushfstring(L,
      "address expected (a uring.sockaddr, or a string such as "
      "\"127.0.0.1:53\"), got %s", arg_typename(L, index)));
  return a;
}

struct address arg_address (lua_State *L, int arg) {
  return arg_address_in(L, arg, arg);
}

/* uring.sockaddr(text), uring.sockaddr(host, port) */
int sockaddr_new (lua_State *L) {
  struct address a;
  if (lua_isnoneornil(L, 2))
    a = arg_address(L, 1);
  else {
    char host[128];
    size_t len;
    const char *wrong, *s;
    int port = (int)arg_integer(L, 2, 0, 65535);
    luaL_checktype(L, 1, LUA_TSTRING);
    s = lua_tolstring(L, 1, &len);
    luaL_argcheck(L, len < sizeof(host) && strlen(s) == len, 1,
                  "too long, or with a zero byte in it");
    memcpy(host, s, len + 1);
    wrong = parse_host(&a, host);
    if (wrong)
      luaL_argerror(L, 1, lua_pushfstring(L, "'%s' is %s", s, wrong));
    *port_of(&a) = htons((in_port_t)port);
  }
  sockaddr_push(L, &a);
  return 1;
}

static void push_host (lua_State *L, const struct address *a) {
  char text[INET6_ADDRSTRLEN];
  if (is_whole(a, AF_INET, sizeof(a->in)))
    lua_pushstring(L, inet_ntop(AF_INET, &a->in.sin_addr, text,
                                sizeof(text)));
  else if (is_whole(a, AF_INET6, sizeof(a->in6)))
    lua_pushstring(L, inet_ntop(AF_INET6, &a->in6.sin6_addr, text,
                                sizeof(text)));
  else
    lua_pushnil(L);
}

/* a.family, a.host, a.port, a.scope_id, a.path */
static int sockaddr_index (lua_State *L) {
  const struct address *a = class_check(L, 1, CLASS_SOCKADDR);
  bool inet = is_whole(a, AF_INET, sizeof(a->in));
  bool inet6 = is_whole(a, AF_INET6, sizeof(a->in6));
  const char *k = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(k, "family") == 0 && a->len >= sizeof(sa_family_t))
    lua_pushinteger(L, a->any.sa_family);
  else if (strcmp(k, "host") == 0)
    push_host(L, a);
  else if (strcmp(k, "port") == 0 && (inet || inet6))
    lua_pushinteger(L, ntohs(inet ? a->in.sin_port : a->in6.sin6_port));
  else if (strcmp(k, "scope_id") == 0 && inet6)
    lua_pushinteger(L, a->in6.sin6_scope_id);
  else if (strcmp(k, "path") == 0 && a->len >= sizeof(sa_family_t)
           && a->any.sa_family == AF_UNIX) {
    char text[ADDRESS_TEXT];
    size_t n = unix_text(a, text);
    lua_pushlstring(L, text + 5, n - 5);
  }
  else
    lua_pushnil(L);
  return 1;
}

static int sockaddr_eq (lua_State *L) {
  const struct address *a = class_test(L, 1, CLASS_SOCKADDR);
  const struct address *b = class_test(L, 2, CLASS_SOCKADDR);
  lua_pushboolean(L, a && b && a->len == b->len
                     && memcmp(a->bytes, b->bytes, a->len) == 0);
  return 1;
}

static int sockaddr_tostring (lua_State *L) {
  char text[ADDRESS_TEXT];
  size_t n = address_text(class_check(L, 1, CLASS_SOCKADDR), text);
  lua_pushlstring(L, text, n);
  return 1;
}


static const luaL_Reg methods[] = {
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__eq", sockaddr_eq},
  {"__tostring", sockaddr_tostring},
  {NULL, NULL}
};

void sockaddr_open (lua_State *L) {
  class_define(L, CLASS_SOCKADDR, methods, meta, sockaddr_index);
}
