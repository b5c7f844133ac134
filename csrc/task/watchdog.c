/*
** watchdog: measures how long tasks run, and calls on_slow.
**
** A report is made once, and must not disturb the task: the hook runs in the
** middle of any Lua code.
*/

#include "compat.h"
#include "task/watchdog.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "lua/options.h"
#include "task/inspect.h"
#include "task/task.h"
#include "task/wrap.h"

#include <math.h>

#define INSTRUCTIONS 10000   /* from one read of the clock to the next */


/* ---- on_slow ----------------------------------------------------------- */

/* Push "task 3 'reader' has run for …", of the task at 1. */
static void push_report_text (lua_State *L, const struct loop *loop,
                       lua_Number seconds) {
  const struct watched *w = &loop->watched;
  const struct task *t = lua_touserdata(L, 1);
  bool cancelled = w->swallows
                   || (t->state < TASK_DONE
                       && (t->task_flags & TASKF_CANCELLED));
  inspect_push_name_in(L, 1, w->scope);
  lua_pushfstring(L, "%s has %s for %f s%s%s%s%s", lua_tostring(L, -1),
                  w->swallows ? "gone on" : "run", seconds,
                  w->swallows ? "" : " without waiting",
                  cancelled ? ", although it was cancelled: does it catch "
                              "uring.cancelled?" : "",
                  loop->current == t ? "" : t->state >= TASK_DONE
                    ? " (and has ended)" : " (it has just stopped there)",
                  cancelled ? " uring.pcall lets it through" : "");
  lua_remove(L, -2);
}

/* Push the text on top with a traceback and where the task was spawned. */
static void push_report_traceback (lua_State *L, const struct loop *loop) {
  const struct watched *w = &loop->watched;
  const struct task *t = lua_touserdata(L, 1);
  if (t->state < TASK_DONE) {
    bool runs = loop->current == t;
    luaL_traceback(L, runs ? L : wrap_innermost(t->node.co),
                   lua_tostring(L, -1), runs ? 1 : 0);
    task_push_spawned(L, t->node.co);
  }
  else {
    lua_pushvalue(L, -1);
    if (w->line > 0) lua_pushfstring(L, "%s:%d", w->file, w->line);
    else if (t->state == TASK_FAILED) {
      /* it was broken or closed: its outcome has the place */
      lua_getiuservalue(L, 1, TASK_OUTCOME);
      lua_rawgeti(L, -1, 3);
      lua_replace(L, -2);
    }
    else lua_pushliteral(L, "?");  /* guard: it was spawned from C */
  }
  lua_pushfstring(L, "%s" SPAWNED "%s)", lua_tostring(L, -2),
                  lua_tostring(L, -1));
}

/* Pop on_slow and its arguments, and call it; without it warn of the report,
** the last of them. */
static void tell (lua_State *L) {
  if (!lua_isnil(L, -4)) {
    lua_call(L, 3, 0);
    return;
  }
  lua_warning(L, "uring: ", 1);
  lua_warning(L, lua_tostring(L, -1), 0);
  lua_pop(L, 4);
}

/* report([task]): call on_slow(task, seconds, traceback), or warn. Without an
** argument it runs in the task itself; else that task has stopped. (A closure,
** because the state must be its upvalue.) */
static int report (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct watched *w = &loop->watched;
  lua_Number seconds;
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    const struct task *t = loop->current;
    w->scope = cancel_scope_of_task(loop, t)->id;
    task_push(L, t);
    lua_replace(L, 1);
  }
  seconds = (lua_Number)((clock_now() - (w->swallows ? w->since : w->began))
                         / 1000000) / 1e3;
  w->reported = true;
  state_shared(L, SHARED_ON_SLOW);
  lua_pushvalue(L, 1);
  lua_pushnumber(L, seconds);
  push_report_text(L, loop, seconds);
  push_report_traceback(L, loop);
  lua_replace(L, 5);
  lua_settop(L, 5);
  tell(L);
  return 0;
}

void watchdog_tell (lua_State *L, lua_Number seconds) {
  state_shared(L, SHARED_ON_SLOW);
  lua_pushvalue(L, 1);
  lua_pushnumber(L, seconds);
  lua_rotate(L, -4, 3);
  tell(L);
}


/* ---- measuring --------------------------------------------------------- */

static bool is_late (const struct loop *loop) {
  return !loop->watched.reported
         && clock_now() - loop->watched.began > loop->slow;
}

static void watchdog_hook (lua_State *L, lua_Debug *ar) {
  struct state *s = state_get(L);
  struct loop *loop = s ? s->loop : NULL;
  (void)ar;
  if (loop == NULL || loop->slow == 0 || loop->current == NULL
      || !is_late(loop) || loop->fork_id != fork_id())
    return;
  state_push(L);
  lua_getiuservalue(L, -1, SHARED_REPORT);
  lua_call(L, 0, 0);
  lua_pop(L, 1);
}

void watchdog_begin (lua_State *L, struct loop *loop, struct task *t) {
  struct watched *w = &loop->watched;
  lua_State *co = t->node.co;
  task_push(L, t);
  w->task = t;
  w->scope = cancel_scope_of_task(loop, t)->id;
  w->line = 0;
  w->reported = w->swallows = false;
  w->began = clock_now();
  if (!loop->host_time) loop->now = clock_ms(w->began);
  if (lua_gethook(co) == NULL)
    lua_sethook(co, watchdog_hook, LUA_MASKCOUNT, INSTRUCTIONS);
}

/* Must the task that has just stopped be reported for ignoring its
** cancellation? */
static bool swallows (const struct loop *loop, struct watched *w) {
  struct task *t = w->task;
  if (t != w->suspect)
    return false;
  if (t->state >= TASK_DONE || !cancel_scope_pending(loop, t))
    w->suspect = NULL;  /* it has ended, or is no longer cancelled */
  else if (w->refused && ++w->refusals >= REFUSALS
           && clock_now() - w->since > loop->slow) {
    w->suspect = NULL;
    t->task_flags |= TASKF_REPORTED;
    w->swallows = !w->reported;
  }
  return w->swallows;
}

void watchdog_end (lua_State *L, struct loop *loop) {
  if (swallows(loop, &loop->watched) || is_late(loop)) {
    state_shared(L, SHARED_REPORT);
    lua_insert(L, -2);
    lua_call(L, 1, 0);
  }
  else
    lua_pop(L, 1);
}

int64_t watchdog_options (lua_State *L, int arg) {
  lua_Number seconds = 0;
  options_push(L, arg, "slow");
  options_push(L, arg, "on_slow");
  if (!lua_isnil(L, -1) || !lua_isnil(L, -2)) {
    if (!lua_isnil(L, -2)
        && (lua_type(L, -2) != LUA_TNUMBER
            || !((seconds = lua_tonumber(L, -2)) > 0)
            || (seconds >= 9e9 && seconds != HUGE_VAL)))
      luaL_argerror(L, arg, "option 'slow' must be seconds, more than 0");
    if (!lua_isfunction(L, -1))
      luaL_argerror(L, arg, "option 'on_slow' must be a function: it is "
                    "called with a task that runs for longer than 'slow'");
  }
  lua_remove(L, -2);
  return seconds < HUGE_VAL ? (int64_t)(seconds * 1e9) : 0;
}

void watchdog_usual (lua_State *L, struct loop *loop, int64_t slow) {
  loop->usually_slow = loop->slow = slow;
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_USUAL_ON_SLOW);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_ON_SLOW);
}

void watchdog_reset (lua_State *L, struct loop *loop, int64_t slow) {
  loop->slow = slow;
  loop->watched.suspect = NULL;
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    loop->slow = loop->usually_slow;
    state_shared(L, SHARED_USUAL_ON_SLOW);
  }
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_ON_SLOW);
}

void watchdog_open (lua_State *L) {
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, report, 1);
  lua_setiuservalue(L, -2, SHARED_REPORT);
}
