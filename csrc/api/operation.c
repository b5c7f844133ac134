/*
** operation: methods of operations. Each call must look the operation up by
** its token: the slot may have been reused since the last one.
*/

#include "compat.h"
#include "api/operation.h"

#include "base/fork_id.h"
#include "base/names.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/errors.h"
#include "api/op_subject.h"
#include "api/ring_check.h"


struct operation *operation_check (lua_State *L, int arg) {
  return class_check(L, arg, CLASS_OPERATION);
}

struct operation *operation_new (lua_State *L, int ring,
                                 const struct request *q) {
  bool subject = op_subject_possible(q->sqe.opcode);
  struct operation *o;
  if (subject) op_subject_push(L, q);
  o = class_new(L, CLASS_OPERATION, sizeof(*o), subject ? 2 : 1);
  o->ring = class_raw(L, ring, CLASS_RING);
  lua_pushvalue(L, ring);
  lua_setiuservalue(L, -2, 1);
  if (subject) {
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 2);
  }
  return o;
}

void operation_set (struct operation *o, struct op *op) {
  o->token = op->token;
  o->opcode = op->opcode;
  o->multi = (op->op_flags & OP_MULTI) != 0;
  o->silent = (op->op_flags & OP_SILENT) != 0;
}

struct op *operation_op (struct operation *o) {
  return o->token != 0 && o->ring->open ? op_find(&o->ring->ops, o->token)
                                        : NULL;
}


/* ---- methods ----------------------------------------------------------- */

/* operation:cancel(): requests its cancel; the last completion tells how it
** ended. Returns true, also if it has ended already. */
static int operation_cancel (lua_State *L) {
  struct operation *o = operation_check(L, 1);
  struct op *op;
  if (o->ring->fork_id != fork_id())
    return luaL_error(L, "this operation belongs to another process");
  op = operation_op(o);
  o->cancelled = true;
  if (op && op->state == OP_FLYING) {
    struct ring *r = o->ring;
    int rc;
    lua_getiuservalue(L, 1, 1);
    ring_check(L, lua_gettop(L));
    ring_cancel(r, op);
    do rc = ring_enter(r, 0, SYS_FOREVER); while (rc == -EINTR);
    /* a cancel that finds no free slot goes with the next submit */
    if (rc < 0 && rc != -EAGAIN && rc != -EBUSY)
      return fail_enter(L, -rc, r->io.ring_fd);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static const char *status_of (struct operation *o) {
  const struct op *op = operation_op(o);
  if (op == NULL)
    return "done";
  return op->state == OP_FLYING ? "in flight" : "completed";
}

/* operation:status(): "in flight", "completed" (its last completion is
** pending) or "done" */
static int operation_status (lua_State *L) {
  lua_pushstring(L, status_of(operation_check(L, 1)));
  return 1;
}

static int operation_tostring (lua_State *L) {
  struct operation *o = operation_check(L, 1);
  lua_pushfstring(L, "uring.Operation (%s, %s)", name_op_short(o->opcode),
                  status_of(o));
  return 1;
}

static int operation_gc (lua_State *L) {
  struct operation *o = operation_check(L, 1);
  struct op *op;
  if (o->token == 0 || o->ring->fork_id != fork_id())
    return 0;
  op = operation_op(o);
  /* under the loop, without a waiter, its results can never be taken */
  if (op && (op->op_flags & OP_LOOPED) && op->waiter == NULL)
    ring_drop(o->ring, op);
  return 0;
}


static const luaL_Reg methods[] = {
  {"cancel", operation_cancel},
  {"status", operation_status},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", operation_gc},
  {"__tostring", operation_tostring},
  {NULL, NULL}
};

void operation_open (lua_State *L) {
  class_define(L, CLASS_OPERATION, methods, meta, NULL);
}
