/*
** scope: uring.Scope: opens and finishes scopes, and spawns tasks into them.
** Which tasks a cancel reaches, and how, is in cancel_scope.
**
** scope_finish must wait for the tasks however the body has ended: by return,
** error or cancel.
*/

#include "compat.h"
#include "task/scope.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "task/loop_object.h"
#include "task/task.h"

#include <string.h>

#define NOT_OURS "this scope belongs to another process: it was opened " \
                 "before a fork"


/* ---- spawn ------------------------------------------------------------- */

static int spawn (lua_State *L, unsigned flags, const char *what) {
  struct loop *loop = loop_here(L);
  if (loop == NULL || loop->current == NULL)
    return luaL_error(L, "%s belongs in a task: call it in a function that "
                      "runs under uring.run", what);
  task_new(L, loop, cancel_scope_to_spawn_in(loop, loop->current), flags);
  return 1;
}

/* detach(scope's pointer, f, ...): called protected, for without its task the
** scope must not stay open */
static int detach (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct cancel_scope **scope = lua_touserdata(L, 1), *cs;
  lua_remove(L, 1);
  *scope = cs = cancel_scope_open(L, loop, NULL, CANCEL_SCOPE_TASKS,
                                  CLOCK_NEVER);
  lua_pop(L, 1);  /* (being open anchors it) */
  cs->detached = true;
  task_new(L, loop, cs, 0);
  return 1;
}

/* A task for the function at 1 in a scope of its own, which nothing waits for.
** It begins with the next run or step. */
static int spawn_detached (lua_State *L, struct loop *loop) {
  struct cancel_scope *cs = NULL;
  bool running = loop->running;
  int status;
  if (loop->closed)
    return luaL_error(L, "this state's loop was closed");
  stack_reserve(L, 10, NULL);
  state_shared(L, SHARED_DETACH);
  lua_insert(L, 1);
  lua_pushlightuserdata(L, &cs);
  lua_insert(L, 2);
  loop->running = true;  /* guard: a finalizer must not run or close it */
  status = lua_pcall(L, lua_gettop(L) - 1, 1, 0);
  loop->running = running;
  if (status == LUA_OK)
    return 1;
  if (cs) cancel_scope_end(L, loop, cs);
  return raise_again(L);
}

/* uring.spawn(f, ...): a task in the innermost scope; outside a task a
** detached one, or nil, message, errno */
int scope_spawn (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  int top = lua_gettop(L);
  if (loop && loop->current)  /* (in a forked child it is the parent's task) */
    return spawn(L, 0, "uring.spawn");
  task_check(L, 1);
  lua_settop(L, top);
  loop = loop_get(L, LOOP_ENTRIES_HOSTED);
  return loop ? spawn_detached(L, loop) : 3;
}

/* loop:spawn(f, ...): a detached task */
int scope_loop_spawn (lua_State *L) {
  struct loop *loop = loop_check_object(L);
  int top = lua_gettop(L);
  task_check(L, 2);
  lua_settop(L, top);
  lua_remove(L, 1);  /* (the state anchors its loop) */
  return spawn_detached(L, loop);
}

/* uring.daemon(f, ...): a task that does not keep its scope open */
int scope_daemon (lua_State *L) {
  return spawn(L, TASKF_DAEMON, "uring.daemon");
}

/* daemon(f, ...): uring.daemon for lua/uring/event.lua */
static int internal_daemon (lua_State *L) {
  return spawn(L, TASKF_DAEMON | BY_LIBRARY, "uring.event");
}

/* stay(): the running task is a daemon whose cancel was requested. Unless its
** scope was cancelled it becomes an ordinary task of that, which is waited
** for, and is not cancelled any more: true. */
static int internal_stay (lua_State *L) {
  struct loop *loop = loop_here(L);
  struct task *t = loop ? loop->current : NULL;
  struct cancel_scope *cs = t ? cancel_scope_of_task(loop, t) : NULL;
  bool stays = cs && !cs->cancelled && (t->task_flags & TASKF_DAEMON)
               && (t->task_flags & TASKF_CANCEL_REQUESTED);
  if (stays) {
    cs->ndaemons--;
    cs->ntasks++;
    cs->ending = false;
    t->task_flags &= (uint8_t)~(TASKF_DAEMON | TASKF_CANCEL_REQUESTED);
    cancel_scope_update_task(loop, t);
  }
  lua_pushboolean(L, stays);
  return 1;
}

/* The scope at 1; raises if it has ended. */
static struct cancel_scope *scope_check_open (lua_State *L) {
  struct cancel_scope *cs = class_check(L, 1, CLASS_SCOPE);
  if (cs->id == 0 || state_of(L)->loop == NULL)
    luaL_argerror(L, 1, "the scope has ended");
  if (loop_here(L) == NULL)  /* guard: fork */
    luaL_argerror(L, 1, NOT_OURS);
  return cs;
}

static int spawn_into (lua_State *L, unsigned flags) {
  struct cancel_scope *cs = scope_check_open(L);
  int top = lua_gettop(L);
  if (cs->orphan)
    return luaL_argerror(L, 1, cs->orphan);
  task_check(L, 2);
  lua_settop(L, top);
  lua_remove(L, 1);  /* (an open scope is anchored) */
  task_new(L, loop_here(L), cs, flags);
  return 1;
}

/* scope:spawn(f, ...), scope:daemon(f, ...) */
static int method_spawn (lua_State *L) {
  return spawn_into(L, 0);
}

static int method_daemon (lua_State *L) {
  return spawn_into(L, TASKF_DAEMON);
}

/* spawn_into(scope, f, ...): scope:spawn for lua/uring: it was spawned by the
** line that has called the library */
static int internal_spawn_into (lua_State *L) {
  return spawn_into(L, BY_LIBRARY);
}

/* uring.current(): the running task, or nil */
int scope_current (lua_State *L) {
  struct loop *loop = loop_here(L);
  if (loop && loop->current) task_push(L, loop->current);
  else lua_pushnil(L);
  return 1;
}


/* The scope of all steps. It is a detached one, so that an error in it, which
** cancels it, is reported as any other in a step. The next one is another. */
static struct cancel_scope *steps_root (lua_State *L, struct loop *loop) {
  struct cancel_scope *cs = loop->steps_root;
  if (cs && !cs->cancelled)
    return cs;
  if (loop->closed)
    luaL_error(L, "this state's loop was closed");
  if (cs && cs->ntasks + cs->ndaemons == 0) cancel_scope_end(L, loop, cs);
  loop->steps_root = NULL;
  cs = cancel_scope_open(L, loop, NULL, CANCEL_SCOPE_TASKS, CLOCK_NEVER);
  lua_pop(L, 1);  /* (being open anchors it) */
  cs->detached = cs->lasting = true;
  return loop->steps_root = cs;
}

/* uring.root(): run's own scope; in a step that of all steps */
int scope_root (lua_State *L) {
  struct loop *loop = loop_here(L);
  bool steps;
  if (loop == NULL || loop->current == NULL)
    return luaL_error(L, "uring.root belongs in a task: call it in a function "
                      "that runs under uring.run");
  steps = loop->stepping || loop->root == NULL;
  cancel_scope_push(L, steps ? steps_root(L, loop) : loop->root);
  return 1;
}


/* ---- cancel and failures ----------------------------------------------- */

/* scope:cancel([reason]): true unless it has ended or was cancelled before */
static int method_cancel (lua_State *L) {
  struct cancel_scope *cs = class_check(L, 1, CLASS_SCOPE);
  bool first = cs->id != 0 && !cs->cancelled && state_of(L)->loop;
  lua_settop(L, 2);
  if (first) {
    scope_check_open(L);
    cancel_scope_cancel(L, loop_here(L), cs);
  }
  lua_pushboolean(L, first);
  return 1;
}

/* Push the first failure: { value, traceback, spawned at }. */
static void push_first_failure (lua_State *L, int scope,
                        const struct cancel_scope *cs) {
  if (cs->body_first)
    lua_getiuservalue(L, scope, SCOPE_ERROR);
  else {
    lua_getiuservalue(L, scope, SCOPE_TASKS);
    lua_rawgeti(L, -1, cs->first_failed->place);
    lua_getiuservalue(L, -1, TASK_OUTCOME);
    lua_replace(L, -3);
    lua_pop(L, 1);
  }
}

int scope_rethrow (lua_State *L, int scope) {
  push_first_failure(L, scope, lua_touserdata(L, scope));
  lua_rawgeti(L, -1, 1);
  if (is_no_memory(L)) raise_again(L);
  lua_rawgeti(L, -2, 2);
  if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING
      && strstr(lua_tostring(L, -2), SPAWNED) == NULL) {
    lua_rawgeti(L, -3, 3);
    lua_pushfstring(L, "%s\n%s" SPAWNED "%s)", lua_tostring(L, -3),
                    lua_tostring(L, -2), lua_tostring(L, -1));
  }
  else
    lua_pop(L, 1);  /* a value that is no string is raised unchanged */
  return lua_error(L);
}

/* Pop a failure, and below it its task, and append { error=, traceback=,
** task=, spawned_at= } to the list. */
static void add_failure (lua_State *L, int list) {
  static const char *const fields[] = { "error", "traceback", "spawned_at" };
  lua_createtable(L, 0, 4);
  for (int i = 1; i <= 3; i++) {
    lua_rawgeti(L, -2, i);
    lua_setfield(L, -2, fields[i - 1]);
  }
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "task");
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  lua_pop(L, 2);
}

static void add_body (lua_State *L, int list) {
  lua_getiuservalue(L, 1, SCOPE_ERROR);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return;
  }
  lua_rawgeti(L, -1, 4);
  lua_insert(L, -2);
  add_failure(L, list);
}

/* scope:failures(): { { error=, traceback=, task=, spawned_at= }, … } */
static int method_failures (lua_State *L) {
  const struct cancel_scope *cs = class_check(L, 1, CLASS_SCOPE);
  const struct task *t = cs->first_failed;
  lua_newtable(L);
  lua_getiuservalue(L, 1, SCOPE_TASKS);
  if (cs->body_first) add_body(L, 2);
  for (; t; t = (const struct task *)t->node.next) {
    lua_rawgeti(L, 3, t->place);
    lua_getiuservalue(L, -1, TASK_OUTCOME);
    add_failure(L, 2);
  }
  if (!cs->body_first) add_body(L, 2);
  lua_settop(L, 2);
  return 1;
}

static int scope_tostring (lua_State *L) {
  const struct cancel_scope *cs = class_check(L, 1, CLASS_SCOPE);
  if (cs->id == 0) lua_pushliteral(L, "uring.Scope (ended)");
  else lua_pushfstring(L, "uring.Scope (%d tasks%s)",
                       (int)(cs->ntasks + cs->ndaemons),
                       cs->cancelled ? ", cancelled" : "");
  return 1;
}


/* ---- functions for scope.lua ------------------------------------------- */

/* scope(): open a scope. Raises where the task cannot wait. */
static int scope_begin (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, "uring.scope");
  cancel_scope_open(L, loop, t, CANCEL_SCOPE_TASKS, CLOCK_NEVER);
  return 1;
}

/* timeout(seconds) */
static int timeout_begin (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  int64_t ns = arg_duration(L, 1);
  struct task *t = loop_enter(L, loop, "uring.timeout");
  cancel_scope_open(L, loop, t, CANCEL_SCOPE_TIMEOUT, loop_deadline(loop, ns));
  return 1;
}

/* shield(seconds [, f]): in a cancelled task too. Returns as well whether f is
** a C function: its argument errors would name the caller's variable. */
static int shield_begin (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  int64_t ns = arg_duration(L, 1);
  struct task *t = loop_enter_unchecked(L, loop, "uring.shield");
  cancel_scope_open(L, loop, t, CANCEL_SCOPE_SHIELD, loop_deadline(loop, ns));
  cancel_scope_update_task(loop, t);
  lua_pushboolean(L, lua_iscfunction(L, 2));
  return 2;
}

/* end_scope(cancel_scope): close it. Returns whether its own deadline ended
** it, and the task is not cancelled further out. */
static int cancel_scope_leave (lua_State *L) {
  struct loop *loop = loop_here(L);
  struct cancel_scope *cs = class_check(L, 1, CLASS_CANCEL_SCOPE);
  struct task *t = cs->owner;
  bool expired = cs->expired;
  if (loop == NULL)  /* guard: fork */
    return 0;
  cancel_scope_close(L, loop, cs);
  lua_pushboolean(L, expired && t && !(t->task_flags & TASKF_CANCELLED));
  return 1;
}

static int scope_close (lua_State *L) {
  struct cancel_scope *cs = class_test(L, 1, CLASS_SCOPE);
  struct loop *loop = loop_here(L);
  if (cs == NULL) cs = class_check(L, 1, CLASS_CANCEL_SCOPE);
  if (loop && cs->id != 0 && cs->owner) cancel_scope_close(L, loop, cs);
  return 0;
}

/* Push why the task at a stack index is cancelled. */
static void push_reason (lua_State *L, int task) {
  lua_getfield(L, task, "reason");
  lua_pushvalue(L, task);
  lua_call(L, 1, 1);
}

/* The scope's body, in task `t`, has raised the value at 3. */
static void body_failed (lua_State *L, struct loop *loop, struct task *t,
                         struct cancel_scope *cs) {
  state_shared(L, SHARED_CANCELLED);
  if (lua_rawequal(L, 3, -1)) {
    task_push(L, t);
    push_reason(L, lua_gettop(L));
  }
  else {
    task_push_failure(L, 3);
    task_push(L, t);
    lua_rawseti(L, -2, 4);
    lua_setiuservalue(L, 1, SCOPE_ERROR);
    cs->body_first = !cs->failed;
    cs->failed = true;
    lua_pushvalue(L, 3);
  }
  cancel_scope_cancel(L, loop, cs);
  lua_settop(L, 3);
}

static int scope_finish_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_resumed(L);
  struct cancel_scope *cs = lua_touserdata(L, 1);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, scope_finish_resumed);
  cs->waiting = false;
  if (t->task_flags & TASKF_CANCELLED) {
    task_push(L, t);
    push_reason(L, lua_gettop(L));
    cancel_scope_cancel(L, loop, cs);
    lua_settop(L, 3);
  }
  if (cs->ntasks == 0) cancel_scope_cancel_daemons(L, loop, cs);
  /* guard: a script can close it, as a to-be-closed variable or with the
     coroutine; then the enclosing scope waits for its tasks */
  if (cs->owner == t && cs->ntasks + cs->ndaemons > 0) {
    cs->waiting = true;
    return loop_wait(L, t, WAIT_SCOPE, cs, CLOCK_NEVER, ctx,
                     scope_finish_resumed);
  }
  cancel_scope_close(L, loop, cs);
  if (cs->failed)
    return scope_rethrow(L, 1);
  lua_pushboolean(L, cs->cancelled);
  if (!cs->cancelled)
    return 1;
  loop_check(L, t);
  lua_pushvalue(L, 1);
  cancel_scope_reason(L);
  if (lua_type(L, -1) == LUA_TSTRING)
    lua_pushfstring(L, "the scope was cancelled: %s", lua_tostring(L, -1));
  else
    lua_pushliteral(L, "the scope was cancelled");
  lua_remove(L, -2);
  return 2;
}

/* finish(scope, ok, error): wait for the scope's tasks. Raises the first
** error, or cancelled if the task is; else returns whether the scope was
** cancelled, and the message for that. */
static int scope_finish (lua_State *L) {
  struct loop *loop = loop_here(L);
  struct cancel_scope *cs = class_check(L, 1, CLASS_SCOPE);
  lua_settop(L, 3);
  if (loop == NULL || loop->current == NULL)  /* guard: fork */
    return lua_toboolean(L, 2) ? luaL_error(L, NOT_OURS) : lua_error(L);
  if (!lua_toboolean(L, 2)) body_failed(L, loop, loop->current, cs);
  return scope_finish_resumed(L, LUA_OK, 0);
}

static const luaL_Reg functions[] = {
  {"daemon", internal_daemon},
  {"stay", internal_stay},
  {"spawn_into", internal_spawn_into},
  {"scope", scope_begin},
  {"timeout", timeout_begin},
  {"shield", shield_begin},
  {"end_scope", cancel_scope_leave},
  {"finish", scope_finish},
  {NULL, NULL}
};

void scope_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}


/* ---- classes ----------------------------------------------------------- */

static const luaL_Reg methods[] = {
  {"spawn", method_spawn},
  {"daemon", method_daemon},
  {"cancel", method_cancel},
  {"failures", method_failures},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__close", scope_close},
  {"__tostring", scope_tostring},
  {NULL, NULL}
};

static const luaL_Reg loop_methods[] = {
  {"spawn", scope_loop_spawn},
  {NULL, NULL}
};

static const luaL_Reg no_methods[] = {
  {NULL, NULL}
};

static const luaL_Reg cancel_scope_meta[] = {
  {"__close", scope_close},
  {NULL, NULL}
};

void scope_open (lua_State *L) {
  class_extend(L, CLASS_LOOP, loop_methods);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, detach, 1);
  lua_setiuservalue(L, -2, SHARED_DETACH);
  class_define(L, CLASS_SCOPE, methods, meta, NULL);
  class_define(L, CLASS_CANCEL_SCOPE, no_methods, cancel_scope_meta, NULL);
}
