/*
** wait_await: waits for a time, and for one request.
**
** The result of an awaited request is taken exactly once: by await_resumed, or
** it is disposed of.
*/

#include "compat.h"
#include "task/wait_await.h"

#include "base/clock.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/op_subject.h"
#include "api/ring_object.h"
#include "api/sqe.h"
#include "api/ring_check.h"
#include "task/event.h"
#include "task/ring_watch.h"


/* ---- shared with other waits ------------------------------------------- */

void wait_check_ring (lua_State *L, const struct ring *r) {
  luaL_argcheck(L, !(r->io.flags & IORING_SETUP_IOPOLL), 1,
                "an IOPOLL ring is driven by hand only");
}

int wait_watch (lua_State *L, struct loop *loop, struct ring *r) {
  int rc;
  wait_check_ring(L, r);
  if (!r->enabled)
    return fail_enter(L, EBADFD, r->io.ring_fd);
  if (r->ops.draining > 0)
    ring_check_drain(L, r, 1, true);
  rc = ring_watch_start(loop, r);
  if (rc == -EBUSY)
    return fail(L, EBUSY, "the loop watches a ring by an eventfd of its own, "
                "and ring (fd %d) has one already: call its "
                "unregister_eventfd() first", r->io.ring_fd);
  if (rc < 0)
    return fail_on_ring(L, -rc, r->io.ring_fd, "wait");
  return 0;
}

/* Is it a time of a repeating timeout? That is not an error. */
static bool is_tick (const struct op *op, int64_t res) {
  return op->opcode == IORING_OP_TIMEOUT && (op->op_flags & OP_MULTI)
         && res == -ETIME;
}

int wait_take (lua_State *L, struct ring *r, struct op *op, int object,
               int n) {
  struct op copy = *op;  /* (op is freed with its last completion) */
  struct pending_cqe a;
  int64_t res;
  if (!ring_take_op(r, op, &a))
    return 0;
  res = pending_res(&a);
  if (res < 0 && !is_tick(&copy, res)) {
    int top = lua_gettop(L);
    const char *on;
    lua_getiuservalue(L, object, n);
    on = op_subject_describe(L, copy.opcode, top + 1);
    n = fail_result_on(L, copy.opcode, copy.fd, on, copy.min_kernel, a.res,
                       a.flags);
    lua_rotate(L, top + 1, n);  /* (the subject goes above the results) */
    lua_settop(L, top + n);
    return n;
  }
  lua_pushinteger(L, res);
  lua_pushinteger(L, a.flags);
  return 2;
}


/* ---- sleep ------------------------------------------------------------- */

static int sleep_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, sleep_resumed);
  loop_check(L, t);
  return 0;
}

int wait_sleep (lua_State *L) {
  int64_t ns = arg_duration(L, 1);
  struct task *t = loop_enter(L, state_of(L)->loop, "uring.sleep");
  if (ns == 0)
    return loop_wait(L, t, WAIT_YIELD, NULL, CLOCK_NEVER, 0, sleep_resumed);
  loop_reserve(L);
  return loop_wait(L, t, WAIT_SLEEP, NULL,
                   loop_deadline(state_of(L)->loop, ns), 0, sleep_resumed);
}


/* ---- await ------------------------------------------------------------- */

/* The stack index of an awaited request's subject. */
static int subject_index (lua_State *L) {
  return class_test(L, 1, CLASS_RING) ? 4 : 3;
}

static int push_await_result (lua_State *L, struct task *t) {
  if (t->res < 0) {
    unsigned opcode = (unsigned)(t->data >> 56);
    const char *on = op_subject_describe(L, opcode, subject_index(L));
    return fail_result_on(L, opcode, (int)(uint32_t)t->data, on,
                          t->flags & IORING_CQE_F_BUFFER
                            ? 0 : loop_group_or_kernel(t),
                          t->res, t->flags);
  }
  lua_pushinteger(L, t->res);
  lua_pushinteger(L, t->flags);
  return 2;
}

static int await_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return await_resumed(L, ctx, push_await_result, await_again);
}

/* Raise for a request that cannot be awaited by itself. */
static void check_single_request (lua_State *L, struct ring *r, int arg,
                        const struct request *q) {
  if (q->sqe.flags & IOSQE_IO_DRAIN) ring_check_drain(L, r, arg, true);
  ring_check_requests(L, r, arg, 1, &q, 0);
  if (q->req_flags & REQ_MULTI)
    luaL_argerror(L, arg, "this request completes more than once: queue it "
                  "by ring:queue(sqe), and iterate over its operation's "
                  "completions()");
  if (q->req_flags & REQ_SILENT)
    luaL_argerror(L, arg, "with CQE_SKIP_SUCCESS there is no completion to "
                  "wait for: queue it");
}

static int await_on (lua_State *L, const struct state *s, struct task *t,
                     struct ring *r, int arg) {
  const struct request *q = sqe_check_in(L, s, arg, arg);
  int64_t ns = arg_seconds(L, arg + 1);
  int64_t deadline = CLOCK_NEVER;
  struct op *op;
  int rc;
  if (op_subject_possible(q->sqe.opcode)) {
    lua_settop(L, arg + 1);
    op_subject_push(L, q);
    /* a finalizer may have closed the ring, or an object of the SQE, ... */
    if (arg > 1) ring_check(L, 1);  /* guard: a closed ring has no memory */
    q = sqe_check_in(L, s, arg, arg);
    loop_check(L, t);  /* guard: ... or cancelled this running task */
  }
  if ((q->req_flags & (REQ_MULTI | REQ_SILENT | REQ_NAMES_OP))
      || (q->sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN
                          | IOSQE_BUFFER_SELECT)))
    check_single_request(L, r, arg, q);
  if ((r->watch == NULL || r->ops.draining > 0)
      && (rc = wait_watch(L, s->loop, r)) != 0)
    return rc;
  if (ns != CLOCK_NEVER) {
    loop_reserve(L);
    deadline = loop_deadline(s->loop, ns);
  }
  rc = ring_push_one(r, q, OP_LOOPED, &op);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  return await_wait(L, t, r, op, deadline, (lua_KContext)s->loop, await_again);
}

int wait_await (lua_State *L) {
  const struct state *s = state_of(L);
  struct task *t = loop_enter(L, s->loop, "uring.await");
  return await_on(L, s, t, s->loop->ring, 1);
}

/* ring:await(sqe [, timeout]) */
static int ring_await (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  const struct state *s = state_of(L);
  return await_on(L, s, loop_enter(L, s->loop, "ring:await"), r, 2);
}


/* ---- await as an event ------------------------------------------------- */

static int fail_await_closed (lua_State *L) {
  return fail(L, EBADF, "await: the ring is closed");
}

/* ring:awaiting(sqe): ring:await as an event. If another event is chosen, the
** request is cancelled and its result disposed of. The stack is 1 ring, 2 sqe,
** 3 the subject, 4 the event. */
static int await_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct select_waiter *e = (struct select_waiter *)node;
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct op *op = e && r->open ? op_find(&r->ops, e->token) : NULL;
  (void)t;
  if (r->open && (e == NULL || (op && op->results.first == NULL)))
    return 0;
  if (e == NULL)
    return fail_await_closed(L);
  e->token = 0;
  return op ? wait_take(L, r, op, 4, 3)
            : fail(L, ECANCELED, "the operation ended with its ring, which is "
                   "closed");
}

static int await_block (lua_State *L, struct task *t, struct blocking *b) {
  struct select_waiter *e = (struct select_waiter *)b->node;
  struct ring *r = class_check(L, 1, CLASS_RING);
  const struct request *q = class_check(L, 2, CLASS_SQE);
  struct op *op;
  int rc;
  (void)t;
  op_subject_push(L, q);
  lua_setiuservalue(L, 4, 3);
  if (!r->open)  /* (a finalizer may have closed it) */
    return fail_await_closed(L);
  ring_check(L, 1);
  q = sqe_check_in(L, state_of(L), 2, 2);
  check_single_request(L, r, 2, q);
  if ((rc = wait_watch(L, state_of(L)->loop, r)) != 0)
    return rc;
  rc = ring_push_one(r, q, OP_LOOPED, &op);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  op->select_waiter = e;
  e->token = op->token;
  return 0;
}

static void await_cancel (lua_State *L, struct task *t,
                          struct wait_node *node) {
  (void)t;
  select_waiter_drop((struct select_waiter *)node,
                     class_check(L, 1, CLASS_RING), true);
}

static int ring_awaiting (lua_State *L) {
  static const struct wait_kind kind = {
    "awaiting", await_try, await_block, await_cancel, WAITS_OUTSIDE, NULL
  };
  struct ring *r = ring_check(L, 1);
  wait_check_ring(L, r);
  check_single_request(L, r, 2, sqe_check_in(L, state_of(L), 2, 2));
  lua_settop(L, 2);
  lua_pushnil(L);
  return event_push(L, &kind);
}


static const luaL_Reg methods[] = {
  {"await", ring_await},
  {"awaiting", ring_awaiting},
  {NULL, NULL}
};

void wait_open (lua_State *L) {
  class_extend(L, CLASS_RING, methods);
}
