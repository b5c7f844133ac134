#include "compat.h"
#include "task.h"

#include "args.h"
#include "clock.h"
#include "errors.h"
#include "options.h"
#include "proc.h"

/* At the bottom of a task's coroutine, below its function. */
#define SPAWN_FUNCTION 1
#define SPAWN_LINE     2
#define HANDLER        3


void task_push (lua_State *L, const struct task *t) {
  state_shared(L, SHARED_TASKS);
  lua_rawgeti(L, -1, t->place);
  lua_remove(L, -2);
}


/* ---- in words ---------------------------------------------------------- */

static void push_place (lua_State *L, lua_State *co) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(co, level, &ar); level++) {
    lua_getinfo(co, "Sl", &ar);
    if (ar.currentline > 0) {
      lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
      return;
    }
  }
  lua_pushliteral(L, "?");
}

/* "task 3 'reader'" */
static void push_name (lua_State *L, const struct task *t) {
  state_shared(L, SHARED_NAMES);
  task_push(L, t);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_type(L, -1) == LUA_TSTRING)
    lua_pushfstring(L, "task %d '%s'", (int)t->place, lua_tostring(L, -1));
  else
    lua_pushfstring(L, "task %d", (int)t->place);
  lua_remove(L, -2);
}

/* Where a task was spawned. The function that did so and the line lie at the
** bottom of the task's coroutine, if that has not been closed. */
static void push_spawned (lua_State *L, lua_State *co) {
  lua_Debug ar;
  int level = 0, top = lua_gettop(co);
  bool found;
  luaL_checkstack(co, 3, NULL);
  while (lua_getstack(co, level, &ar)) level++;
  if (level > 0) {
    lua_getstack(co, level - 1, &ar);
    found = lua_getlocal(co, &ar, SPAWN_LINE) != NULL
            && lua_getlocal(co, &ar, SPAWN_FUNCTION) != NULL;
  }
  else if ((found = top > SPAWN_LINE)) {  /* not begun yet */
    lua_pushvalue(co, 1 + SPAWN_LINE);
    lua_pushvalue(co, 1 + SPAWN_FUNCTION);
  }
  if (found && lua_isfunction(co, -1)) {
    lua_getinfo(co, ">S", &ar);
    lua_pushfstring(co, "%s:%d", ar.short_src, (int)lua_tointeger(co, -1));
    lua_remove(co, -2);
  }
  else {
    lua_settop(co, top);
    lua_pushliteral(co, "?");
  }
  if (L != co) lua_xmove(co, L, 1);
}

void task_describe (lua_State *L, const struct task *t) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 10, NULL);
  push_name(L, t);
  switch (t->state == TASK_WAITING ? t->wait : WAIT_NOTHING) {
    case WAIT_SLEEP: lua_pushliteral(L, "sleeps"); break;
    case WAIT_AWAIT: case WAIT_OPERATION: case WAIT_CHAIN:
      lua_pushfstring(L, "waits for an operation on ring (fd %d)",
                      t->ring->io.ring_fd);
      break;
    case WAIT_MESSAGE:
      lua_pushfstring(L, "waits for a message to ring (fd %d)",
                      t->ring->io.ring_fd);
      break;
    case WAIT_LINE: {
      const struct line *line = t->on;
      lua_pushfstring(L, "waits %s (fd %d)", line->what, line->fd);
      break;
    }
    case WAIT_JOIN:
      push_name(L, t->on);
      lua_pushfstring(L, "waits for %s to end", lua_tostring(L, -1));
      lua_remove(L, -2);
      break;
    default: lua_pushliteral(L, "is ready"); break;
  }
  push_place(L, t->co);
  push_spawned(L, t->co);
  lua_pushfstring(L, "%s %s at %s (spawned at %s)",
                  lua_tostring(L, top + 1), lua_tostring(L, top + 2),
                  lua_tostring(L, top + 3), lua_tostring(L, top + 4));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}


/* ---- tasks ------------------------------------------------------------- */

/* Under every task: its function, called so that to-be-closed variables run,
** and may wait, whatever ends it. Returns true, table of results or nil, how
** many; or false, { error, traceback } or cancelled, 0. */
static int body_end (lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  luaL_checkstack(L, 4, NULL);  /* (as many results as fit may be there) */
  if (status == LUA_OK || status == LUA_YIELD) {
    int n = lua_gettop(L) - HANDLER;
    if (n == 0) lua_pushnil(L);
    else {
      lua_createtable(L, n, 0);
      lua_replace(L, HANDLER);
      for (int i = n; i > 0; i--) lua_rawseti(L, HANDLER, i);
    }
    lua_pushboolean(L, 1);
    lua_insert(L, -2);
    lua_pushinteger(L, n);
    return 3;
  }
  if (status != LUA_ERRRUN) {  /* the handler had no chance to word it */
    lua_createtable(L, 1, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
  }
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  lua_pushinteger(L, 0);
  return 3;
}

static int body (lua_State *L) {
  return body_end(L, lua_pcallk(L, lua_gettop(L) - HANDLER - 1, LUA_MULTRET,
                                HANDLER, 0, body_end), 0);
}

/* The message handler: { value, traceback, where the task was spawned }, but
** for a cancellation. */
static int handler (lua_State *L) {
  state_shared(L, SHARED_CANCELLED);
  if (lua_rawequal(L, 1, -1))
    return 1;
  lua_createtable(L, 3, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  luaL_traceback(L, L, NULL, 1);
  lua_rawseti(L, -2, 2);
  push_spawned(L, L);
  lua_rawseti(L, -2, 3);
  return 1;
}

/* The nearest Lua function that runs, and its line; nil and 0 if none does.*/
static void push_caller (lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "l", &ar);
    if (ar.currentline > 0) {
      lua_getinfo(L, "f", &ar);
      lua_pushinteger(L, ar.currentline);
      return;
    }
  }
  lua_pushnil(L);
  lua_pushinteger(L, 0);
}

/* A task for the function at 1 with what is above it as its arguments; the
** task replaces them all. In the function's place there may be a table. */
struct task *task_new (lua_State *L, struct loop *loop) {
  static const char *const names[] = { "main", "name", NULL };
  int n = lua_gettop(L);
  bool named = false;
  uint32_t place;
  struct task *t;
  lua_State *co;
  if (lua_istable(L, 1)) {
    options_open(L, 1, names);
    lua_pushliteral(L, "name");
    lua_rawget(L, 1);
    if (!lua_isnil(L, -1)) {
      if (lua_type(L, -1) != LUA_TSTRING)
        luaL_argerror(L, 1, "option 'name' must be a string");
      named = true;
    }
    lua_insert(L, 2);
    n++;
    lua_pushliteral(L, "main");
    if (lua_rawget(L, 1) != LUA_TFUNCTION)
      luaL_argerror(L, 1, "option 'main' must be a function");
    lua_replace(L, 1);
  }
  else {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushnil(L);
    lua_insert(L, 2);
    n++;
  }
  luaL_checkstack(L, n + 10, "too many arguments");
  t = class_new(L, CLASS_TASK, sizeof(*t), 1);
  co = lua_newthread(L);
  lua_setiuservalue(L, -2, TASK_COROUTINE);
  if (!lua_checkstack(co, n + 10))
    luaL_error(L, "not enough memory for a task");
  t->co = co;
  if (named) {
    state_shared(L, SHARED_NAMES);
    lua_pushvalue(L, n + 1);
    lua_pushvalue(L, 2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  state_shared(L, SHARED_BODY);
  push_caller(L);
  state_shared(L, SHARED_HANDLER);
  lua_xmove(L, co, 4);
  state_shared(L, SHARED_TASKS);
  place = loop->free_place ? loop->free_place : loop->nplaces + 1;
  lua_rawgeti(L, -1, place);
  lua_pushvalue(L, n + 1);
  lua_rawseti(L, -3, place);  /* the last that may raise */
  if (loop->free_place) loop->free_place = (uint32_t)lua_tointeger(L, -1);
  else loop->nplaces = place;
  lua_pop(L, 2);
  lua_insert(L, 1);           /* the task, below its function */
  lua_remove(L, 3);           /* the name */
  lua_xmove(L, co, n - 1);    /* the function and its arguments */
  t->place = place;
  t->res = n + 2;             /* with spawner, line, and handler */
  loop->ntasks++;
  loop_ready(loop, t);
  t->state = TASK_NEW;
  if (loop->ending) t->marks |= MARK_CANCELLED;
  return t;
}

int task_spawn (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  if (loop == NULL || loop->current == NULL || loop->proc != proc_id())
    return luaL_error(L, "uring.spawn belongs in a task: call it in a "
                      "function that runs under uring.run");
  task_new(L, loop);
  return 1;
}

int task_push_outcome (lua_State *L, int task) {
  const struct task *t = lua_touserdata(L, task);
  int n = t->res, at;
  luaL_checkstack(L, n + 4, "too many results");
  lua_getiuservalue(L, task, TASK_OUTCOME);
  at = lua_gettop(L);
  if (t->state == TASK_DONE) {
    lua_pushboolean(L, 1);
    for (int i = 1; i <= n; i++) lua_rawgeti(L, at, i);
    return n + 1;
  }
  luaL_pushfail(L);
  state_shared(L, SHARED_CANCELLED);
  if (lua_rawequal(L, at, -1)) {
    lua_pop(L, 1);
    lua_pushliteral(L, "the task was cancelled");
    lua_pushinteger(L, ECANCELED);
    return 3;
  }
  lua_pop(L, 1);
  lua_rawgeti(L, at, 1);
  return 2;
}

static int join_end (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct task *of = class_check(L, 1, CLASS_TASK);
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, join_end);
  loop_check(L, t);
  return of->state >= TASK_DONE ? task_push_outcome(L, 1) : fail_timeout(L);
}

static int join (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *of = class_check(L, 1, CLASS_TASK);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = loop_enter(L, loop, "task:join");
  if (of == t)
    return luaL_argerror(L, 1, "a task cannot join itself");
  if (of->state >= TASK_DONE) {
    if (!loop_unfair(t))
      return join_end(L, LUA_OK, 0);
    return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER, 0, join_end);
  }
  loop_reserve(L);
  loop_await_end(t, of);
  return loop_wait(L, t, WAIT_JOIN, of, clock_after(ns), 0, join_end);
}

static int t_tostring (lua_State *L) {
  static const char *const states[] = {
    "new", "ready", "running", "waiting", "done", "failed"
  };
  struct task *t = class_check(L, 1, CLASS_TASK);
  state_shared(L, SHARED_NAMES);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, -2) == LUA_TSTRING)
    lua_pushfstring(L, "uring.Task ('%s', %s)", lua_tostring(L, -1),
                    states[t->state]);
  else
    lua_pushfstring(L, "uring.Task (%s)", states[t->state]);
  return 1;
}


static const luaL_Reg methods[] = {
  {"join", join},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__tostring", t_tostring},
  {NULL, NULL}
};

static int c_tostring (lua_State *L) {
  lua_pushliteral(L, "uring.cancelled");
  return 1;
}

static void share_function (lua_State *L, lua_CFunction f, int which) {
  int state = lua_gettop(L);
  lua_pushvalue(L, state);
  lua_pushcclosure(L, f, 1);
  lua_setiuservalue(L, state, which);
}

void task_open (lua_State *L) {
  int state = lua_gettop(L);
  class_define(L, CLASS_TASK, methods, meta, NULL);
  share_function(L, body, SHARED_BODY);
  share_function(L, handler, SHARED_HANDLER);
  lua_newtable(L);  /* the value uring.cancelled */
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, c_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, "uring.cancelled");
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_setiuservalue(L, state, SHARED_CANCELLED);
  lua_newtable(L);
  lua_setiuservalue(L, state, SHARED_CHAINS);
  lua_newtable(L);  /* the names of tasks */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setiuservalue(L, state, SHARED_NAMES);
}
