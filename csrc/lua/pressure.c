/*
** pressure: when to step the collector, and when to run it in full. It must
** not run while the program has stopped it.
*/

#include "compat.h"
#include "lua/pressure.h"

#include "lua/state.h"

#include <sys/resource.h>

#define STEP   ((size_t)64 << 10)   /* bytes of growth that are worth a step */
#define SLACK  ((size_t)64 << 20)   /* bytes of garbage always allowed */
#define FEW    256u                 /* garbage descriptors always allowed, */
#define SPARE  16u                  /* and when the limit is almost reached */
#define PARTS  8u                   /* of a limit: worth a full collection */
#define PART   256                  /* KiB of one step of pressure_search */


/* The number of descriptors above which a full collection runs, if `alive` are
** in use now: twice as many, but at most half of those that are left. */
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

/* guard: a step would run in spite of collectgarbage "stop" */
static bool gc_is_running (lua_State *L) {
  return lua_gc(L, LUA_GCISRUNNING) > 0;
}

static void collect_all (lua_State *L, struct pressure *p) {
  lua_gc(L, LUA_GCCOLLECT);
  p->left = account_held(state_of(L)->account);
  p->alive = p->applied = p->held;
  p->most_fds = most_fds(p->fds);
}

void pressure_search (lua_State *L, bool all) {
  if (!gc_is_running(L))
    return;
  if (all) collect_all(L, &state_of(L)->pressure);
  else compat_gc_step(L, PART);
}

void pressure_make_room (lua_State *L, size_t bytes) {
  struct state *s = state_of(L);
  size_t limit = account_limit(s->account), held;
  if (limit == SIZE_MAX)
    return;
  held = account_held(s->account);
  if (account_has_room(s->account, bytes)
      && (held < limit / 2 || held < s->pressure.left + limit / PARTS))
    return;
  if (gc_is_running(L)) collect_all(L, &s->pressure);
}

void pressure_tell (lua_State *L, size_t bytes, unsigned fds) {
  struct pressure *p = &state_of(L)->pressure;
  size_t held;
  pressure_make_room(L, bytes);
  held = p->held + bytes + (size_t)fds * PRESSURE_FD;
  if (p->most_fds == 0) p->most_fds = most_fds(0);
  if (held < p->applied + STEP && p->fds + fds <= p->most_fds)
    return;
  if (!gc_is_running(L))
    return;
  if (too_much(L, p, held, p->fds + fds))
    collect_all(L, p);
  else if (held >= p->applied + STEP) {
    size_t kib = (held - p->applied) / 1024;
    p->applied = held;
    compat_gc_step(L, kib < INT32_MAX ? kib : INT32_MAX);
  }
}
