/*
** wait: what a task waits with. Each function here makes ready what its wait
** needs, which may raise; hands it to the kernel or enlists the task, which
** cannot; and suspends. Its continuation puts right what a cancellation left
** behind, raises it, or pushes the results.
*/

#include "compat.h"
#include "wait.h"

#include "args.h"
#include "clock.h"
#include "errors.h"
#include "loop.h"
#include "operation.h"
#include "park.h"
#include "ring_lua.h"
#include "sqe.h"

#include <string.h>


/* ---- sleep ------------------------------------------------------------- */

static int sleep_end (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, sleep_end);
  loop_check(L, t);
  return 0;
}

int wait_sleep (lua_State *L) {
  int64_t ns = arg_duration(L, 1);
  struct task *t = loop_enter(L, state_of(L)->loop, "uring.sleep");
  if (ns == 0)
    return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER, 0, sleep_end);
  loop_reserve(L);
  return loop_wait(L, t, WAIT_SLEEP, NULL, clock_after(ns), 0, sleep_end);
}


/* ---- await ------------------------------------------------------------- */

static int push_result (lua_State *L, const struct task *t) {
  if (t->res < 0)
    return fail_result(L, (unsigned)(t->data >> 56),
                       (int)(uint32_t)t->data,
                       t->flags & IORING_CQE_F_BUFFER ? 0 : loop_more(t),
                       t->res, t->flags);
  lua_pushinteger(L, t->res);
  lua_pushinteger(L, t->flags);
  return 2;
}

/* Did the timeout end it? What raced it and won is a result like any. */
static bool timed_out (const struct task *t, int32_t res) {
  return (t->marks & MARK_TIMED_OUT)
         && (res == -ECANCELED || res == -EINTR);
}

static int await_end (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed_in((struct loop *)ctx, L);
  uint8_t disposal;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, await_end);
  disposal = t->disposal;
  t->disposal = DISPOSE_NOTHING;
  t->wait = WAIT_NOTHING;  /* guard: its result is taken, once */
  if (t->marks & MARK_CANCELLED) {
    /* guard: or it leaks */
    ring_dispose(t->ring, disposal, loop_more(t), t->res, t->flags);
    loop_check(L, t);
  }
  if (timed_out(t, t->res))
    return fail_timeout(L);
  return push_result(L, t);
}

/* Can tasks wait on this ring? Pushes nil, message, errno if not. */
static int watchable (lua_State *L, struct loop *loop, struct ring *r) {
  int rc;
  if (r->io.flags & IORING_SETUP_IOPOLL)
    luaL_argerror(L, 1, "an IOPOLL ring is driven by hand only");
  if (!r->enabled)
    return fail_enter(L, EBADFD, r->io.ring_fd);
  rc = loop_watch(loop, r);
  if (rc == -EBUSY)
    return fail(L, EBUSY, "the loop watches a ring by an eventfd of its own, "
                "and ring (fd %d) has one already: call its "
                "unregister_eventfd() first", r->io.ring_fd);
  if (rc < 0)
    return fail(L, -rc, "watch ring (fd %d)", r->io.ring_fd);
  return 0;
}

/* Everything that a lone request must not be. */
static void check_lone (lua_State *L, struct ring *r, int arg,
                        const struct request *q) {
  ring_check_requests(L, r, arg, 1, &q, 0);
  if (q->traits & TRAIT_MULTI)
    luaL_argerror(L, arg, "this request completes more than once: queue it "
                  "by ring:queue(sqe), and iterate over its operation's "
                  "completions()");
  if (q->traits & TRAIT_SILENT)
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
  if ((q->traits & (TRAIT_MULTI | TRAIT_SILENT | TRAIT_NAMES_OP))
      || (q->sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK
                          | IOSQE_BUFFER_SELECT)))
    check_lone(L, r, arg, q);
  if (r->watch == NULL && (rc = watchable(L, s->loop, r)) != 0)
    return rc;
  if (ns != CLOCK_NEVER) {
    loop_reserve(L);
    deadline = clock_after(ns);
  }
  rc = ring_push_one(r, q, OP_LOOPED, &op);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  op->waiter = t;
  t->ring = r;
  return loop_wait(L, t, WAIT_AWAIT, op, deadline, (lua_KContext)s->loop,
                   await_end);
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


/* ---- chains ------------------------------------------------------------ */

/* The chain lies in a userdata of its own; scripts can close a task's
** coroutine, so that its stack does not do to keep it. 0 lets go of it. */
static void keep_chain (lua_State *L, struct task *t, int chain) {
  state_shared(L, SHARED_CHAINS);
  if (chain) lua_pushvalue(L, chain);
  else lua_pushnil(L);
  lua_rawsetp(L, -2, t);
  lua_pop(L, 1);
}

/* 1 ring, 2 sqes, 3 timeout, 4 the chain, 5 results */
static int chain_end (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct chain *c = lua_touserdata(L, 4);
  bool timeout = false;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, chain_end);
  t->wait = WAIT_NOTHING;  /* guard: its results are taken, once */
  keep_chain(L, t, 0);
  for (unsigned i = 0; i < c->n; i++) {
    struct link *l = &c->link[i];
    if ((t->marks & MARK_CANCELLED)
        && l->token == 0)  /* guard: what said nothing has no result */
      ring_dispose(t->ring, l->disposal, l->group, l->res, l->flags);
    if (!l->silent && timed_out(t, l->res)) timeout = true;
  }
  loop_check(L, t);
  for (unsigned i = 0; i < c->n; i++) {
    lua_rawgeti(L, 5, (lua_Integer)i + 1);
    if (!c->link[i].silent || c->link[i].res != 0) {
      lua_pushinteger(L, c->link[i].res);
      lua_rawseti(L, -2, 1);
      lua_pushinteger(L, c->link[i].flags);
      lua_rawseti(L, -2, 2);
    }
    else {  /* it succeeded and said nothing */
      lua_pushboolean(L, 1);
      lua_setfield(L, -2, "silent");
    }
    lua_pop(L, 1);
  }
  if (timeout) {
    fail_timeout(L);
    lua_pushvalue(L, 5);
    return 4;
  }
  lua_pushvalue(L, 5);
  return 1;
}

/* ring:await_chain({ sqe, … } [, timeout]): { { res, flags }, … } | nil,
** message, errno; timed out, with the results as fourth value */
static int ring_await_chain (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct task *t = loop_enter(L, state_of(L)->loop, "ring:await_chain");
  int64_t ns = arg_seconds(L, 3);
  const struct request **requests;
  struct chain *c;
  struct op **ops;
  lua_Integer n;
  int rc;
  luaL_checktype(L, 2, LUA_TTABLE);
  n = luaL_len(L, 2);
  if (n < 1 || n > (lua_Integer)r->io.sq.ring_entries)
    return luaL_argerror(L, 2, lua_pushfstring(L,
             "array of 1 to %d sqes expected", (int)r->io.sq.ring_entries));
  lua_settop(L, 3);
  c = lua_newuserdatauv(L, sizeof(*c) + (size_t)n * sizeof(c->link[0]), 0);
  memset(c, 0, sizeof(*c) + (size_t)n * sizeof(c->link[0]));
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_createtable(L, 2, 1);
    lua_rawseti(L, 5, i);
  }
  requests = lua_newuserdatauv(L, (size_t)n * sizeof(*requests), 0);
  ops = lua_newuserdatauv(L, (size_t)n * sizeof(*ops), 0);
  luaL_checkstack(L, (int)n + 10, "too many sqes");
  for (lua_Integer i = 1; i <= n; i++)
    lua_geti(L, 2, i);
  ring_check(L, 1);  /* guard: what ran meanwhile may have closed it */
  loop_check(L, t);  /* guard: ... or cancelled the task, which did not wait */
  ring_check_requests(L, r, 8, (int)n, requests, 2);
  for (lua_Integer i = 0; i < n; i++)
    if (requests[i]->traits & TRAIT_MULTI)
      return luaL_argerror(L, 2, "a request that completes more than once "
                           "cannot be awaited in a chain: queue it");
  if (requests[n - 1]->traits & TRAIT_SILENT)
    return luaL_argerror(L, 2, "the last of an awaited chain must complete "
                         "visibly, without CQE_SKIP_SUCCESS");
  if ((rc = watchable(L, state_of(L)->loop, r)) != 0)
    return rc;
  if (ns != CLOCK_NEVER) loop_reserve(L);
  keep_chain(L, t, 4);
  rc = ring_push(r, requests, (unsigned)n, OP_LOOPED, ops);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  c->n = (unsigned)n;
  for (unsigned i = 0; i < c->n; i++) {
    c->link[i].silent = (requests[i]->traits & TRAIT_SILENT) != 0;
    c->link[i].disposal = requests[i]->disposal;
    c->link[i].group = ops[i]->group;
    c->link[i].token = ops[i]->token;
    if (!c->link[i].silent) c->pending++;  /* (it may say nothing) */
    ops[i]->waiter = t;
  }
  t->ring = r;
  return loop_wait(L, t, WAIT_CHAIN, c, clock_after(ns), 0, chain_end);
}


/* ---- messages ---------------------------------------------------------- */

static int push_message (lua_State *L, uint64_t data, int32_t res,
                         uint32_t flags) {
  lua_pushinteger(L, (lua_Integer)(uint32_t)res);  /* as it was set */
  lua_pushinteger(L, (lua_Integer)data);
  lua_pushinteger(L, flags);
  return 3;
}

static int receive (lua_State *L, struct task *t, struct ring *r,
                    int64_t deadline, lua_KFunction again);

/* After a wait for a message: how it ended, or 0 when it has to begin anew
** after a turn of the others. */
static int receive_end (lua_State *L, struct task *t, struct ring *r) {
  loop_check(L, t);  /* (whoever has cancelled it took the message back) */
  if (t->marks & MARK_HANDED) {
    loop_message_accepted(t);
    return push_message(L, t->data, t->res, t->flags);
  }
  if (t->marks & MARK_TIMED_OUT)
    return fail_timeout(L);
  if (!r->open)
    return fail(L, EBADF, "receive: the ring is closed");
  return 0;
}

static int receive_again (lua_State *L, int status, lua_KContext ctx) {
  struct ring *r = lua_touserdata(L, 1);
  struct task *t = loop_resumed(L);
  int n;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, receive_again);
  n = receive_end(L, t, r);
  return n ? n : receive(L, t, r, (int64_t)ctx, receive_again);
}

static int receive (lua_State *L, struct task *t, struct ring *r,
                    int64_t deadline, lua_KFunction again) {
  struct arrival a;
  int rc;
  if (r->messages.first != NULL) {
    if (loop_unfair(t))
      return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER,
                       (lua_KContext)deadline, again);
    ring_take_message(r, &a);
    return push_message(L, a.data, a.res, a.flags);
  }
  if ((rc = watchable(L, state_of(L)->loop, r)) != 0)
    return rc;
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  t->ring = r;
  loop_await_message(t, r);
  return loop_wait(L, t, WAIT_MESSAGE, r, deadline, (lua_KContext)deadline,
                   again);
}

/* ring:receive([timeout]): len, data, flags */
static int ring_receive (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = loop_enter(L, state_of(L)->loop, "ring:receive");
  return receive(L, t, r, clock_after(ns), receive_again);
}

static int next_message_end (lua_State *L, int n) {
  if (n == 3 && lua_isnil(L, -3)) {
    if (lua_tointeger(L, -1) == EBADF) {
      lua_pushnil(L);  /* closed here: the end */
      return 1;
    }
    lua_pop(L, 1);
    return raise_here(L);
  }
  return n;
}

static int next_message_again (lua_State *L, int status, lua_KContext ctx) {
  struct ring *r = lua_touserdata(L, 1);
  struct task *t = loop_resumed(L);
  int n;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, next_message_again);
  n = receive_end(L, t, r);
  if (n == 0)
    n = receive(L, t, r, (int64_t)ctx, next_message_again);
  return next_message_end(L, n);
}

static int next_message (lua_State *L) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct task *t;
  if (!r->open) {
    lua_pushnil(L);
    return 1;
  }
  ring_check(L, 1);
  t = loop_enter(L, state_of(L)->loop, "ring:messages");
  return next_message_end(L, receive(L, t, r, CLOCK_NEVER,
                                     next_message_again));
}

/* for len, data, flags in ring:messages() do */
static int ring_messages (lua_State *L) {
  ring_check(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, next_message, 1);
  lua_pushvalue(L, 1);
  return 2;
}


/* ring:receiving(): ring:receive as an event */
static int message_try (lua_State *L, struct task *t, struct ear *e) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct arrival a;
  (void)t; (void)e;
  if (r->open && r->messages.first == NULL)
    return 0;
  lua_pushboolean(L, 1);
  if (!r->open)
    return 1 + fail(L, EBADF, "receive: the ring is closed");
  ring_take_message(r, &a);
  return 1 + push_message(L, a.data, a.res, a.flags);
}

static int message_block (lua_State *L, struct task *t, struct ear *e) {
  struct ring *r = ring_check(L, 1);
  int rc = watchable(L, state_of(L)->loop, r);
  (void)t;
  if (rc != 0)
    return rc;
  e->ring = r;
  ear_sit(e, loop_message_line(r));
  return 0;
}

static void message_cancel (lua_State *L, struct ear *e) {
  (void)L;
  if (e->called && e->ring->open)
    loop_pass_message(e->ring);  /* guard: or who is next sleeps on */
}

static int ring_receiving (lua_State *L) {
  static const struct event_kind kind = {
    "receiving", message_try, message_block, message_cancel, false
  };
  ring_check(L, 1);
  lua_settop(L, 1);
  return event_push(L, &kind);
}


/* ---- operations -------------------------------------------------------- */

static int o_push (lua_State *L, const struct arrival *a, const struct op *op,
                   unsigned opcode) {
  int64_t res = arrival_res(a);
  if (res < 0)
    return fail_result(L, opcode, op ? op->fd : -1, op ? op->since : 0,
                       a->res, a->flags);
  lua_pushinteger(L, res);
  lua_pushinteger(L, a->flags);
  return 2;
}

static int o_wait (lua_State *L, struct task *t, struct operation *o,
                   int64_t deadline, lua_KFunction again);

/* Take the next completion; 0 if there is none yet. Its ring's close has
** cancelled it, for who `waited` when that happened. */
static int o_take (lua_State *L, struct operation *o, bool waited) {
  struct op *op = operation_op(o);
  struct arrival a;
  struct op words;
  if (op == NULL && !o->ring->open)
    return fail(L, waited ? ECANCELED : ESRCH, "the operation ended with its "
                "ring, which is closed");
  if (op == NULL)
    return fail(L, ESRCH, "the operation has ended and its completions were "
                "taken");
  words = *op;  /* (taking the last frees it) */
  if (!ring_take_op(o->ring, op, &a))
    return 0;
  return o_push(L, &a, &words, o->opcode);
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
  if (t->marks & MARK_TIMED_OUT) return fail_timeout(L);
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
  if ((rc = watchable(L, state_of(L)->loop, r)) != 0)
    return rc;
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  if (!(op->marks & OP_LOOPED)) {
    op->marks |= OP_LOOPED;
    o->looped = true;
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


/* ring:awaiting(sqe): ring:await as an event. A request cannot be taken back:
** if another event is chosen it is cancelled, and disposed of. */
static int await_try (lua_State *L, struct task *t, struct ear *e) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct op *op = e && r->open ? op_find(&r->ops, e->token) : NULL;
  struct arrival a;
  struct op words;
  (void)t;
  if (r->open && (e == NULL || (op && op->results.first == NULL)))
    return 0;
  lua_pushboolean(L, 1);
  if (e == NULL)
    return 1 + fail(L, EBADF, "await: the ring is closed");
  e->token = 0;
  if (op == NULL)
    return 1 + fail(L, ECANCELED, "the operation ended with its ring, which "
                    "is closed");
  words = *op;
  ring_take_op(r, op, &a);
  return 1 + o_push(L, &a, &words, words.opcode);
}

static int await_block (lua_State *L, struct task *t, struct ear *e) {
  struct ring *r = ring_check(L, 1);
  const struct request *q = sqe_check_in(L, state_of(L), 2, 2);
  struct op *op;
  int rc;
  (void)t;
  check_lone(L, r, 2, q);
  if ((rc = watchable(L, state_of(L)->loop, r)) != 0)
    return rc;
  rc = ring_push_one(r, q, OP_LOOPED, &op);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  op->waiter = e;
  e->token = op->token;
  return 0;
}

static void await_cancel (lua_State *L, struct ear *e) {
  ear_drop(e, class_check(L, 1, CLASS_RING), true);
}

static int ring_awaiting (lua_State *L) {
  static const struct event_kind kind = {
    "awaiting", await_try, await_block, await_cancel, false
  };
  struct ring *r = ring_check(L, 1);
  check_lone(L, r, 2, sqe_check_in(L, state_of(L), 2, 2));
  lua_settop(L, 2);
  return event_push(L, &kind);
}


static const luaL_Reg ring_waits[] = {
  {"await", ring_await},
  {"awaiting", ring_awaiting},
  {"receiving", ring_receiving},
  {"await_chain", ring_await_chain},
  {"receive", ring_receive},
  {"messages", ring_messages},
  {NULL, NULL}
};

static const luaL_Reg operation_waits[] = {
  {"await", o_await},
  {"completions", o_completions},
  {NULL, NULL}
};

void wait_open (lua_State *L) {
  class_extend(L, CLASS_RING, ring_waits);
  class_extend(L, CLASS_OPERATION, operation_waits);
}
