/*
** mailbox_receive: see the header. What must not break: what ends a wait or
** takes a message wakes the next waiter, if a message is left.
*/

#include "compat.h"
#include "worker/mailbox_receive.h"

#include "lua/args.h"
#include "lua/errors.h"
#include "task/event.h"
#include "task/ring_watch.h"
#include "worker/decode.h"
#include "worker/mailbox_internal.h"
#include "worker/reply.h"


/* ---- taking ------------------------------------------------------------ */

/* The first message was taken. */
static void take (lua_State *L, struct mailbox *m,
                  const struct message *first) {
  uint64_t cost = first->cost;
  bool fds = first->fds > 0;
  queue_taken(m->q);
  if ((fds || mailbox_grain(queue_taken_bytes(m->q), cost)) && !m->closed)
    mailbox_count_queue(state_of(L), m);
}

/* The message is a call, and a plain receive does not answer: say so. */
static void answer_unserved (struct message *m) {
  if (message_kind(m->cells[0]) == MESSAGE_SLOT)
    reply_post_error(message_block(m->cells).ud, "the mailbox that was called "
                     "is not served: its reader has received the call");
}

/* The first message, as queue_read gives it. Unless `calls` are wanted they
** are answered, and passed over. */
static int read_first (lua_State *L, struct mailbox *m, bool calls,
                       struct message **first) {
  int rc;
  while ((rc = queue_read(m->q, first)) > 0
         && (*first)->flags & MESSAGE_CALL && !calls) {
    if (!m->closed) answer_unserved(*first);  /* guard: the slot has gone */
    message_dispose(*first);
    take(L, m, *first);
  }
  return rc;
}

/* Push the values of the first message, after whether it is a call, if `calls`
** are wanted: how many; 0: there is none. nil, message, errno: and there will
** be none. */
static int receive_first (lua_State *L, struct mailbox *m, bool calls) {
  struct message *message;
  int n, rc = read_first(L, m, calls, &message);
  if (rc == -EPIPE)
    return fail(L, EPIPE, "receive: no sender is left");
  if (rc <= 0)
    return 0;
  if (calls) lua_pushboolean(L, message->flags & MESSAGE_CALL);
  n = decode_message(L, message);
  if (n == DECODE_CORRUPT) {
    take(L, m, message);
    return fail(L, EBADMSG, "receive: the message's bytes are corrupt");
  }
  if (n < 0) {
    queue_unread(m->q);  /* guard: it stays the first */
    return n == DECODE_NO_STACK ? luaL_error(L, "stack overflow (a message)")
                               : raise_again(L);
  }
  take(L, m, message);
  return calls ? n + 1 : n;
}


/* ---- waiting ----------------------------------------------------------- */

/* The doorbell of the state's loop; NULL: nil, message, errno are pushed. */
static struct doorbell *mailbox_doorbell (lua_State *L, const char *what) {
  struct doorbell *b = loop_doorbell(state_of(L)->loop);
  if (b == NULL) fail(L, errno, "%s: no doorbell for the loop", what);
  return b;
}

/* Let the queue wake the next waiter, if there is one: in this turn of the
** loop if a message is there that no other has a turn for. */
static void wake_next (lua_State *L, struct mailbox *m) {
  struct turnq *q = &m->waitq.q;
  struct loop *loop = q->waiting.last ? state_of(L)->loop : NULL;
  if (loop)
    queue_want(m->q, loop->ring->doorbell, q->turns);  /* guard: it wakes one
                                                          waiter, once */
}

static void end_turn (lua_State *L, struct mailbox *m,
                      struct wait_node *node) {
  turnq_end_turn(&m->waitq.q, node);
  if (!m->closed) wake_next(L, m);
}

static int fail_mailbox_closed (lua_State *L) {
  return fail(L, EBADF, "receive: the mailbox is closed");
}

/* (Its class was checked when the call began, or the event was made.) */
static int try_either (lua_State *L, struct wait_node *node, bool calls) {
  struct mailbox *m = mailbox_check_fork(L, class_raw(L, 1, CLASS_MAILBOX));
  const struct turnq *q = &m->waitq.q;
  int n;
  if (m->closed)
    return fail_mailbox_closed(L);
  /* (when no sender is left there is nothing to take turns for) */
  if (q->waiting.last || q->turns > 0) {
    uint64_t items = queue_count(m->q, (uint64_t)q->turns + 1);
    if (items > 0 && !turnq_may_take(q, node, (size_t)items))
      return 0;
  }
  n = receive_first(L, m, calls);
  if (n > 0) end_turn(L, m, node);
  return n;
}

static int mailbox_try (lua_State *L, struct task *t,
                        struct wait_node *node) {
  (void)t;
  return try_either(L, node, false);
}

static int mailbox_try_call (lua_State *L, struct task *t,
                             struct wait_node *node) {
  (void)t;
  return try_either(L, node, true);
}

static int mailbox_block (lua_State *L, struct task *t, struct blocking *b) {
  struct mailbox *m = class_check(L, 1, CLASS_MAILBOX);
  const struct loop *loop = state_of(L)->loop;
  (void)t;
  if (m->closed)
    return fail_mailbox_closed(L);
  if (mailbox_doorbell(L, "receive") == NULL)
    return 3;
  wait_join(b, &m->waitq.q, WAIT_QUEUE);
  queue_linger(m->q, loop->spin.longest > 0 && !loop->stepping);
  wake_next(L, m);
  return 0;
}

static void mailbox_cancel (lua_State *L, struct task *t,
                            struct wait_node *node) {
  (void)t;
  end_turn(L, class_raw(L, 1, CLASS_MAILBOX), node);
}

static const struct wait_kind receive_kind = {
  "receiving", mailbox_try, mailbox_block, mailbox_cancel, WAITS_RUNG, NULL
};

static const struct wait_kind call_kind = {
  "serving", mailbox_try_call, mailbox_block, mailbox_cancel, WAITS_RUNG, NULL
};

static int mailbox_receive_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &receive_kind, (int64_t)ctx, mailbox_receive_again);
}

/* mailbox:receive([timeout]) */
static int mailbox_receive (lua_State *L) {
  struct loop *loop;
  int64_t ns;
  struct task *t;
  mailbox_check_open(L);
  ns = arg_seconds(L, 2);
  lua_settop(L, 1);
  loop = state_of(L)->loop;
  t = loop_enter(L, loop, "mailbox:receive");
  return wait_perform(L, t, &receive_kind, loop_deadline(loop, ns),
                      mailbox_receive_again);
}

static int receive_call_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &call_kind, (int64_t)ctx, receive_call_again);
}

/* receive_call(mailbox): is_call, values...; of a call the first is the slot
** for the answer. (lua/uring/call.lua) */
static int internal_receive_call (lua_State *L) {
  struct task *t;
  mailbox_check(L);
  lua_settop(L, 1);
  t = loop_enter(L, state_of(L)->loop, "mailbox:serve");
  return wait_perform(L, t, &call_kind, CLOCK_NEVER, receive_call_again);
}

/* mailbox:try_receive() */
static int mailbox_try_receive (lua_State *L) {
  int n;
  mailbox_check_open(L);
  n = mailbox_try(L, NULL, NULL);
  return n > 0 ? n
               : fail_text(L, EAGAIN, "try_receive: there is no message");
}

/* mailbox:receiving(): mailbox:receive as an event */
static int mailbox_receiving (lua_State *L) {
  mailbox_check_open(L);
  return event_push_kept(L, &receive_kind, MAILBOX_EVENT);
}

/* The end of an iterator's step: of senders, or of the mailbox, is its end. */
static int end_of_messages (lua_State *L, int n) {
  if (n == 3 && lua_isnil(L, -3) && lua_tointeger(L, -1) == EPIPE) {
    lua_pushnil(L);
    return 1;
  }
  return wait_next(L, n);
}

static int mailbox_next_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return end_of_messages(L, wait_resumed(L, &receive_kind, (int64_t)ctx,
                                         mailbox_next_again));
}

static int mailbox_next (lua_State *L) {
  struct mailbox *m = mailbox_check(L);
  struct task *t;
  lua_settop(L, 1);
  if (m->closed) {
    lua_pushnil(L);
    return 1;
  }
  t = loop_enter(L, state_of(L)->loop, "mailbox:messages");
  return end_of_messages(L, wait_perform(L, t, &receive_kind, CLOCK_NEVER,
                                         mailbox_next_again));
}

/* for ... in mailbox:messages() do */
static int mailbox_messages (lua_State *L) {
  mailbox_check_open(L);
  lua_settop(L, 1);
  return wait_iterate(L, mailbox_next);
}


/* ---- after the close --------------------------------------------------- */

/* The next message that was kept; nil: there is none. */
static int next_undelivered (lua_State *L) {
  struct mailbox *m = mailbox_check(L);
  int n;
  lua_settop(L, 1);
  n = m->closed && m->q ? receive_first(L, m, false) : 0;
  if (n > 0)
    return n;
  if (m->q && m->q->left == 0) mailbox_end_load(state_of(L), m);
  lua_pushnil(L);
  return 1;
}

/* for ... in mailbox:undelivered() do */
static int mailbox_undelivered (lua_State *L) {
  if (!mailbox_check(L)->closed)
    return luaL_argerror(L, 1, "the mailbox is open: what is left after "
                         "close(true) is undelivered");
  lua_settop(L, 1);
  return wait_iterate(L, next_undelivered);
}


static const luaL_Reg methods[] = {
  {"receive", mailbox_receive},
  {"try_receive", mailbox_try_receive},
  {"receiving", mailbox_receiving},
  {"messages", mailbox_messages},
  {"undelivered", mailbox_undelivered},
  {NULL, NULL}
};

void mailbox_receive_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, internal_receive_call, 1);
  lua_setfield(L, -2, "receive_call");
}

void mailbox_receive_open (lua_State *L) {
  class_extend(L, CLASS_MAILBOX, methods);
}
