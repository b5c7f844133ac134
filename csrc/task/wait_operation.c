/*
** wait_operation: the completions of what was queued: operation:await and
** operation:completions. The operation outlives each of these waits.
*/

#include "compat.h"
#include "task/wait_await.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/operation.h"
#include "api/ring_object.h"


static int o_wait (lua_State *L, struct task *t, struct operation *o,
                   int64_t deadline, lua_KFunction again);

/* Take the next completion; 0 if there is none yet. Its ring's close has
** cancelled it, for who `waited` when that happened. */
static int o_take (lua_State *L, struct operation *o, bool waited) {
  struct op *op = operation_op(o);
  if (op == NULL && !o->ring->open)
    return fail(L, waited ? ECANCELED : ESRCH, "the operation ended with its "
                "ring, which is closed");
  if (op == NULL)
    return fail(L, ESRCH, "the operation has ended and its completions were "
                "taken");
  if (op->op_flags & OP_CANCEL) o->cancelled = true;  /* by a close here,
      too */
  return wait_take(L, o->ring, op, 1, 2);
}

static int o_again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct operation *o = lua_touserdata(L, 1);
  int n;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, o_again);
  loop_check(L, t);
  n = o_take(L, o, true);
  if (n > 0) return n;
  if (t->task_flags & TASKF_TIMED_OUT) return fail_timeout(L);
  return o_wait(L, t, o, (int64_t)ctx, o_again);
}

static int o_wait (lua_State *L, struct task *t, struct operation *o,
                   int64_t deadline, lua_KFunction again) {
  struct op *op = operation_op(o);
  struct ring *r = o->ring;
  int rc;
  if (op && op->results.first && loop_unfair(t))
    return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER,
                     (lua_KContext)deadline, again);
  rc = o_take(L, o, false);
  if (rc != 0)
    return rc;
  if (op->waiter)
    return luaL_error(L, "another task awaits this operation already");
  if ((rc = wait_watch(L, state_of(L)->loop, r)) != 0)
    return rc;
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  if (!(op->op_flags & OP_LOOPED)) {
    op->op_flags |= OP_LOOPED;
    r->held++;
  }
  op->waiter = t;
  t->ring = r;
  return loop_wait(L, t, WAIT_OPERATION, op, deadline,
                   (lua_KContext)deadline, again);
}

static struct task *o_enter (lua_State *L, struct operation *o,
                             const char *what) {
  if (o->silent)
    luaL_argerror(L, 1, "with CQE_SKIP_SUCCESS there is no completion to "
                  "wait for");
  if (o->ring->open) {
    lua_getiuservalue(L, 1, 1);
    ring_check(L, lua_gettop(L));
    lua_pop(L, 1);
  }
  return loop_enter(L, state_of(L)->loop, what);
}

/* operation:await([timeout]): res, flags of its next completion */
static int o_await (lua_State *L) {
  struct operation *o = operation_check(L, 1);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = o_enter(L, o, "operation:await");
  return o_wait(L, t, o, clock_after(ns), o_again);
}

/* One step of completions(): the end is when all were taken, or the cancel
** that was asked for, or its ring's close; any other error is raised. */
static int o_next_end (lua_State *L, struct operation *o, int n) {
  if (lua_isnil(L, -n)) {
    lua_Integer err = lua_tointeger(L, -n + 2);
    bool closed = o->cancelled || !o->ring->open;
    if ((n == 3 && err == ESRCH) || (closed && err == ECANCELED)) {
      lua_pushnil(L);
      return 1;
    }
    lua_pushvalue(L, -n + 1);
    return raise_here(L);
  }
  return n;
}

static int o_next_again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct operation *o = lua_touserdata(L, 1);
  int n;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, o_next_again);
  loop_check(L, t);
  n = o_take(L, o, true);
  if (n == 0) n = o_wait(L, t, o, CLOCK_NEVER, o_next_again);
  return o_next_end(L, o, n);
}

static int o_next (lua_State *L) {
  struct operation *o = operation_check(L, 1);
  struct task *t = o_enter(L, o, "operation:completions");
  if (operation_op(o) == NULL) {
    lua_pushnil(L);
    return 1;
  }
  return o_next_end(L, o, o_wait(L, t, o, CLOCK_NEVER, o_next_again));
}

/* for res, flags in operation:completions() do */
static int o_completions (lua_State *L) {
  operation_check(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, o_next, 1);
  lua_pushvalue(L, 1);
  return 2;
}


static const luaL_Reg methods[] = {
  {"await", o_await},
  {"completions", o_completions},
  {NULL, NULL}
};

void wait_operation_open (lua_State *L) {
  class_extend(L, CLASS_OPERATION, methods);
}
