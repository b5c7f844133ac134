/*
** step: the budget of a step, and its rounds: submit and take, let deadlines
** pass, resume.
**
** Whatever is raised in a step, by on_error or by a hook, the loop is as
** before, and its descriptor tells what is left.
*/

#include "compat.h"
#include "host/step.h"

#include "lua/errors.h"
#include "lua/options.h"
#include "host/loop_fd.h"
#include "task/detached.h"
#include "task/loop_object.h"
#include "task/resume.h"
#include "task/scope.h"
#include "task/turn.h"

#include <math.h>
#include <string.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#define BATCH       64          /* deadlines between two looks at the time */
#define FAR         100000000   /* ns: many times what the coarse clock lags */
#define LATEST      9.2e9       /* seconds that nanoseconds can count */
#define LEAST       0           /* of the collector's stepmul */

/* ---- options ----------------------------------------------------------- */

static double read_seconds (lua_State *L, const char *name) {
  double s = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(s >= 0))
    luaL_argerror(L, 2, lua_pushfstring(L, "option '%s' must be seconds, 0 or "
      "more, got %s", name, options_got(L)));
  return s;
}

static unsigned read_max (lua_State *L) {
  int ok = 0;
  lua_Integer n = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &ok)
                                                 : 0;
  return ok && n >= 1 && n <= INT32_MAX ? (unsigned)n
    : (unsigned)options_integer(L, 2, "max", 64, 1, INT32_MAX);
}

static double read_now (lua_State *L) {
  double now = read_seconds(L, "now");
  if (now >= LATEST)
    luaL_argerror(L, 2, "option 'now' is too large");
  return now;
}

/* The option whose name is below its value. Returns false if there is no such.
** (A step allocates nothing, so names are compared, and not pushed. All begin
** differently, and to compare one takes as long as half an idle step.) */
static bool read_option (lua_State *L, struct step *s) {
  const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
  switch (*name) {
    case 'm':
      if (strcmp(name, "max") != 0) return false;
      s->most = read_max(L);
      return true;
    case 's':
      if (strcmp(name, "seconds") != 0) return false;
      s->seconds = read_seconds(L, name);
      return true;
    case 'n':
      if (strcmp(name, "now") != 0) return false;
      s->now = read_now(L);
      return true;
    case 'g':
      if (strcmp(name, "gc") != 0) return false;
      s->gc = options_boolean(L, 2, name);
      return true;
    default:
      return false;
  }
}

static void read_options (lua_State *L, struct step *s) {
  static const char *const names[] = { "max", "seconds", "now", "gc", NULL };
  *s = (struct step)STEP_USUAL;
  if (lua_isnoneornil(L, 2))
    return;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushnil(L);
  while (lua_next(L, 2)) {
    if (!read_option(L, s)) options_open(L, 2, names);  /* (which raises) */
    lua_pop(L, 1);
  }
}

static int64_t nanoseconds (double now) {
  return (int64_t)(now * 1e9 + 0.5);
}

const char *step_time_problem (const struct loop *loop,
                               const struct step *s) {
  if (s->now < 0)
    return loop->host_time ? "this loop's time is its host's since a step "
                             "with a 'now': each later step needs one" : NULL;
  if (s->now >= LATEST)
    return "option 'now' is too large";
  if (!loop->host_time)
    return loop->heap.n > 0 ? "option 'now' comes too late: tasks have set "
                              "timers by the clock of the system" : NULL;
  return nanoseconds(s->now) < loop->time
         ? "option 'now' must not be less than in the last step" : NULL;
}

/* From the first `now` on the time is the host's. */
static void set_time (struct loop *loop, const struct step *s) {
  if (s->now < 0)
    return;
  if (!loop->host_time) {
    loop_fd_host_time(loop);
    loop->host_time = true;
  }
  loop->time = nanoseconds(s->now);
}


/* ---- a step ------------------------------------------------------------ */

static bool is_over (const struct step *s) {
  return s->until != CLOCK_NEVER && clock_now() >= s->until;
}

static unsigned left (unsigned most, unsigned used) {
  return used < most ? most - used : 0;
}

static unsigned expire (struct loop *loop, const struct step *s,
                        unsigned most) {
  unsigned total = 0;
  while (total < most && turn_due(loop, s->instant) && !is_over(s))
    total += turn_expire(loop, s->instant,
                         left(most, total) < BATCH ? left(most, total)
                                                   : BATCH);
  return total;
}

/* What is left of the time is the collector's, in the smallest steps that it
** can do, until it has ended a cycle; without a limit it does a usual one. */
static void collect (lua_State *L, const struct step *s) {
  int usual;
  if (s->until == CLOCK_NEVER) {
    compat_gc_step(L, 0);
    return;
  }
  usual = compat_gc_stepmul(L, LEAST);
  while (!is_over(s) && !compat_gc_step(L, 0)) continue;
  compat_gc_stepmul(L, usual);
}

/* work(step): called protected */
static int step_work (lua_State *L) {
  const struct step *s = lua_touserdata(L, 1);
  struct loop *loop = state_of(L)->loop;
  unsigned served = 0, taken = 0, expired = 0, used = 0, n;
  lua_settop(L, 0);
  do {
    unsigned before = served + taken + expired + used;
    served += turn_serve_doorbell(loop, left(s->most, served), s->until);
    n = turn_serve(L, loop, left(s->most, taken), s->until);
    taken += n;
    loop->taken += n;
    expired += expire(loop, s, left(s->most, expired));
    used += task_resume_some(L, loop, left(s->most, used), s->until);
    n = served + taken + expired + used - before;
  } while (n > 0 && used < s->most && !is_over(s)
           && (turn_at_hand(loop) || turn_due(loop, s->instant)));
  turn_submit(loop);
  if (loop->failed) detached_report(L, loop);
  if (s->gc) collect(L, s);
  return 0;
}

/* Is there nothing to do? */
static bool is_idle (struct loop *loop, const struct step *s) {
  /* (the descriptors before what is so in each step: that reads them) */
  return !turn_at_hand(loop) && !turn_due(loop, s->instant) && !loop->failed
         && !loop_fd_pending(loop, s->instant)
         && !s->gc && !turn_is_blind(loop);
}

static void begin (struct loop *loop, struct step *s) {
  loop->running = loop->stepping = true;  /* guard: no step inside a step */
  loop->ring->driven = true;
  loop->now = clock_ms(s->instant);
  loop_fd_begin(loop);
}

static void end (struct loop *loop) {
  loop->running = loop->stepping = loop->ring->driven = false;
  loop->head_start = 0;
}

/* Is there no deadline for a while? Then an idle step need not know the exact
** time, which would take half of it. */
static bool is_far (const struct loop *loop) {
  int64_t first = loop->heap.n > 0 ? loop->heap.at[0].when : CLOCK_NEVER;
  if (loop->fds.armed < first) first = loop->fds.armed;
  return first == CLOCK_NEVER
         || (!loop->host_time && first - clock_coarse() > FAR);
}

/* Deadlines are judged by one instant. */
static void set_instant (const struct loop *loop, struct step *s) {
  s->instant = is_far(loop) ? INT64_MIN : loop_time(loop);
  s->until = CLOCK_NEVER;
}

static void set_limit (struct loop *loop, struct step *s) {
  if (s->instant == INT64_MIN || loop->host_time) s->instant = loop_time(loop);
  if (s->seconds >= 0)
    s->until = clock_after(clock_from_seconds(s->seconds));
}

bool step_begin (struct loop *loop, struct step *s) {
  s->more = false;
  s->resumed = 0;
  set_time(loop, s);
  loop->steps++;
  set_instant(loop, s);
  return !is_idle(loop, s);
}

void step_perform (lua_State *L, struct loop *loop, struct step *s) {
  bool failed;
  int status;
  if (loop->state->set_handlers) loop->state->set_handlers(loop->state);
  set_limit(loop, s);
  s->resumed = loop->resumed;
  begin(loop, s);
  state_shared(L, SHARED_STEP);
  lua_pushlightuserdata(L, s);
  status = lua_pcall(L, 1, 0, 0);
  end(loop);
  if (status != LUA_OK && loop_here(L) != loop)  /* guard: fork */
    raise_again(L);
  failed = status == LUA_OK && detached_push_failed(L, loop);
  s->resumed = loop->resumed - s->resumed;
  s->more = loop_fd_settle(loop);
  if (status != LUA_OK)
    raise_again(L);
  if (failed)
    scope_rethrow(L, lua_gettop(L));
}

/* loop:step{ max=, seconds=, now=, gc= }: more, resumed */
static int loop_step (lua_State *L) {
  struct loop *loop = loop_check_object(L);
  struct step s;
  const char *problem;
  read_options(L, &s);
  if (loop->running)
    return luaL_error(L, "loop:step inside a %s: the loop is running already",
                      loop->stepping ? "step" : "run");
  loop_bind(L, loop);
  problem = step_time_problem(loop, &s);
  if (problem)
    return luaL_argerror(L, 2, problem);
  if (step_begin(loop, &s)) step_perform(L, loop, &s);
  lua_pushboolean(L, s.more);
  lua_pushinteger(L, (lua_Integer)s.resumed);
  return 2;
}


/* ---- what a host asks -------------------------------------------------- */

/* loop:fd(): a descriptor that is readable while a step would do something */
static int loop_fd (lua_State *L) {
  struct loop *loop = loop_check_object(L);
  int fd = loop_fd_open(loop);
  if (fd == -EPERM && loop_is_elsewhere(loop))
    loop_bind(L, loop);  /* (which raises) */
  if (fd < 0)
    return fail(L, -fd, "loop:fd: cannot make the descriptor");
  lua_pushinteger(L, fd);
  return 1;
}

double step_timeout (const struct loop *loop) {
  int64_t ns;
  if (turn_at_hand(loop) || loop->failed)
    return 0;
  if (loop->heap.n == 0)
    return HUGE_VAL;
  ns = loop->heap.at[0].when - loop_time(loop);
  return ns > 0 ? (double)ns / 1e9 : 0;
}

/* loop:timeout(): seconds that the host may sleep */
static int loop_timeout (lua_State *L) {
  lua_pushnumber(L, (lua_Number)step_timeout(loop_check_object(L)));
  return 1;
}

static void push_worst (lua_State *L, const struct worst *w) {
  struct worst copy = *w;  /* (a push may run finalizers) */
  lua_createtable(L, 0, 4);
  lua_pushnumber(L, (lua_Number)copy.ns / 1e9);
  lua_setfield(L, -2, "seconds");
  lua_pushstring(L, copy.task);
  lua_setfield(L, -2, "task");
  if (copy.line == 0)
    return;
  lua_pushstring(L, copy.file);
  lua_setfield(L, -2, "file");
  lua_pushinteger(L, copy.line);
  lua_setfield(L, -2, "line");
}

/* loop:stats(): { steps=, resumed=, taken=, tasks=, memory=, memory_limit=,
** unflushed=, spins=, spins_in_vain=, worst= } */
static int loop_stats (lua_State *L) {
  const struct loop *loop = loop_check_object(L);
  const struct account *account = loop->state->account;
  struct { const char *name; uint64_t value; } const fields[] = {
    {"steps", loop->steps}, {"resumed", loop->resumed},
    {"taken", loop->taken}, {"tasks", loop->ntasks},
    {"memory", account_held(account)},
    {"memory_limit", account_limit(account)},
    {"unflushed", loop->state->unflushed},
    {"spins", loop->spin.count}, {"spins_in_vain", loop->spin.in_vain},
  };
  lua_createtable(L, 0, 10);
  for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
    if (fields[i].value == SIZE_MAX) continue;  /* no limit */
    lua_pushinteger(L, (lua_Integer)fields[i].value);
    lua_setfield(L, -2, fields[i].name);
  }
  if (loop->worst.ns > 0) {
    push_worst(L, &loop->worst);
    lua_setfield(L, -2, "worst");
  }
  return 1;
}


static const luaL_Reg methods[] = {
  {"step", loop_step},
  {"fd", loop_fd},
  {"timeout", loop_timeout},
  {"stats", loop_stats},
  {NULL, NULL}
};

void step_open (lua_State *L) {
  class_extend(L, CLASS_LOOP, methods);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, step_work, 1);
  lua_setiuservalue(L, -2, SHARED_STEP);
}
