#include "compat.h"
#include "wrap.h"

#include "proc.h"
#include "region.h"

#include "compat.h"  /* again: now with Lua's headers before it */

/* Upvalues of a wrapped function. */
#define COROUTINE 2
#define BUSY      3   /* it runs, or waits in the task that called it */


static int wrap_call (lua_State *L);

lua_State *wrap_innermost (lua_State *co) {
  lua_Debug ar;
  for (;;) {
    lua_State *inner = NULL;
    if (!lua_getstack(co, 0, &ar) || !lua_checkstack(co, 2))
      return co;
    lua_getinfo(co, "f", &ar);
    if (lua_tocfunction(co, -1) == wrap_call) {
      lua_getupvalue(co, -1, COROUTINE);
      inner = lua_tothread(co, -1);
      lua_pop(co, 1);
    }
    lua_pop(co, 1);
    if (inner == NULL)
      return co;
    co = inner;
  }
}

static void set_busy (lua_State *L, bool busy) {
  lua_pushboolean(L, busy);
  lua_replace(L, lua_upvalueindex(BUSY));
}

static int go_on (lua_State *L, int status, lua_KContext ctx);

/* What f has raised is raised here; its coroutine is closed first, and may
** have another error then. */
static int fail_as (lua_State *L, lua_State *co) {
  lua_xmove(co, L, 1);
  if (lua_closethread(co, L) != LUA_OK && lua_gettop(co) > 0)
    lua_xmove(co, L, 1);
  return lua_error(L);
}

/* Resume f with `n` arguments; `region` is where its caller was. */
static int resume (lua_State *L, int n, lua_KContext region) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(COROUTINE));
  struct loop *loop = state_of(L)->loop;
  lua_State *before = loop ? loop->co : NULL;
  struct task *t = before == L && lua_isyieldable(L) ? loop->current : NULL;
  int results = 0, status;
  set_busy(L, true);
  if (loop) loop->co = t ? co : NULL;  /* guard: else no wait may suspend it */
  status = lua_resume(co, L, n, &results);
  if (loop) loop->co = before;
  if (status == LUA_YIELD && t && t->state != TASK_RUNNING)
    return lua_yieldk(L, 0, region, go_on);
  set_busy(L, false);
  if (status == LUA_YIELD && t && t->timer.word != (uint32_t)region) {
    lua_closethread(co, L);  /* guard: its regions end before those around */
    return luaL_error(L, "a wrapped function yields inside a uring.scope, "
                      "uring.timeout or uring.shield that it has begun");
  }
  if (status != LUA_OK && status != LUA_YIELD)
    return fail_as(L, co);
  if (!lua_checkstack(L, results + 1)) {
    lua_pop(co, results);
    return luaL_error(L, "too many results");
  }
  lua_xmove(co, L, results);
  return results;
}

static int go_on (lua_State *L, int status, lua_KContext region) {
  (void)status;
  if (loop_resumed(L) == NULL) return lua_yieldk(L, 0, region, go_on);
  return resume(L, 0, region);
}

static int wrap_call (lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(COROUTINE));
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop && loop->proc == proc_id() ? loop->current : NULL;
  int n = lua_gettop(L);
  if (lua_toboolean(L, lua_upvalueindex(BUSY)))
    return luaL_error(L, "the wrapped function is running already, or was "
                      "left in the middle of a wait");
  if (lua_status(co) == LUA_OK && lua_gettop(co) == 0)
    return luaL_error(L, "cannot resume a wrapped function that has ended");
  if (!lua_checkstack(co, n))
    return luaL_error(L, "too many arguments");
  lua_xmove(L, co, n);
  return resume(L, n, t ? (lua_KContext)t->timer.word : 0);
}

/* uring.wrap(f): as coroutine.wrap, but f may wait */
int wrap_new (lua_State *L) {
  lua_State *co;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushboolean(L, 0);
  lua_pushcclosure(L, wrap_call, 3);
  return 1;
}
