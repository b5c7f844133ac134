/*
** wait_message: the messages of a ring: ring:receive, ring:messages, and
** ring:receiving, the event. (Those of sockets: receive.c.)
**
** Messages that nobody waited for lie in the ring, and go first. One that
** meets a waiting task is handed over, and goes back if that is cancelled.
*/

#include "compat.h"
#include "task/wait_await.h"

#include "base/clock.h"
#include "ring/ring_reap.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/ring_object.h"
#include "task/event.h"
#include "task/msg_delivery.h"


static int push_ring_message (lua_State *L, uint64_t data, int32_t res,
                         uint32_t flags) {
  lua_pushinteger(L, (lua_Integer)(uint32_t)res);  /* as it was set */
  lua_pushinteger(L, (lua_Integer)data);
  lua_pushinteger(L, flags);
  return 3;
}

static int wait_message_closed (lua_State *L) {
  return fail(L, EBADF, "receive: the ring is closed");
}

static int receive_message (lua_State *L, struct task *t, struct ring *r,
                    int64_t deadline, lua_KFunction again);

/* After a wait for a message: how it ended, or 0 when it has to begin anew
** after a turn of the others. */
static int receive_end (lua_State *L, struct task *t, struct ring *r) {
  loop_check(L, t);  /* (whoever has cancelled it took the message back) */
  if (t->task_flags & TASKF_DELIVERED) {
    loop_message_accepted(t);
    return push_ring_message(L, t->data, t->res, t->flags);
  }
  if (t->task_flags & TASKF_TIMED_OUT)
    return fail_timeout(L);
  if (!r->open)
    return wait_message_closed(L);
  return 0;
}

static int receive_again (lua_State *L, int status, lua_KContext ctx) {
  struct ring *r = lua_touserdata(L, 1);
  struct task *t = loop_resumed(L);
  int n;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, receive_again);
  n = receive_end(L, t, r);
  return n ? n : receive_message(L, t, r, (int64_t)ctx, receive_again);
}

static int receive_message (lua_State *L, struct task *t, struct ring *r,
                    int64_t deadline, lua_KFunction again) {
  struct pending_cqe a;
  int rc;
  if (ring_has_message(r)) {
    if (loop_unfair(t))
      return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER,
                       (lua_KContext)deadline, again);
    ring_take_message(r, &a);
    return push_ring_message(L, a.data, a.res, a.flags);
  }
  if ((rc = wait_watch(L, state_of(L)->loop, r)) != 0)
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
  return receive_message(L, t, r, clock_after(ns), receive_again);
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
    n = receive_message(L, t, r, (int64_t)ctx, next_message_again);
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
  return next_message_end(L, receive_message(L, t, r, CLOCK_NEVER,
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
static int message_try (lua_State *L, struct task *t,
                        struct select_waiter *e) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct pending_cqe a;
  (void)t; (void)e;
  if (r->open && !ring_has_message(r))
    return 0;
  lua_pushboolean(L, 1);
  if (!r->open)
    return 1 + wait_message_closed(L);
  ring_take_message(r, &a);
  return 1 + push_ring_message(L, a.data, a.res, a.flags);
}

static int message_block (lua_State *L, struct task *t,
                          struct select_waiter *e) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  int rc;
  (void)t;
  if (!r->open)
    return wait_message_closed(L);
  ring_check(L, 1);
  if ((rc = wait_watch(L, state_of(L)->loop, r)) != 0)
    return rc;
  e->ring = r;
  select_waiter_enqueue(e, msg_delivery_queue(r));
  return 0;
}

static void message_cancel (lua_State *L, struct select_waiter *e) {
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


static const luaL_Reg methods[] = {
  {"receive", ring_receive},
  {"messages", ring_messages},
  {"receiving", ring_receiving},
  {NULL, NULL}
};

void wait_message_open (lua_State *L) {
  class_extend(L, CLASS_RING, methods);
}
