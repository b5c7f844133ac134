/*
** resolve: see the header. What must not break: the strings that getaddrinfo
** reads, and the list that it makes, are the job's, which ends them.
*/

#include "compat.h"
#include "os/resolve.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/sockaddr.h"
#include "os/job_wait.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
  struct waited_job waited;  /* first */
  struct addrinfo hints, *found;
  int code, err;           /* getaddrinfo's result, and errno */
  const char *service;     /* in `host`, or NULL */
  char host[];
};

static const struct { const char *name; int number; } codes[] = {
  {"ADDRFAMILY", EAI_ADDRFAMILY}, {"AGAIN", EAI_AGAIN},
  {"BADFLAGS", EAI_BADFLAGS}, {"FAIL", EAI_FAIL}, {"FAMILY", EAI_FAMILY},
  {"MEMORY", EAI_MEMORY}, {"NODATA", EAI_NODATA}, {"NONAME", EAI_NONAME},
  {"OVERFLOW", EAI_OVERFLOW}, {"SERVICE", EAI_SERVICE},
  {"SOCKTYPE", EAI_SOCKTYPE}, {"SYSTEM", EAI_SYSTEM},
};

#define CODES  (sizeof(codes) / sizeof(codes[0]))


/* ---- on a helper thread ------------------------------------------------ */

/* (To glibc "*" is this host: what asks for any address would be bound to the
** loopback interface. And it takes a port modulo 65536: lua/uring/resolve.lua
** lets no such one through.) */
static void lookup_work (struct job *job) {
  struct lookup *l = (struct lookup *)job;
  if (strcmp(l->host, "*") == 0) {
    l->code = EAI_NONAME;
    return;
  }
  l->code = getaddrinfo(l->host, l->service, &l->hints, &l->found);
  l->err = errno;
}

static void lookup_end (struct refblock *b) {
  struct lookup *l = (struct lookup *)b;
  if (l->found) freeaddrinfo(l->found);
  free(l);
}


/* ---- results ----------------------------------------------------------- */

/* nil, message, code */
static int lookup_failed (lua_State *L, const struct lookup *l) {
  const char *name = "?";
  if (l->code == EAI_SYSTEM)
    return fail(L, l->err, "resolve '%s'", l->host);
  for (size_t i = 0; i < CODES; i++)
    if (codes[i].number == l->code) name = codes[i].name;
  luaL_pushfail(L);
  if (l->service)
    lua_pushfstring(L, "resolve '%s', service '%s': %s (EAI_%s)", l->host,
                    l->service, gai_strerror(l->code), name);
  else
    lua_pushfstring(L, "resolve '%s': %s (EAI_%s)", l->host,
                    gai_strerror(l->code), name);
  lua_pushinteger(L, l->code);
  return 3;
}

/* (One address may come once for each type of socket.) */
static bool is_same (const struct addrinfo *a, const struct addrinfo *b) {
  return b && a->ai_addrlen == b->ai_addrlen
         && memcmp(a->ai_addr, b->ai_addr, a->ai_addrlen) == 0;
}

static int lookup_results (lua_State *L, struct waited_job *job) {
  struct lookup *l = (struct lookup *)job;
  const struct addrinfo *last = NULL;
  lua_Integer n = 0;
  if (l->code != 0)
    return lookup_failed(L, l);
  lua_newtable(L);
  for (const struct addrinfo *a = l->found; a; a = a->ai_next) {
    struct address address;
    if (is_same(a, last)) continue;
    last = a;
    address_set(&address, a->ai_addr, a->ai_addrlen, a->ai_addrlen);
    sockaddr_push(L, &address);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}


/* ---- asking ------------------------------------------------------------ */

static const char *arg_text (lua_State *L, int arg) {
  size_t size;
  const char *s = luaL_checklstring(L, arg, &size);
  luaL_argcheck(L, strlen(s) == size, arg, "string without zero bytes "
                "expected");
  return s;
}

/* Both in digits? */
static bool parse_numeric (struct address *a, const char *host,
                           const char *service) {
  char text[128];
  int n = snprintf(text, sizeof(text), strchr(host, ':') ? "[%s]:%s" : "%s:%s",
                   host, service ? service : "0");
  return n > 0 && (size_t)n < sizeof(text)
         && address_parse(a, text, (size_t)n) == NULL
         && a->any.sa_family != AF_UNIX;
}

static struct lookup *lookup_new (const char *host, const char *service,
                                  int type) {
  size_t nhost = strlen(host) + 1;
  size_t nservice = service ? strlen(service) + 1 : 0;
  struct lookup *l = job_new(sizeof(*l) + nhost + nservice, lookup_end);
  if (l == NULL)
    return NULL;
  l->waited.what = "resolve";
  l->waited.job.work = lookup_work;
  l->waited.results = lookup_results;
  l->hints.ai_family = AF_UNSPEC;
  l->hints.ai_socktype = type;
  memcpy(l->host, host, nhost);
  if (service) l->service = memcpy(l->host + nhost, service, nservice);
  return l;
}

/* resolve_lookup(host, service, type, timeout): an array of Sockaddr; or nil,
** message, code. `service` is text or nil; `type` a type of socket, or 0 */
static int resolve_lookup (lua_State *L) {
  const char *host = arg_text(L, 1);
  const char *service = lua_isnil(L, 2) ? NULL : arg_text(L, 2);
  int type = (int)lua_tointeger(L, 3);
  int64_t ns = arg_seconds(L, 4);
  struct address a;
  struct lookup *l;
  struct task *t;
  lua_settop(L, 4);
  if (parse_numeric(&a, host, service)) {
    lua_createtable(L, 1, 0);
    sockaddr_push(L, &a);
    lua_rawseti(L, -2, 1);
    return 1;
  }
  if ((t = job_wait_enter(L, "uring.resolve")) == NULL)
    return 3;
  if ((l = lookup_new(host, service, type)) == NULL)
    return fail(L, ENOMEM, "resolve '%s'", host);
  return job_wait_perform(L, t, &l->waited, LANE_NAMES, ns);
}


/* ---- the other way ----------------------------------------------------- */

struct naming {
  struct waited_job waited;  /* first */
  struct address address;
  int flags, code, err;
  char host[NI_MAXHOST], service[NI_MAXSERV];
};

static void naming_work (struct job *job) {
  struct naming *n = (struct naming *)job;
  n->code = getnameinfo(&n->address.any, n->address.len, n->host,
                        sizeof(n->host), n->service, sizeof(n->service),
                        n->flags);
  n->err = errno;
}

static void naming_end (struct refblock *b) {
  free(b);
}

static int naming_results (lua_State *L, struct waited_job *job) {
  struct naming *n = (struct naming *)job;
  if (n->code == 0) {
    lua_pushstring(L, n->host);
    lua_pushstring(L, n->service);
    return 2;
  }
  luaL_pushfail(L);
  lua_pushstring(L, gai_strerror(n->code));
  lua_pushinteger(L, n->code == EAI_SYSTEM ? n->err : n->code);
  return 3;
}

/* resolve_names(address, required): its host and its service, by getnameinfo
** on a helper thread; or nil, message, code. Where the host has no name it is
** in digits, but that fails if the name is required. */
static int resolve_names (lua_State *L) {
  struct address a = arg_address(L, 1);
  bool required = lua_toboolean(L, 2);
  struct task *t = job_wait_enter(L, "getnameinfo");
  struct naming *n;
  if (t == NULL)
    return 3;
  if ((n = job_new(sizeof(*n), naming_end)) == NULL)
    return fail(L, ENOMEM, "getnameinfo");
  n->waited.what = "getnameinfo";
  n->waited.job.work = naming_work;
  n->waited.results = naming_results;
  n->address = a;
  n->flags = required ? NI_NAMEREQD : 0;
  return job_wait_perform(L, t, &n->waited, LANE_NAMES, CLOCK_NEVER);
}

/* resolve_codes(): EAI numbers by name */
static int resolve_codes (lua_State *L) {
  lua_createtable(L, 0, CODES);
  for (size_t i = 0; i < CODES; i++) {
    lua_pushinteger(L, codes[i].number);
    lua_setfield(L, -2, codes[i].name);
  }
  return 1;
}


static const luaL_Reg functions[] = {
  {"resolve_lookup", resolve_lookup},
  {"resolve_names", resolve_names},
  {"resolve_codes", resolve_codes},
  {NULL, NULL}
};

void resolve_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}
