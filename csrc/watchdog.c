#include "compat.h"
#include "watchdog.h"

#include "clock.h"
#include "look.h"
#include "options.h"
#include "proc.h"
#include "task.h"

#define INSTRUCTIONS 10000   /* between two looks at the clock */


/* on_slow(task, seconds, traceback). `L` runs the task, or its loop, and in
** the library's functions alone the state is an upvalue. */
static int report (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop->watched;
  bool runs = loop->current == t;
  int64_t ms = (clock_now() - loop->began) / 1000000;
  lua_Number seconds = (lua_Number)ms / 1e3;
  loop->told = true;
  lua_settop(L, 0);
  state_shared(L, SHARED_ON_SLOW);
  task_push(L, t);
  lua_pushnumber(L, seconds);
  look_push_name(L, t);
  lua_pushfstring(L, "%s has run for %f s without waiting%s%s",
                  lua_tostring(L, -1), seconds,
                  t->marks & MARK_CANCELLED
                    ? ", although it was cancelled: does it catch "
                      "uring.cancelled?" : "",
                  runs ? "" : " (it has just stopped there)");
  lua_remove(L, -2);
  luaL_traceback(L, runs ? L : t->seat.co, lua_tostring(L, -1), runs ? 1 : 0);
  lua_remove(L, -2);
  lua_call(L, 3, 0);
  return 0;
}

static bool late (const struct loop *loop) {
  return !loop->told && clock_now() - loop->began > loop->slow;
}

static void hook (lua_State *L, lua_Debug *ar) {
  struct state *s = state_get(L);
  struct loop *loop = s ? s->loop : NULL;
  (void)ar;
  if (loop == NULL || loop->slow == 0 || loop->current == NULL
      || !late(loop) || loop->proc != proc_id())
    return;
  state_push(L);
  lua_getiuservalue(L, -1, SHARED_REPORT);
  lua_call(L, 0, 0);
  lua_pop(L, 1);
}

void watchdog_begin (struct loop *loop, lua_State *co) {
  loop->began = clock_now();
  loop->told = false;
  loop->watched = loop->current;
  if (lua_gethook(co) == NULL)
    lua_sethook(co, hook, LUA_MASKCOUNT, INSTRUCTIONS);
}

bool watchdog_end (lua_State *L, struct loop *loop) {
  if (!late(loop))
    return true;
  state_shared(L, SHARED_REPORT);
  return lua_pcall(L, 0, 0, 0) == LUA_OK;
}

void watchdog_options (lua_State *L, struct loop *loop, int arg) {
  lua_Number seconds = 0;
  lua_getfield(L, arg, "slow");
  lua_getfield(L, arg, "on_slow");
  if (lua_isnil(L, -1) && lua_isnil(L, -2)) {
    lua_pop(L, 2);
    return;
  }
  if (lua_type(L, -2) != LUA_TNUMBER
      || !((seconds = lua_tonumber(L, -2)) > 0 && seconds < 9e9))
    luaL_argerror(L, arg, "option 'slow' must be seconds, more than 0");
  if (!lua_isfunction(L, -1))
    luaL_argerror(L, arg, "option 'on_slow' must be a function: it is told "
                  "of a task that runs for longer than 'slow'");
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_ON_SLOW);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, report, 1);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_REPORT);
  loop->slow = (int64_t)(seconds * 1e9);
  lua_pop(L, 1);
}

void watchdog_keep (lua_State *L, struct loop *loop) {
  loop->usually_slow = loop->slow;
  state_shared(L, SHARED_ON_SLOW);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_USUAL_ON_SLOW);
}

void watchdog_reset (lua_State *L, struct loop *loop) {
  loop->slow = loop->usually_slow;
  state_shared(L, SHARED_USUAL_ON_SLOW);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_ON_SLOW);
}
