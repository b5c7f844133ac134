/*
** task: makes a task's coroutine, and turns its end into an outcome.
**
** Nothing may raise between the first change of a scope and the moment when
** the task is ready, and nothing may raise in a task's coroutine from outside
** it.
*/

#include "compat.h"
#include "task/task.h"

#include "lua/errors.h"
#include "lua/options.h"
#include "task/wait_cancel.h"

#include <string.h>

/* At the bottom of a task's coroutine, below its function. */
#define SPAWN_FUNCTION 1
#define SPAWN_LINE     2
#define SELF           3
#define HANDLER        4

#define FEW_ARGS 6  /* arguments that fit on a stack without a check */


void task_push (lua_State *L, const struct task *t) {
  cancel_scope_push_task(L, cancel_scope_of_task(state_of(L)->loop, t),
                         t->place);
}


/* The frame at the bottom of a coroutine, by bisection: lua_getstack takes
** time in proportion to the level. */
static bool bottom_frame (lua_State *co, lua_Debug *ar) {
  int low = 0, high = 1;
  if (!lua_getstack(co, 0, ar))
    return false;
  while (lua_getstack(co, high, ar)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (lua_getstack(co, middle, ar)) low = middle;
    else high = middle;
  }
  return lua_getstack(co, low, ar);
}

/* Where a task was spawned. The function that spawned it and the line are at
** the bottom of its coroutine, unless that was closed. */
static bool find_spawn_place (lua_State *co, lua_Debug *ar, int *line) {
  int top = lua_gettop(co);
  bool found = false;
  if (!lua_checkstack(co, 2))  /* (nothing raises in `co`) */
    return false;
  if (bottom_frame(co, ar))
    found = lua_getlocal(co, ar, SPAWN_LINE) != NULL
            && lua_getlocal(co, ar, SPAWN_FUNCTION) != NULL;
  else if ((found = top > SPAWN_LINE)) {  /* not begun yet */
    lua_pushvalue(co, 1 + SPAWN_LINE);
    lua_pushvalue(co, 1 + SPAWN_FUNCTION);
  }
  if ((found = found && lua_isfunction(co, -1))) {
    *line = (int)lua_tointeger(co, -2);
    lua_getinfo(co, ">S", ar);
  }
  lua_settop(co, top);
  return found;
}

void task_push_spawned (lua_State *L, lua_State *co) {
  lua_Debug ar;
  int line = 0;
  if (find_spawn_place(co, &ar, &line))
    lua_pushfstring(L, "%s:%d", ar.short_src, line);
  else lua_pushliteral(L, "?");
}

/* For a report after the task has ended. */
static void save_spawn_place (lua_State *co, struct watched *w) {
  lua_Debug ar;
  if (find_spawn_place(co, &ar, &w->line))
    memcpy(w->file, ar.short_src, sizeof(w->file));
}


/* ---- tasks ------------------------------------------------------------- */

/* The coroutine of the running task; L may be that of a wrapped function. (In
** a forked child the task's function may run without being a task.) */
static lua_State *running_coroutine (lua_State *L) {
  const struct loop *loop = state_of(L)->loop;  /* (uring.wrap needs none) */
  const struct task *t = loop ? loop->current : NULL;
  return t ? t->node.co : L;
}

static bool is_cancelled (lua_State *L, int value) {
  bool same;
  state_shared(L, SHARED_CANCELLED);
  same = lua_rawequal(L, value, -1);
  lua_pop(L, 1);
  return same;
}

/* Push SHARED_LAST_ERRORS and its key for this task, the coroutine. */
static void push_notes (lua_State *L) {
  lua_State *co = running_coroutine(L);
  if (!lua_checkstack(co, 1))  /* (in L, where it is caught) */
    luaL_error(L, "not enough memory for a traceback");
  state_shared(L, SHARED_LAST_ERRORS);
  lua_pushthread(co);
  if (co != L) lua_xmove(co, L, 1);
}

/* The traceback of an error exists only where it is raised. So it is noted
** there, { value, traceback } for each task's coroutine, until the error is
** reported. Pushes the note; false if it is of another value. */
static bool push_note_of (lua_State *L, int value) {
  bool same = false;
  push_notes(L);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, -1, 1);
    same = lua_rawequal(L, value, -1);
    lua_pop(L, 1);
  }
  return same;
}

/* Note the value at 1 with the traceback at 2. */
static int set_note (lua_State *L) {
  push_notes(L);
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, 2);
  lua_rawset(L, -3);
  lua_settop(L, 1);
  return 1;
}

/* The message handler of tasks, scopes and timeouts. It returns the value
** unchanged: to-be-closed variables get it. A handler in Lua that calls it
** gives 2, the level that its traceback begins at. */
static int note_traceback (lua_State *L) {
  int level = (int)luaL_optinteger(L, 2, 1);
  lua_settop(L, 1);
  if (is_cancelled(L, 1) || push_note_of(L, 1)) {
    lua_settop(L, 1);
    return 1;
  }
  lua_settop(L, 1);
  luaL_traceback(L, L, NULL, level);
  return set_note(L);
}

/* note_as(value, traceback): this task raises what another task has raised */
int task_note_as (lua_State *L) {
  lua_settop(L, 2);
  return set_note(L);
}

void task_push_failure (lua_State *L, int value) {
  lua_createtable(L, 4, 0);
  lua_pushvalue(L, value);
  lua_rawseti(L, -2, 1);
  if (push_note_of(L, value)) lua_rawgeti(L, -1, 2);
  else luaL_traceback(L, L, NULL, 1);
  lua_rawseti(L, -3, 2);
  lua_pop(L, 1);
  task_push_spawned(L, running_coroutine(L));
  lua_rawseti(L, -2, 3);
}

/* The end of a task's protected call. Returns the outcome: the result, a table
** of several, { error, traceback, … }, or cancelled; and the task, with the
** number of results in it, -1 if it failed. */
static int task_body_end (lua_State *L, int status, lua_KContext ctx) {
  int n = 0;
  bool ok = status == LUA_OK || status == LUA_YIELD;
  (void)ctx;
  if (ok) n = lua_gettop(L) - HANDLER;
  if (n > FEW_ARGS) stack_reserve(L, 4, NULL);
  if (ok) {
    if (n == 0) lua_pushnil(L);
    else if (n > 1) {
      lua_createtable(L, n, 0);
      lua_replace(L, HANDLER);
      for (int i = n; i > 0; i--) lua_rawseti(L, HANDLER, i);
    }
  }
  else if (!is_cancelled(L, lua_gettop(L)))
    task_push_failure(L, lua_gettop(L));
  ((struct task *)lua_touserdata(L, SELF))->nresults = ok ? n : -1;
  lua_pushvalue(L, SELF);
  return TASK_RETURNS;
}

/* The bottom of every task's coroutine. A protected call, so that to-be-closed
** variables run, and may wait, however the function ends. */
static int task_body (lua_State *L) {
  lua_toclose(L, SELF);  /* guard: coroutine.close is noticed at once */
  return task_body_end(L, lua_pcallk(L, lua_gettop(L) - HANDLER - 1,
                                     LUA_MULTRET,
                                HANDLER, 0, task_body_end), 0);
}

/* Push the innermost running Lua function of the program's, and its line; or
** nil and 0. To find out whose a function is costs more than all the rest, so
** it is skipped for the direct caller, unless that says BY_LIBRARY; then it is
** the last resort, for the program may have made a tail call. */
static void push_caller (lua_State *L, bool by_library) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    bool direct = level == 1 && !by_library;
    lua_getinfo(L, direct ? "fl" : "Sfl", &ar);
    if (ar.currentline > 0 && (direct || !loop_in_library(L, &ar))) {
      lua_pushinteger(L, ar.currentline);
      return;
    }
    lua_pop(L, 1);
  }
  if (by_library) {
    push_caller(L, false);
    return;
  }
  lua_pushnil(L);
  lua_pushinteger(L, 0);
}

void task_check (lua_State *L, int arg) {
  static const char *const names[] = { "main", "name", NULL };
  if (!lua_istable(L, arg)) {
    luaL_checktype(L, arg, LUA_TFUNCTION);
    return;
  }
  options_open(L, arg, names);
  if (options_push(L, arg, "name") != LUA_TNIL
      && lua_type(L, -1) != LUA_TSTRING)
    luaL_argerror(L, arg, "option 'name' must be a string");
  if (options_push(L, arg, "main") != LUA_TFUNCTION)
    luaL_argerror(L, arg, "option 'main' must be a function");
}

struct task *task_new (lua_State *L, struct loop *loop,
                       struct cancel_scope *cs, unsigned flags) {
  int n = lua_gettop(L), self;
  uint32_t id = cs->id;
  struct task *t;
  lua_State *co;
  if (lua_istable(L, 1)) {  /* its name, or nil, stays on the stack */
    task_check(L, 1);
    lua_replace(L, 1);
  }
  else luaL_checktype(L, 1, LUA_TFUNCTION);
  if (n > FEW_ARGS) stack_reserve(L, n + 10, "too many arguments");
  t = class_new(L, CLASS_TASK, sizeof(*t), 1);
  self = lua_gettop(L);
  co = lua_newthread(L);
  lua_setiuservalue(L, self, TASK_COROUTINE);
  if (n > FEW_ARGS && !lua_checkstack(co, n + 10))
    luaL_error(L, "not enough memory for a task");
  t->node.co = co;
  t->task_flags = (uint8_t)flags;
  if (self > n + 1 && !lua_isnil(L, n + 1)) {
    state_shared(L, SHARED_NAMES);
    lua_pushvalue(L, self);
    lua_pushvalue(L, n + 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  state_shared(L, SHARED_BODY);
  push_caller(L, flags & BY_LIBRARY);
  lua_pushvalue(L, self);
  state_shared(L, SHARED_MSGH);
  lua_xmove(L, co, 5);
  cancel_scope_add_task(L, loop, cs, id, t);  /* the last that may raise */
  lua_insert(L, 1);           /* the task, below its function */
  lua_settop(L, n + 1);
  lua_xmove(L, co, n);        /* the function and its arguments */
  t->nargs = n + 4;           /* with function, line, self and handler */
  loop->ntasks++;
  loop_push_ready(loop, t);
  t->state = TASK_NEW;
  return t;
}

int task_push_outcome (lua_State *L, int task) {
  const struct task *t = lua_touserdata(L, task);
  int n = t->nresults, at;
  if (t->state == TASK_DONE) {
    lua_pushboolean(L, 1);
    if (n > 0) {
      lua_getiuservalue(L, task, TASK_OUTCOME);
      if (n == 1) return 2;
      stack_reserve(L, n + 2, "too many results");
      at = lua_gettop(L);
      for (int i = 1; i <= n; i++) lua_rawgeti(L, at, i);
      lua_remove(L, at);
    }
    return n + 1;
  }
  if (t->state == TASK_CANCELLED)
    return fail_text(L, ECANCELED, "the task was cancelled");
  luaL_pushfail(L);
  lua_getiuservalue(L, task, TASK_OUTCOME);
  lua_rawgeti(L, -1, 1);
  lua_remove(L, -2);
  return 2;
}

struct task *task_check_arg (lua_State *L, const struct state *s) {
  const struct loop *loop = s->loop;
  struct task *t = class_at(L, s, 1, CLASS_TASK);
  if (t == NULL)
    luaL_typeerror(L, 1, class_name(CLASS_TASK));
  if (t->state < TASK_DONE && loop && !loop_has(loop, t))  /* guard: fork */
    luaL_argerror(L, 1, "this task belongs to another process: it was "
                  "spawned before a fork");
  return t;
}

/* task:cancel([reason]): true unless it has ended or was cancelled before */
static int task_cancel (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = task_check_arg(L, state_of(L));
  bool first = loop_has(loop, t) && !(t->task_flags & TASKF_CANCEL_REQUESTED);
  lua_settop(L, 2);
  if (first && !lua_isnil(L, 2)) {
    state_shared(L, SHARED_REASONS);
    lua_insert(L, 1);
    lua_rawset(L, 1);
  }
  if (first) task_request_cancel(loop, t);
  lua_pushboolean(L, first);
  return 1;
}

const char *task_status (const struct task *t) {
  static const char *const names[] = {
    "new", "ready", "running", "waiting", "done", "failed", "cancelled"
  };
  return names[t->state];
}

/* task:status(): "new", "ready", "running", "waiting"; "done", "failed",
** "cancelled" */
static int task_status_lua (lua_State *L) {
  lua_pushstring(L, task_status(class_check(L, 1, CLASS_TASK)));
  return 1;
}

/* task:reason(): why it is or was cancelled; nil if no reason was given, or it
** is not cancelled */
static int task_reason (lua_State *L) {
  struct task *t = class_check(L, 1, CLASS_TASK);
  struct cancel_scope *cs = NULL;
  state_shared(L, SHARED_REASONS);
  lua_pushvalue(L, 1);
  if (t->state < TASK_DONE) {
    const struct loop *loop = state_of(L)->loop;
    if (!loop_has(loop, t))
      return 0;
    cs = cancel_scope_cause(loop, t);
    if (cs == NULL && !(t->task_flags & TASKF_CANCEL_REQUESTED))
      lua_pushnil(L);
    else if (cs && cs->kind == CANCEL_SCOPE_TIMEOUT)
      lua_pushliteral(L, "timed out");
    else if (cs == NULL && lua_rawget(L, -2) != LUA_TNIL) return 1;
    else if ((cs = cs ? cs : cancel_scope_of_task(loop, t)) != NULL) {
      cancel_scope_push(L, cs);
      cancel_scope_reason(L);
    }
  }
  else if (t->state != TASK_CANCELLED) lua_pushnil(L);
  else if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_getiuservalue(L, 1, TASK_OUTCOME);  /* (the scope that it was in) */
    if (lua_type(L, -1) == LUA_TUSERDATA) cancel_scope_reason(L);
    else lua_pushnil(L);  /* (of the parent process) */
  }
  return 1;
}

void task_push_name (lua_State *L, int task) {
  state_shared(L, SHARED_NAMES);
  lua_pushvalue(L, task);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

/* task.name, and the methods */
static int task_index (lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL
      && lua_type(L, 2) == LUA_TSTRING
      && strcmp(lua_tostring(L, 2), "name") == 0) {
    class_check(L, 1, CLASS_TASK);
    task_push_name(L, 1);
  }
  return 1;
}

static int task_tostring (lua_State *L) {
  struct task *t = class_check(L, 1, CLASS_TASK);
  task_push_name(L, 1);
  if (lua_isnil(L, -1))
    lua_pushfstring(L, "uring.Task (%s)", task_status(t));
  else
    lua_pushfstring(L, "uring.Task ('%s', %s)", lua_tostring(L, -1),
                    task_status(t));
  return 1;
}

/* Two uses. A task is a to-be-closed variable at the bottom of its own
** coroutine: if a script closes that, the task's wait is abandoned now. As a
** to-be-closed variable of the program it is cancelled. */
static int task_close (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop ? loop->current : NULL;
  if (t && t->node.co == L && lua_touserdata(L, 1) == t) {
    if (loop->slow || (loop->stepping
                       && clock_now() - loop->measured > loop->worst.ns))
      save_spawn_place(L, &loop->watched);
    return 0;  /* (the task has ended by itself) */
  }
  t = class_check(L, 1, CLASS_TASK);
  if (!loop_has(loop, t))
    return 0;
  if (t->node.co != L) task_request_cancel(loop, t);
  else if (t->state == TASK_WAITING || t->state == TASK_READY)
    loop_abandon_wait(loop, t);
  return 0;
}


static const luaL_Reg methods[] = {
  {"cancel", task_cancel},
  {"status", task_status_lua},
  {"reason", task_reason},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__close", task_close},
  {"__tostring", task_tostring},
  {NULL, NULL}
};

static int cancelled_tostring (lua_State *L) {
  lua_pushliteral(L, "uring.cancelled");
  return 1;
}

static void share_function (lua_State *L, lua_CFunction f, int which) {
  int state = lua_gettop(L);
  lua_pushvalue(L, state);
  lua_pushcclosure(L, f, 1);
  lua_setiuservalue(L, state, which);
}

/* A table with weak keys: tasks. */
static void share_weak (lua_State *L, int which) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setiuservalue(L, -2, which);
}

/* The value uring.cancelled. No script can write to it: all have it, also
** those that must not know of each other. A field of it is nil, as in a table:
** an error's fields are read before it is known to be this one. */
static void share_cancelled (lua_State *L) {
  int state = lua_gettop(L);
  lua_newuserdatauv(L, 0, 0);
  lua_createtable(L, 0, 4);
  lua_pushcfunction(L, cancelled_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_newtable(L);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "uring.cancelled");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "uring.cancelled");
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_setiuservalue(L, state, SHARED_CANCELLED);
}

void task_open (lua_State *L) {
  int state = lua_gettop(L);
  class_define(L, CLASS_TASK, methods, meta, task_index);
  share_function(L, task_body, SHARED_BODY);
  share_function(L, note_traceback, SHARED_MSGH);
  share_cancelled(L);
  lua_newtable(L);
  lua_setiuservalue(L, state, SHARED_CHAINS);
  share_weak(L, SHARED_NAMES);
  share_weak(L, SHARED_LAST_ERRORS);
  share_weak(L, SHARED_REASONS);
}
