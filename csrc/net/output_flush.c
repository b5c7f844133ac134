/*
** output_flush: the waits for a write buffer: `flush`, and the time that
** a close or a shutdown lingers. What must not break: a close returns, however
** slow the peer, and in a task that was cancelled too.
*/

#include "compat.h"

#include "lua/errors.h"
#include "api/ring_object.h"
#include "net/endpoint.h"

#define LINGER_NS            5000000000
#define LINGER_CANCELLED_NS  1000000000


int output_go (lua_State *L, struct output *o) {
  struct loop *loop = state_of(L)->loop;
  int rc;
  if (o->ops->start)
    return o->ops->start(L, o);
  rc = output_start(o, loop);
  return rc < 0 ? ring_push_failed(L, loop->ring, rc) : 0;
}

int output_failed (lua_State *L, struct output *o) {
  int err;
  if (o->error && o->ops->failed)
    return o->ops->failed(L, o);
  err = output_take_error(o);
  return err ? fail(L, err, "write to %s", o->name)
             : 0;
}


/* ---- flush ------------------------------------------------------------- */

static int flush_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct output *o = &endpoint_at(L, 1)->output;
  int n = 0;
  (void)t;
  if (!o->open)
    return fail(L, EBADF, "%s is closed", o->name);
  if (!o->ops->may_take(o, node) || (output_size(o) > 0 && !o->error))
    return 0;
  n = output_failed(L, o);
  if (n == 0) {
    lua_pushvalue(L, 1);
    n = 1;
  }
  if (o->open) o->ops->end_turn(L, o, node);
  return n;
}

static int flush_block (lua_State *L, struct task *t, struct blocking *b) {
  struct output *o = &endpoint_at(L, 1)->output;
  int n;
  if (!o->open)
    return fail(L, EBADF, "%s is closed", o->name);
  if ((n = output_go(L, o)) > 0)
    return n;
  if ((n = flush_try(L, t, b->node)) > 0)  /* (it was done at once) */
    return n;
  wait_join(b, &o->waitq->q, WAIT_QUEUE);
  return 0;
}

static void flush_cancel (lua_State *L, struct task *t,
                          struct wait_node *node) {
  struct output *o = &endpoint_at(L, 1)->output;
  (void)t;
  if (o->open) o->ops->end_turn(L, o, node);
}

const struct wait_kind output_flushing = {
  "flushing", flush_try, flush_block, flush_cancel, WAITS_OUTSIDE, NULL
};


/* ---- linger ------------------------------------------------------------ */

/* The stack: the object, `finish`. */
static int linger_finish (lua_State *L) {
  return lua_tocfunction(L, 2)(L);
}

static int linger_again (lua_State *L, int status, lua_KContext ctx);

static int linger_wait (lua_State *L, struct task *t, struct output *o,
                        int64_t deadline) {
  struct blocking b = { &t->node, WAIT_NOTHING, NULL, deadline };
  if (t->task_flags & TASKF_CANCELLED) {
    int64_t soon = loop_deadline(state_of(L)->loop,
                                 LINGER_CANCELLED_NS);
    if (soon < deadline) deadline = soon;
  }
  loop_reserve(L);
  if (output_go(L, o) > 0 || output_size(o) == 0 || o->error) {
    lua_settop(L, 2);
    return linger_finish(L);
  }
  wait_join(&b, &o->waitq->q, WAIT_QUEUE);
  return loop_wait(L, t, b.wait, b.on, deadline, (lua_KContext)deadline,
                   linger_again);
}

static int linger_again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct output *o = &endpoint_at(L, 1)->output;
  (void)status;
  if (t == NULL)
    return loop_yield_again(L, ctx, linger_again);
  if (o->open && output_size(o) > 0 && !o->error
      && loop_time(state_of(L)->loop) < (int64_t)ctx)
    return linger_wait(L, t, o, (int64_t)ctx);
  if (o->open) o->ops->end_turn(L, o, &t->node);
  return linger_finish(L);
}

int output_linger (lua_State *L, struct output *o, lua_CFunction finish) {
  struct loop *loop = state_of(L)->loop;
  if (output_size(o) == 0 || !o->open || !loop_may_wait(L, loop))
    return finish(L);
  lua_settop(L, 1);
  lua_pushcfunction(L, finish);
  return linger_wait(L, loop->current, o, loop_deadline(loop, LINGER_NS));
}

int output_close (lua_State *L, struct output *o) {
  int err;
  size_t left;
  output_settle(o);  /* guard: or what it has sent counts as not written */
  left = o->lost + output_end(o, true);
  err = output_take_error(o);
  if (left == 0 && err == 0)
    return 0;
  fail(L, err ? err : ETIME, "close %s: %lld bytes were not written", o->name,
       (long long)left);
  lua_pushinteger(L, (lua_Integer)left);
  return 4;
}
