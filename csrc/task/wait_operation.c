/*
** wait_operation: waits for the completions of a queued operation:
** operation:await and operation:completions.
**
** The operation outlives each of these waits: one that ends must remove the
** task from it.
*/

#include "compat.h"
#include "task/wait_await.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/operation.h"
#include "api/ring_check.h"
#include "task/wait.h"


/* The next completion. For a task that waits when the ring closes, the
** operation was cancelled; for a later call it does not exist. */
static int operation_try (lua_State *L, struct task *t,
                          struct wait_node *node) {
  struct operation *o = lua_touserdata(L, 1);
  struct op *op = operation_op(o);
  (void)node;
  if (op == NULL && !o->ring->open)
    return fail(L, t->wait == WAIT_OPERATION ? ECANCELED : ESRCH,
                "the operation ended with its ring, which is closed");
  if (op == NULL)
    return fail(L, ESRCH, "the operation has ended and its completions were "
                "taken");
  if (op->op_flags & OP_CANCEL) o->cancelled = true;  /* by a close, too */
  return wait_take(L, o->ring, op, 1, 2);
}

static int operation_block (lua_State *L, struct task *t, struct blocking *b) {
  struct operation *o = lua_touserdata(L, 1);
  struct op *op = operation_op(o);
  struct ring *r = o->ring;
  int rc;
  if (op->waiter)
    return luaL_error(L, "another task awaits this operation already");
  if ((rc = wait_watch(L, state_of(L)->loop, r)) != 0)
    return rc;
  if (!(op->op_flags & OP_LOOPED)) {
    op->op_flags |= OP_LOOPED;
    r->held++;
  }
  op->task = t;
  t->ring = r;
  b->wait = WAIT_OPERATION;
  b->on = op;
  return 0;
}

static void operation_cancel_wait (lua_State *L, struct task *t,
                                   struct wait_node *node) {
  (void)L; (void)t; (void)node;  /* the operation runs on */
}

static const struct wait_kind operation_kind = {
  "awaiting", operation_try, operation_block, operation_cancel_wait,
  WAITS_OUTSIDE, NULL
};

static int await_op_resumed (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &operation_kind, (int64_t)ctx, await_op_resumed);
}

static struct task *operation_enter (lua_State *L, struct operation *o,
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
static int operation_await (lua_State *L) {
  struct operation *o = operation_check(L, 1);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = operation_enter(L, o, "operation:await");
  return wait_perform(L, t, &operation_kind,
                      loop_deadline(state_of(L)->loop, ns),
                      await_op_resumed);
}

/* The end of a step of completions(). The loop ends when all were taken, after
** a requested cancel, and with the ring; any other error is raised. */
static int completions_step (lua_State *L, int n) {
  const struct operation *o = lua_touserdata(L, 1);
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

static int completions_resumed (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return completions_step(L, wait_resumed(L, &operation_kind, (int64_t)ctx,
                                    completions_resumed));
}

static int completions_next (lua_State *L) {
  struct operation *o = operation_check(L, 1);
  struct task *t = operation_enter(L, o, "operation:completions");
  if (operation_op(o) == NULL) {
    lua_pushnil(L);
    return 1;
  }
  return completions_step(L, wait_perform(L, t, &operation_kind, CLOCK_NEVER,
                                    completions_resumed));
}

/* for res, flags in operation:completions() do */
static int operation_completions (lua_State *L) {
  operation_check(L, 1);
  return wait_iterate(L, completions_next);
}


static const luaL_Reg methods[] = {
  {"await", operation_await},
  {"completions", operation_completions},
  {NULL, NULL}
};

void wait_operation_open (lua_State *L) {
  class_extend(L, CLASS_OPERATION, methods);
}
