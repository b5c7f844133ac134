/*
** detached: reports the errors of detached tasks.
**
** on_error may do anything, spawn and cancel included: the list is shortened
** before each call.
*/

#include "compat.h"
#include "task/detached.h"

#include "lua/errors.h"
#include "task/cancel_scope.h"
#include "task/scope.h"
#include "task/task.h"


/* Take the list's first scope, which is pushed, off the list. */
static void take_off (lua_State *L, struct loop *loop) {
  struct cancel_scope *cs = loop->failed;
  loop->failed = cs->next_failed;
  cancel_scope_end(L, loop, cs);
}

static bool push_on_error (lua_State *L) {
  state_shared(L, SHARED_ON_ERROR);
  if (lua_isfunction(L, -1))
    return true;
  lua_pop(L, 1);
  return false;
}

/* Push error, traceback and task of the first error, which leaves the list. */
static void push_report (lua_State *L, struct loop *loop) {
  struct cancel_scope *cs = loop->failed;
  const struct task *t = cs->first_failed;
  int scope = lua_gettop(L) + 1, outcome = scope + 1;
  cancel_scope_push_task(L, cs, t->place);
  cancel_scope_push(L, cs);
  lua_insert(L, scope);
  lua_getiuservalue(L, outcome, TASK_OUTCOME);
  lua_insert(L, outcome);
  lua_rawgeti(L, outcome, 1);
  lua_rawgeti(L, outcome, 2);
  lua_rawgeti(L, outcome, 3);
  if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING) {
    lua_pushfstring(L, "%s" SPAWNED "%s)", lua_tostring(L, -2),
                    lua_tostring(L, -1));
    lua_replace(L, -3);
  }
  lua_pop(L, 1);
  cs->first_failed = (struct task *)t->node.next;
  if (cs->first_failed == NULL) take_off(L, loop);
  lua_rotate(L, outcome + 1, 2);  /* scope, outcome, error, traceback, task */
  lua_remove(L, outcome);
  lua_remove(L, scope);
}

void detached_report (lua_State *L, struct loop *loop) {
  stack_reserve(L, 12, NULL);
  while (loop->failed && push_on_error(L)) {
    push_report(L, loop);
    lua_call(L, 3, 0);
  }
}

bool detached_push_failed (lua_State *L, struct loop *loop) {
  if (loop->failed == NULL)
    return false;
  if (push_on_error(L)) {
    lua_pop(L, 1);
    return false;
  }
  cancel_scope_push(L, loop->failed);
  take_off(L, loop);
  return true;
}

void detached_raise (lua_State *L, struct loop *loop) {
  if (detached_push_failed(L, loop)) scope_rethrow(L, lua_gettop(L));
}
