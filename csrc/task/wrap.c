/*
** wrap: coroutines inside a task that may wait.
**
** Whichever of the coroutines a script closes, task's or wrapped, the wait of
** the task must end with it.
*/

#include "compat.h"
#include "task/wrap.h"

#include "task/wait_cancel.h"

#include "compat.h"  /* again: now with Lua's headers before it */

/*
** The upvalue of a wrapped function. It is a to-be-closed variable in two
** places: at the bottom of its own coroutine, so that a script that closes
** this one during a wait ends the wait; and in a call of the wrapped function
** that waits, so that a script that closes the caller's coroutine closes this
** one.
*/
struct wrapped {
  lua_State *co;            /* its user value */
  struct task *task;        /* the task that waits in it, or NULL */
  bool busy;                /* it runs, or its caller waits in it */
};

#define WRAPPED 2           /* the upvalue */


static int wrap_call (lua_State *L);

lua_State *wrap_innermost (lua_State *co) {
  lua_Debug ar;
  for (;;) {
    lua_State *inner = NULL;
    if (!lua_getstack(co, 0, &ar) || !lua_checkstack(co, 2))
      return co;
    lua_getinfo(co, "f", &ar);
    if (lua_tocfunction(co, -1) == wrap_call) {
      lua_getupvalue(co, -1, WRAPPED);
      inner = ((const struct wrapped *)lua_touserdata(co, -1))->co;
      lua_pop(co, 1);
    }
    lua_pop(co, 1);
    if (inner == NULL)
      return co;
    co = inner;
  }
}

static int wrap_resumed (lua_State *L, int status, lua_KContext ctx);

/* Close its coroutine. */
static int close_coroutine (lua_State *L, struct wrapped *w) {
  int status = lua_closethread(w->co, L);
  w->busy = false;
  return status;
}

/* Move the `n` results on top of its stack to the caller. */
static int move_results (lua_State *L, lua_State *co, int n) {
  if (!lua_checkstack(L, n + 1)) {
    lua_pop(co, n);
    return luaL_error(L, "too many results, or not enough memory");
  }
  lua_xmove(co, L, n);
  return n;
}

/* It has ended, with `n` values: a boolean, and f's results or error. */
static int wrap_ended (lua_State *L, lua_State *co, int n) {
  bool ok = lua_toboolean(co, -n);
  lua_remove(co, -n);
  n = move_results(L, co, n - 1);
  return ok ? n : lua_error(L);
}

/* Its coroutine had no memory to return its error. */
static int raise_broken (lua_State *L, struct wrapped *w) {
  lua_xmove(w->co, L, 1);
  close_coroutine(L, w);
  lua_settop(w->co, 0);
  return lua_error(L);
}

/* Resume f with `n` arguments; `cs` is the caller's innermost cancel scope. */
static int wrap_resume (lua_State *L, struct wrapped *w, int n,
                        lua_KContext cs) {
  lua_State *co = w->co;
  struct loop *loop = state_of(L)->loop;
  lua_State *before = loop ? loop->co : NULL;
  struct task *t = before == L && lua_isyieldable(L) ? loop->current : NULL;
  int results = 0, status;
  w->busy = true;
  if (loop) loop->co = t ? co : NULL;  /* guard: else no wait may suspend it */
  status = lua_resume(co, L, n, &results);
  if (loop) loop->co = before;
  if (status == LUA_YIELD && t && t->state != TASK_RUNNING) {
    w->task = t;
    if (lua_gettop(L) == 0) {  /* the first wait in this call */
      lua_pushvalue(L, lua_upvalueindex(WRAPPED));
      lua_toclose(L, 1);
    }
    return lua_yieldk(L, 0, cs, wrap_resumed);
  }
  if (status == LUA_YIELD && t && t->timer.owner_id != (uint32_t)cs) {
    close_coroutine(L, w);  /* guard: its scopes end before those around */
    lua_settop(w->co, 0);
    return luaL_error(L, "a wrapped function yields inside a uring.scope, "
                      "uring.timeout or uring.shield that it has begun");
  }
  if (status != LUA_OK && status != LUA_YIELD)
    return raise_broken(L, w);
  w->busy = false;
  return status == LUA_OK ? wrap_ended(L, co, results)
                          : move_results(L, co, results);
}

static int wrap_resumed (lua_State *L, int status, lua_KContext cs) {
  struct wrapped *w = lua_touserdata(L, lua_upvalueindex(WRAPPED));
  (void)status;
  if (loop_resumed(L) == NULL) return loop_yield_again(L, cs, wrap_resumed);
  w->task = NULL;
  if (lua_status(w->co) != LUA_YIELD) {  /* guard: closed by a script */
    w->busy = false;
    return luaL_error(L, "the wrapped function was ended from outside: its "
                      "coroutine was closed while it waited");
  }
  return wrap_resume(L, w, 0, cs);
}

static int wrap_call (lua_State *L) {
  struct wrapped *w = lua_touserdata(L, lua_upvalueindex(WRAPPED));
  struct loop *loop = loop_here(L);
  struct task *t = loop ? loop->current : NULL;
  int n = lua_gettop(L);
  if (w->busy)
    return luaL_error(L, "the wrapped function is running already, or waits "
                      "in the task that has called it");
  if (!loop_resumable(w->co))  /* guard: before it is touched */
    return luaL_error(L, "cannot resume a wrapped function that has ended");
  if (!lua_checkstack(w->co, n))
    return luaL_error(L, "too many arguments, or not enough memory");
  lua_xmove(L, w->co, n);
  if (lua_status(w->co) == LUA_OK)
    n = lua_gettop(w->co) - 1;  /* it begins: with what wrap_new pushed */
  return wrap_resume(L, w, n, t ? (lua_KContext)t->timer.owner_id : 0);
}

/* The end of its coroutine. From the bottom: the userdata, the message
** handler, f, and its arguments. The call is protected, as a task's is, so
** that to-be-closed variables may wait after an error. */
static int wrap_body_end (lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
  lua_replace(L, 2);
  return lua_gettop(L) - 1;
}

static int wrap_body (lua_State *L) {
  lua_toclose(L, 1);  /* guard: coroutine.close is noticed at once */
  return wrap_body_end(L, lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0,
                                     wrap_body_end), 0);
}

/* uring.wrap(f): like coroutine.wrap, but f may wait */
int wrap_new (lua_State *L) {
  struct wrapped *w;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  w = class_new(L, CLASS_WRAPPED, sizeof(*w), 1);
  w->co = lua_newthread(L);
  lua_setiuservalue(L, -2, 1);
  lua_pushcfunction(L, wrap_body);
  lua_pushvalue(L, -2);
  state_shared(L, SHARED_MSGH);
  lua_pushvalue(L, 1);
  lua_xmove(L, w->co, 4);
  lua_pushcclosure(L, wrap_call, 2);
  return 1;
}

/* At the end of its own coroutine: abandon the task's wait in it, if there is
** one. At the end of the call that waits in it: close its coroutine. */
static int wrap_close (lua_State *L) {
  struct wrapped *w = class_check(L, 1, CLASS_WRAPPED);
  struct loop *loop = loop_here(L);
  if (w->co != L) {
    if (w->busy && close_coroutine(L, w) != LUA_OK) {
      lua_xmove(w->co, L, 1);
      return lua_error(L);
    }
  }
  else if (w->task && loop)
    loop_abandon_wait(loop, w->task);
  w->task = NULL;
  return 0;
}

static const luaL_Reg no_methods[] = {
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__close", wrap_close},
  {NULL, NULL}
};

void wrap_open (lua_State *L) {
  class_define(L, CLASS_WRAPPED, no_methods, meta, NULL);
}
