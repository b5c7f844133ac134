/*
** mail_call: see the header. A call sends its message (send_wait), and then
** waits for the answer in its slot. What must not break: the caller's object
** clears `owner` of the call's record before it is freed.
*/

#include "compat.h"
#include "worker/mail_call.h"

#include "lua/errors.h"
#include "ring/ring_submit.h"
#include "task/ring_watch.h"
#include "task/wait.h"
#include "worker/call.h"
#include "worker/decode.h"
#include "worker/encode.h"
#include "worker/mail_address.h"
#include "worker/mailbox.h"
#include "worker/send_wait.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

struct calling {           /* the userdata */
  struct call_handle handle;  /* first */
  struct object_waitq waitq;  /* its task, as a WAIT_QUEUE */
  struct mail_address *to;  /* its user value */
  bool inner;               /* to a mailbox of this state */
  struct account *account;  /* of its state, charged with the answer */
  size_t charged;
};

#define CALLING_TO 1       /* user value */


/* ---- its object -------------------------------------------------------- */

static void end_calling (struct calling *c) {
  struct call *call = c->handle.call;
  if (call == NULL)
    return;
  c->handle.call = NULL;
  call->caller.owner = NULL;  /* guard: it may be in the ready list */
  call_leave(call);
  refblock_release(&call->block);
  object_waitq_close(&c->waitq);
  account_refund(c->account, c->charged);
}

/* Of a call to a mailbox of this state both sides, and the slot for the
** answer, are in it: no other thread has the call. */
static unsigned calling_doorbells (const struct object_waitq *waitq,
                                   const struct doorbell *doorbell) {
  const struct calling *c = (const struct calling *)(const void *)
    ((const char *)waitq - offsetof(struct calling, waitq));
  if (!c->inner)  /* guard: another state may answer */
    return 0;
  return (c->handle.call->caller.doorbell == doorbell ? 1u : 0)
         + (c->handle.call->server.doorbell == doorbell ? 1u : 0);
}

static void describe_calling (lua_State *L, const struct object_waitq *waitq,
                              lua_State *co) {
  (void)co; (void)waitq;
  lua_pushliteral(L, "for the answer to a call");
}

static int calling_gc (lua_State *L) {
  end_calling(class_check(L, 1, CLASS_CALLING));
  return 0;
}

static void calling_woken (void *owner, struct loop *loop) {
  struct calling *c = owner;
  waitq_wake_all(loop, &c->waitq.q.waiting);
}

/* Make it what is called, and the first value of the message: or nil, message,
** errno; 3. */
static int begin_call (lua_State *L) {
  struct account *account = state_of(L)->account;
  struct doorbell *doorbell = loop_doorbell(state_of(L)->loop);
  size_t bytes = mailbox_usual_bytes(account);
  struct calling *c;
  if (doorbell == NULL)
    return fail(L, errno, "call: no doorbell for the loop");
  pressure_make_room(L, bytes);
  c = class_new(L, CLASS_CALLING, sizeof(*c), 1);
  c->to = mail_address_check(L);  /* (as it is now) */
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, CALLING_TO);
  if (!account_has_room(account, bytes)
      || (c->handle.call = call_new(bytes)) == NULL)
    return fail(L, ENOMEM, "call: its answer may count %llu bytes%s",
                (unsigned long long)bytes, state_memory_note(L));
  account_count(account, bytes);
  c->account = account;
  c->charged = bytes;
  c->handle.call->caller.owner = c;
  c->handle.call->caller.woken = calling_woken;
  call_watch(c->handle.call, &c->handle.call->caller, doorbell);
  c->inner = c->to->q->made_in == state_of(L);
  c->waitq.what = "for the answer to a call";
  c->waitq.describe = describe_calling;
  c->waitq.fd = -1;
  c->waitq.rung = true;
  c->waitq.own_doorbells = calling_doorbells;
  object_waitq_open(state_of(L), &c->waitq);
  lua_replace(L, 1);
  return 0;
}


/* ---- its answer -------------------------------------------------------- */

static int push_answer (lua_State *L, struct calling *c) {
  struct call *call = c->handle.call;
  int n = decode_message(L, call->answer);
  if (n >= 0) {  /* guard: a string may have its memory (large_string.h) */
    message_free(call->answer);
    call->answer = NULL;
  }
  end_calling(c);
  if (n == DECODE_NO_STACK) luaL_error(L, "stack overflow (an answer)");
  return n < 0 ? raise_again(L) : n;
}

static int answer_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct calling *c = class_raw(L, 1, CLASS_CALLING);
  (void)t; (void)node;
  switch (call_status(c->handle.call)) {
    case CALL_OPEN: return 0;
    case CALL_ANSWERED: return push_answer(L, c);
    default:
      end_calling(c);
      return fail(L, EPIPE, "call: the mailbox that was called was closed, "
                  "its state has ended, or its handler was cancelled, before "
                  "it answered");
  }
}

static int answer_block (lua_State *L, struct task *t, struct blocking *b) {
  struct calling *c = class_raw(L, 1, CLASS_CALLING);
  (void)t;
  wait_join_plain(b, &c->waitq.q.waiting, WAIT_QUEUE, &c->waitq);
  return 0;
}

static void answer_cancel (lua_State *L, struct task *t,
                           struct wait_node *node) {
  (void)t; (void)node;
  end_calling(class_raw(L, 1, CLASS_CALLING));
}

static const struct wait_kind answer_kind = {
  "calling", answer_try, answer_block, answer_cancel, WAITS_RUNG, NULL
};

/* The error of the server, with its traceback if it is a text. */
static int raise_answer (lua_State *L, int at, int n) {
  lua_settop(L, at + n - 1);
  if (n == 3 && lua_type(L, at + 1) == LUA_TSTRING
      && lua_type(L, at + 2) == LUA_TSTRING) {
    lua_pushliteral(L, "\n(in the server) ");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
  else lua_settop(L, at + 1);
  return lua_error(L);
}

/* What the call returns, of the wait's results. */
static int answered (lua_State *L, int n) {
  int at = lua_gettop(L) - n + 1;
  if (lua_isnil(L, at))
    return n;
  if (!lua_toboolean(L, at))
    return raise_answer(L, at, n);
  return n - 1;
}

static int answer_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return answered(L, wait_resumed(L, &answer_kind, (int64_t)ctx,
                                  answer_again));
}

/* It was sent, or not: with n results. */
static int call_sent (lua_State *L, int n) {
  struct task *t = state_of(L)->loop->current;
  struct calling *c = class_raw(L, 1, CLASS_CALLING);
  if (lua_isnil(L, -n) || t->task_flags & TASKF_CANCELLED) {
    end_calling(c);
    loop_check(L, t);
    return n;
  }
  lua_settop(L, 1);
  return answered(L, wait_perform(L, t, &answer_kind, CLOCK_NEVER,
                                  answer_again));
}

static struct queue *call_queue (lua_State *L) {
  const struct calling *c = class_raw(L, 1, CLASS_CALLING);
  if (c->to->q == NULL)
    luaL_argerror(L, 1, "attempt to use a closed address");
  return c->to->q;
}

int mail_call (lua_State *L) {
  static const struct send_kind kind = { "call", MESSAGE_CALL, 1, call_queue,
                                         call_sent };
  struct task *t;
  int n;
  mail_address_check(L);
  t = loop_enter(L, state_of(L)->loop, "address:call");
  n = begin_call(L);
  return n > 0 ? n : send_wait_as(L, t, call_queue(L), &kind);
}


/* ---- the server's ------------------------------------------------------ */

/* answer(ok, ...): true; false: the caller has gone; or nil, message, errno.
** Raises for what cannot travel. */
static int served_call_answer (lua_State *L) {
  struct call *c = ((struct call_handle *)class_check(L, 1,
                                             CLASS_SERVED_CALL))->call;
  const struct queue_limits most = { 1, c->bytes, MESSAGE_FDS };
  struct message *m = NULL;
  struct encoded e;
  int rc = encode_within(L, 2, lua_gettop(L), &most, MESSAGE_ALL_KINDS, &e);
  bool sent;
  if (rc == 0 && (m = encode_keep(&e)) == NULL) {
    encode_withdraw(L, &e);
    rc = -ENOMEM;
  }
  if (rc < 0)
    return rc == -EMSGSIZE
           ? fail(L, EMSGSIZE, "they count as more than %llu bytes",
                  (unsigned long long)c->bytes) : fail(L, -rc, "answer");
  if (e.moved.nfds > 0) ring_submit_all(state_of(L)->rings);
  sent = call_answer(c, m);
  if (sent) owned_sent(L, &e.moved);
  else {
    owned_withdraw(L, &e.moved, m);
    free(m);
  }
  lua_pushboolean(L, sent);
  return 1;
}


static const luaL_Reg none[] = { {NULL, NULL} };

static const luaL_Reg meta[] = {
  {"__gc", calling_gc},
  {NULL, NULL}
};

static const luaL_Reg methods[] = {
  {"call", mail_call},
  {NULL, NULL}
};

static const luaL_Reg server_methods[] = {
  {"answer", served_call_answer},
  {NULL, NULL}
};

void mail_call_open (lua_State *L) {
  class_define(L, CLASS_CALLING, none, meta, NULL);
  class_extend(L, CLASS_ADDRESS, methods);
  class_extend(L, CLASS_SERVED_CALL, server_methods);
}
