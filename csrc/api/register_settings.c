/*
** register_settings: what a ring may do, and how it works: credentials,
** restrictions, the workers of io-wq, busy polling, its clock, its eventfd.
** Each is a call of io_uring_register(2), and lasts until the ring is closed.
** A descriptor that was registered is the kernel's to keep: it may be closed.
*/

#include "compat.h"
#include "api/register.h"

#include "base/names.h"
#include "lua/args.h"
#include "api/register_internal.h"
#include "api/ring_check.h"

#include <sched.h>
#include <time.h>

#define MAX_RESTRICTIONS 64


/* nil, message, errno: EINVAL of a kernel before `since` says so. */
static int setting_failed (lua_State *L, struct ring *r, int rc,
                           unsigned since, const char *what) {
  if (rc == -EINVAL && name_kernel() < since)
    return fail(L, EINVAL, "%s needs Linux %u.%u", what, NAMES_MAJOR(since),
                NAMES_MINOR(since));
  return register_result(L, r, rc, what);
}

/* ring:register_personality(): the number of the calling thread's
** credentials */
static int register_personality (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  int rc = sys_register(r->io.ring_fd, IORING_REGISTER_PERSONALITY, NULL, 0);
  return register_number(L, r, rc, "register_personality");
}

/* ring:unregister_personality(id) */
static int unregister_personality (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  unsigned id = (unsigned)arg_integer(L, 2, 0, UINT16_MAX);
  return register_result(L, r, sys_register(r->io.ring_fd,
                         IORING_UNREGISTER_PERSONALITY, NULL, id),
                         "unregister_personality");
}

/* The integer at the key `i` of the table on top; -1 if it is none. */
static lua_Integer integer_at (lua_State *L, lua_Integer i) {
  int ok = 0;
  lua_Integer n = lua_rawgeti(L, -1, i) == LUA_TNUMBER
                  ? lua_tointegerx(L, -1, &ok) : -1;
  lua_pop(L, 1);
  return ok ? n : -1;
}

/* The pair on top: a kind of restriction, and what it is about. */
static struct io_uring_restriction restriction_of (lua_State *L) {
  struct io_uring_restriction r;
  lua_Integer n[2] = { -1, -1 };
  memset(&r, 0, sizeof(r));
  for (int i = 0; i < 2 && lua_istable(L, -1); i++)
    n[i] = integer_at(L, i + 1);
  if (n[0] < 0 || n[0] > UINT16_MAX || n[1] < 0 || n[1] > UINT8_MAX)
    luaL_argerror(L, 2, "array of { IORING_RESTRICTION_…, number } expected");
  r.opcode = (uint16_t)n[0];
  r.sqe_op = (uint8_t)n[1];
  return r;
}

/* ring:register_restrictions{ { IORING_RESTRICTION_…, number }, … }, of a ring
** that is not enabled yet */
static int register_restrictions (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct io_uring_restriction all[MAX_RESTRICTIONS];
  lua_Unsigned n = 0;
  if (lua_istable(L, 2)) n = lua_rawlen(L, 2);
  if (n < 1 || n > MAX_RESTRICTIONS)
    return luaL_argerror(L, 2, "array of 1 to 64 restrictions expected");
  lua_settop(L, 2);
  for (lua_Unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    all[i] = restriction_of(L);
    lua_settop(L, 2);
  }
  return register_result(L, r, sys_register(r->io.ring_fd,
                         IORING_REGISTER_RESTRICTIONS, all, (unsigned)n),
                         "register_restrictions");
}

/* ring:register_iowq_aff{ cpu, … }: from 0 */
static int register_iowq_aff (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  cpu_set_t set;
  lua_Unsigned n = 0;
  CPU_ZERO(&set);
  if (lua_istable(L, 2)) n = lua_rawlen(L, 2);
  lua_settop(L, 2);
  for (lua_Unsigned i = 1; i <= n; i++) {
    lua_Integer cpu = integer_at(L, (lua_Integer)i);
    if (cpu < 0 || cpu >= CPU_SETSIZE) n = 0;
    else CPU_SET((size_t)cpu, &set);
  }
  if (n == 0)
    return luaL_argerror(L, 2, "array of CPUs' numbers, 0 to 1023, expected");
  return register_result(L, r, sys_register(r->io.ring_fd,
                         IORING_REGISTER_IOWQ_AFF, &set, sizeof(set)),
                         "register_iowq_aff");
}

/* ring:unregister_iowq_aff() */
static int unregister_iowq_aff (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  return register_result(L, r, sys_register(r->io.ring_fd,
                         IORING_UNREGISTER_IOWQ_AFF, NULL, 0),
                         "unregister_iowq_aff");
}

/* ring:register_iowq_max_workers(bounded, unbounded): what was set before; 0
** changes nothing */
static int register_iowq_max_workers (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  unsigned n[2];
  int rc;
  for (int i = 0; i < 2; i++)
    n[i] = (unsigned)arg_optional(L, 2 + i, 0, 0, INT32_MAX);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_IOWQ_MAX_WORKERS, n, 2);
  if (rc < 0)
    return register_result(L, r, rc, "register_iowq_max_workers");
  lua_pushinteger(L, n[0]);
  lua_pushinteger(L, n[1]);
  return 2;
}

/* What was set before: the microseconds, and whether it is preferred. */
static int push_napi (lua_State *L, struct ring *r, int rc,
                      const struct compat_napi *n, const char *what) {
  if (rc < 0)
    return setting_failed(L, r, rc, NAMES_VERSION(6, 9), what);
  lua_pushinteger(L, n->busy_poll_to);
  lua_pushboolean(L, n->prefer_busy_poll);
  return 2;
}

/* ring:register_napi(busy_poll_to [, prefer_busy_poll]): what was before */
static int register_napi (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct compat_napi n = {0};
  int rc;
  n.busy_poll_to = (uint32_t)arg_integer(L, 2, 0, UINT32_MAX);
  if (!lua_isnoneornil(L, 3)) {
    luaL_checktype(L, 3, LUA_TBOOLEAN);
    n.prefer_busy_poll = (uint8_t)lua_toboolean(L, 3);
  }
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_NAPI, &n, 1);
  return push_napi(L, r, rc, &n, "register_napi");
}

/* ring:unregister_napi(): what was before */
static int unregister_napi (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct compat_napi n = {0};
  int rc = sys_register(r->io.ring_fd, IORING_UNREGISTER_NAPI, &n, 1);
  return push_napi(L, r, rc, &n, "unregister_napi");
}

/* ring:register_clock(clockid): of its waits */
static int register_clock (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct compat_clock c = {0};
  int rc;
  c.clockid = (uint32_t)arg_integer(L, 2, 0, INT32_MAX);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_CLOCK, &c, 0);
  return setting_failed(L, r, rc, NAMES_VERSION(6, 12), "register_clock");
}

/* ring:set_iowait(enabled): do its waits count as waits for a disk? */
static int set_iowait (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  luaL_checktype(L, 2, LUA_TBOOLEAN);
  if (!(r->io.features & IORING_FEAT_NO_IOWAIT))
    return fail(L, EOPNOTSUPP, "set_iowait needs Linux 6.15");
  r->enter_flags = lua_toboolean(L, 2) ? 0 : IORING_ENTER_NO_IOWAIT;
  lua_pushboolean(L, 1);
  return 1;
}


static const luaL_Reg methods[] = {
  {"register_personality", register_personality},
  {"unregister_personality", unregister_personality},
  {"register_restrictions", register_restrictions},
  {"register_iowq_aff", register_iowq_aff},
  {"unregister_iowq_aff", unregister_iowq_aff},
  {"register_iowq_max_workers", register_iowq_max_workers},
  {"register_napi", register_napi},
  {"unregister_napi", unregister_napi},
  {"register_clock", register_clock},
  {"set_iowait", set_iowait},
  {NULL, NULL}
};

void register_settings_open (lua_State *L) {
  class_extend(L, CLASS_RING, methods);
}
