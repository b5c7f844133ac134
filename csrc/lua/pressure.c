#include "compat.h"
#include "lua/pressure.h"

#include "lua/state.h"

#include <sys/resource.h>

#define STEP   ((size_t)64 << 10)   /* not for less */
#define SLACK  ((size_t)64 << 20)   /* garbage that is never too much */
#define FEW    256u                 /* the same of descriptors, */
#define PART   256                  /* KiB */
#define SPARE  16u                  /* and where there are hardly any left */


/* How many descriptors there may be before garbage is searched for, when so
** many are alive: twice as many, but half of what is left is for others. */
static unsigned most_fds (unsigned alive) {
  struct rlimit limit;
  unsigned more = alive > FEW ? alive : FEW;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    rlim_t left = limit.rlim_cur > alive ? limit.rlim_cur - alive : 0;
    if (more > left / 2) more = (unsigned)(left / 2);
  }
  return alive + (more > SPARE ? more : SPARE);
}

static bool too_much (lua_State *L, const struct pressure *p, size_t held,
                      unsigned fds) {
  size_t lua;
  if (fds > p->most_fds)
    return true;
  if (held <= 2 * p->alive + SLACK)
    return false;
  lua = (size_t)lua_gc(L, LUA_GCCOUNT) * 1024;
  return held > 2 * (p->alive + lua) + SLACK;
}

/* guard: a step runs in spite of collectgarbage "stop", and must not */
static bool collects (lua_State *L) {
  return lua_gc(L, LUA_GCISRUNNING) > 0;
}

static void collect (lua_State *L, struct pressure *p) {
  lua_gc(L, LUA_GCCOLLECT);
  p->alive = p->applied = p->held;
  p->most_fds = most_fds(p->fds);
}

void pressure_search (lua_State *L, bool all) {
  if (!collects(L))
    return;
  if (all) collect(L, &state_of(L)->pressure);
  else compat_gc_step(L, PART);
}

void pressure_tell (lua_State *L, size_t bytes, unsigned fds) {
  struct pressure *p = &state_of(L)->pressure;
  size_t held = p->held + bytes + (size_t)fds * PRESSURE_FD;
  if (p->most_fds == 0) p->most_fds = most_fds(0);
  if (held < p->applied + STEP && p->fds + fds <= p->most_fds)
    return;
  if (!collects(L))
    return;
  if (too_much(L, p, held, p->fds + fds))
    collect(L, p);
  else if (held >= p->applied + STEP) {
    size_t kib = (held - p->applied) / 1024;
    p->applied = held;
    compat_gc_step(L, kib < INT32_MAX ? kib : INT32_MAX);
  }
}
