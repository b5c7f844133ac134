/*
** wait_message: waits for the messages of a ring: ring:receive, ring:messages,
** and ring:receiving, the event. (For the data of sockets: net/recv.c.)
**
** A message stays with its ring until a waiter takes it, so a task that ends
** takes none along. Messages are taken in order, by waiters first come, first
** served.
*/

#include "compat.h"
#include "task/wait_await.h"

#include "ring/ring_reap.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/ring_check.h"
#include "task/event.h"


/* The wait of `node` ends. If there is a message for which no waiter was
** woken, wake the next one. */
static void message_end_turn (lua_State *L, struct ring *r,
                              struct wait_node *node) {
  turnq_end_turn(&r->receivers, node);
  if (r->messages.count > r->receivers.turns)
    turnq_wake(state_of(L)->loop, &r->receivers);
}

static int fail_receive_closed (lua_State *L) {
  return fail(L, EBADF, "receive: the ring is closed");
}

static int message_try (lua_State *L, struct task *t,
                        struct wait_node *node) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct pending_cqe a;
  if (!r->open)
    return fail_receive_closed(L);
  if (node != &t->node) ring_check(L, 1);  /* (an event may be older) */
  if (!ring_has_message(r)
      || !turnq_may_take(&r->receivers, node, r->messages.count))
    return 0;
  ring_take_message(r, &a);
  message_end_turn(L, r, node);
  lua_pushinteger(L, (lua_Integer)(uint32_t)a.res);  /* as it was sent */
  lua_pushinteger(L, (lua_Integer)a.data);
  lua_pushinteger(L, a.flags);
  return 3;
}

static int message_block (lua_State *L, struct task *t, struct blocking *b) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct select_waiter *e = select_waiter_of(b->node);
  int rc;
  if (!r->open)
    return fail_receive_closed(L);
  ring_check(L, 1);
  if ((rc = wait_watch(L, state_of(L)->loop, r)) != 0)
    return rc;
  if (e) e->ring = r;
  else {
    t->ring = r;
    r->held++;
  }
  wait_join(b, &r->receivers, WAIT_MESSAGE);
  return 0;
}

static void message_cancel (lua_State *L, struct task *t,
                            struct wait_node *node) {
  (void)t;
  message_end_turn(L, class_raw(L, 1, CLASS_RING), node);
}

static const struct wait_kind message_kind = {
  "receiving", message_try, message_block, message_cancel, WAITS_OUTSIDE, NULL
};

static int receive_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &message_kind, (int64_t)ctx, receive_again);
}

/* ring:receive([timeout]): len, data, flags */
static int ring_receive (lua_State *L) {
  int64_t ns;
  struct task *t;
  ring_check(L, 1);
  ns = arg_seconds(L, 2);
  t = loop_enter(L, state_of(L)->loop, "ring:receive");
  return wait_perform(L, t, &message_kind,
                      loop_deadline(state_of(L)->loop, ns), receive_again);
}

static int next_message_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_next(L, wait_resumed(L, &message_kind, (int64_t)ctx,
                                   next_message_again));
}

static int next_message (lua_State *L) {
  const struct ring *r = class_check(L, 1, CLASS_RING);
  struct task *t;
  if (!r->open) {
    lua_pushnil(L);
    return 1;
  }
  ring_check(L, 1);
  t = loop_enter(L, state_of(L)->loop, "ring:messages");
  return wait_next(L, wait_perform(L, t, &message_kind, CLOCK_NEVER,
                                   next_message_again));
}

/* for len, data, flags in ring:messages() do */
static int ring_messages (lua_State *L) {
  ring_check(L, 1);
  return wait_iterate(L, next_message);
}

/* ring:receiving(): ring:receive as an event */
static int ring_receiving (lua_State *L) {
  wait_check_ring(L, ring_check(L, 1));
  lua_settop(L, 1);
  return event_push(L, &message_kind);
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
