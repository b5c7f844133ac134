/*
** mailbox: see the header. It makes mailboxes, receives from them and closes
** them. What must not break: whatever ends a wait or takes a message wakes the
** next waiter, if a message is left.
*/

#include "compat.h"
#include "worker/mailbox.h"

#include "base/fork_id.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "task/event.h"
#include "task/ring_watch.h"
#include "worker/decode.h"
#include "worker/mail_address.h"
#include "worker/name_table.h"
#include "worker/realm.h"
#include "worker/reply.h"

#include <stdlib.h>

#define MEMORY 4096        /* the size of a mailbox, for the collector */
#define BYTES_USUAL   (1 << 20)  /* that it may hold; and where the state's
                                    memory is bounded: */
#define BYTES_BOUNDED (1 << 16)

struct mailbox {
  struct object_waitq waitq;  /* first: tasks that wait for a message */
  struct queue *q;         /* NULL: it was never made */
  struct account *account; /* charged with what it may hold; or NULL */
  size_t charged;
  size_t bytes;            /* in the queue, and told to the collector */
  unsigned fds;
  bool closed;
};

/* User values of a mailbox. */
#define MAILBOX_NAME  1    /* or nil */
#define MAILBOX_EVENT 2    /* mailbox:receiving() */


/* ---- what the collector is told ---------------------------------------- */

/* The messages in the queue go with the mailbox, if that is garbage, so they
** count. (The new comes first, or the sum seems to fall.) */
static void count_load (struct state *s, struct mailbox *m, size_t bytes,
                        unsigned fds) {
  pressure_hold(&s->pressure, bytes, fds);
  pressure_drop(&s->pressure, m->bytes, m->fds);
  m->bytes = bytes;
  m->fds = fds;
}

static void count_queue (struct state *s, struct mailbox *m) {
  size_t bytes;
  unsigned fds;
  queue_load(m->q, &bytes, &fds);
  count_load(s, m, bytes, fds);
}

void mailbox_count (lua_State *L, struct queue *q) {
  struct state *s = state_of(L);
  struct mailbox *m = atomic_load(&q->reader_state) == s ? q->reader : NULL;
  if (m && !m->closed) count_queue(s, m);
}

/* The first message was taken. */
static void take (lua_State *L, struct mailbox *m,
                  const struct message *first) {
  uint64_t cost = first->cost;
  bool fds = first->fds > 0;
  queue_taken(m->q);
  if ((fds || mailbox_grain(queue_taken_bytes(m->q), cost)) && !m->closed)
    count_queue(state_of(L), m);
}


/* ---- waking ------------------------------------------------------------ */

/* A message has come, or no sender is left. */
static void mailbox_woken (void *reader, struct loop *loop) {
  struct mailbox *m = reader;
  struct turnq *q = &m->waitq.q;
  uint64_t messages = queue_count(m->q, UINT64_MAX);
  if (messages == 0 && queue_is_over(m->q)) turnq_wake_all(loop, q);
  else do turnq_wake(loop, q);  /* (one in any case: it asks anew) */
  while (q->waiting.last && q->turns < messages);
}

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


/* ---- receiving --------------------------------------------------------- */

static struct mailbox *check_fork (lua_State *L, struct mailbox *m) {
  if (m->q && m->q->fork_id != fork_id())
    luaL_argerror(L, 1, "this mailbox belongs to another process: a forked "
                  "child makes its own");
  return m;
}

static struct mailbox *check_mailbox (lua_State *L) {
  return check_fork(L, class_check(L, 1, CLASS_MAILBOX));
}

bool mailbox_at (lua_State *L, const struct state *s, int index,
                 struct queue **q) {
  const struct mailbox *m = class_at(L, s, index, CLASS_MAILBOX);
  *q = m && !m->closed ? m->q : NULL;
  return m != NULL;
}

static struct mailbox *check_open_mailbox (lua_State *L) {
  struct mailbox *m = check_mailbox(L);
  if (m->closed || m->q == NULL)
    luaL_argerror(L, 1, "attempt to use a closed mailbox");
  return m;
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

static int fail_mailbox_closed (lua_State *L) {
  return fail(L, EBADF, "receive: the mailbox is closed");
}

/* (Its class was checked when the call began, or the event was made.) */
static int try_either (lua_State *L, struct wait_node *node, bool calls) {
  struct mailbox *m = check_fork(L, class_raw(L, 1, CLASS_MAILBOX));
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
  check_open_mailbox(L);
  ns = arg_seconds(L, 2);
  lua_settop(L, 1);
  loop = state_of(L)->loop;
  t = loop_enter(L, loop, "mailbox:receive");
  return wait_perform(L, t, &receive_kind, loop_deadline(loop, ns),
                      mailbox_receive_again);
}

/* check_open_mailbox(mailbox): raises if it is not */
static int internal_check_open (lua_State *L) {
  check_open_mailbox(L);
  return 0;
}

static int receive_call_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &call_kind, (int64_t)ctx, receive_call_again);
}

/* receive_call(mailbox): is_call, values...; of a call the first is the slot
** for the answer. (lua/uring/call.lua) */
static int internal_receive_call (lua_State *L) {
  struct task *t;
  check_mailbox(L);
  lua_settop(L, 1);
  t = loop_enter(L, state_of(L)->loop, "mailbox:serve");
  return wait_perform(L, t, &call_kind, CLOCK_NEVER, receive_call_again);
}

/* mailbox:try_receive() */
static int mailbox_try_receive (lua_State *L) {
  int n;
  check_open_mailbox(L);
  n = mailbox_try(L, NULL, NULL);
  return n > 0 ? n
               : fail_text(L, EAGAIN, "try_receive: there is no message");
}

/* mailbox:receiving(): mailbox:receive as an event */
static int mailbox_receiving (lua_State *L) {
  check_open_mailbox(L);
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
  struct mailbox *m = check_mailbox(L);
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
  check_open_mailbox(L);
  lua_settop(L, 1);
  return wait_iterate(L, mailbox_next);
}


/* ---- its life ---------------------------------------------------------- */

static void describe_mailbox (lua_State *L, const struct object_waitq *waitq,
                              lua_State *co) {
  const struct mailbox *m = (const struct mailbox *)waitq;
  uint64_t messages = m->q->limits.messages;
  const char *name = NULL;
  (void)co;
  if (m->q->named) name = name_of(m->q);
  if (name) lua_pushfstring(L, "to receive from mailbox '%s'", name);
  else lua_pushfstring(L, "to receive from a mailbox (capacity %I)",
                       (LUAI_UACINT)messages);
}

static unsigned mailbox_own_doorbells (const struct object_waitq *waitq,
                                       const struct doorbell *doorbell) {
  return queue_own_doorbells(((const struct mailbox *)waitq)->q, doorbell);
}

size_t mailbox_usual_bytes (const struct account *a) {
  return account_limit(a) == SIZE_MAX ? BYTES_USUAL : BYTES_BOUNDED;
}

static void read_limits (lua_State *L, struct queue_limits *l) {
  l->messages = (uint64_t)options_integer(L, 1, "capacity", 1024, 1,
                                          1 << 30);
  l->bytes = (uint64_t)options_integer(L, 1, "bytes",
    (lua_Integer)mailbox_usual_bytes(state_of(L)->account), 256, 1 << 30);
  l->fds = (uint64_t)options_integer(L, 1, "fds", 16, 0, 1 << 16);
}

static void open_mailbox (struct state *s, struct mailbox *m) {
  pressure_hold(&s->pressure, MEMORY, 0);
  m->waitq.what = "to receive from a mailbox";
  m->waitq.describe = describe_mailbox;
  m->waitq.fd = -1;
  m->waitq.rung = true;
  m->waitq.own_doorbells = mailbox_own_doorbells;
  m->q->reader = m;
  atomic_store(&m->q->reader_state, s);
  m->q->woken = mailbox_woken;
  object_waitq_open(s, &m->waitq);
}

void mailbox_push (lua_State *L, struct queue *q) {
  struct mailbox *m = class_new(L, CLASS_MAILBOX, sizeof(*m), MAILBOX_EVENT);
  refblock_retain(&q->block);
  m->q = q;
  open_mailbox(state_of(L), m);
}

/* Charge all that the mailbox may hold now, for posts must never fail for the
** limit of its reader. */
static bool charge (struct mailbox *m, struct account *a, size_t bytes) {
  if (!account_charge(a, bytes))
    return false;
  m->account = a;
  m->charged = bytes;
  return true;
}

static void refund (struct mailbox *m) {
  account_refund(m->account, m->charged);
  m->account = NULL;
}

/* Closed, it has no messages, or keeps none any more. */
static void end_load (struct state *s, struct mailbox *m) {
  count_load(s, m, 0, 0);
  refund(m);
}

/* uring.mailbox{ name =, capacity =, bytes =, fds = } */
int mailbox_new (lua_State *L) {
  static const char *const names[] = { "name", "capacity", "bytes", "fds",
                                       NULL };
  struct queue_limits limits;
  struct mailbox *m;
  int rc;
  pressure_tell(L, MEMORY, 0);
  lua_settop(L, 1);
  options_open(L, 1, names);
  read_limits(L, &limits);
  realm_option(L, 1);
  pressure_make_room(L, limits.bytes);
  m = class_new(L, CLASS_MAILBOX, sizeof(*m), MAILBOX_EVENT);
  if (!charge(m, state_of(L)->account, limits.bytes))
    return fail(L, ENOMEM, "uring.mailbox: %llu bytes, and all of them count"
                "%s", (unsigned long long)limits.bytes, state_memory_note(L));
  if ((m->q = queue_new(&limits)) == NULL)
    return luaL_error(L, "not enough memory for a mailbox");
  m->q->made_in = state_of(L);
  queue_own(m->q, m->q->made_in);
  open_mailbox(state_of(L), m);
  if (!lua_isnil(L, 2) && (rc = realm_add(L, 2, m->q)) > 0)
    return rc;
  return 1;
}

/* Close it, once: how many messages were not delivered; they are kept, or
** disposed of. */
static uint64_t close_mailbox (lua_State *L, struct mailbox *m, bool keep) {
  struct state *s = state_of(L);
  uint64_t undelivered;
  if (m->q == NULL)
    return 0;
  if (!keep) end_load(s, m);
  if (m->closed)
    return queue_close(m->q, keep);
  m->closed = true;
  pressure_drop(&s->pressure, MEMORY, 0);
  name_remove(m->q);  /* guard: first; found now, it gives EPIPE */
  undelivered = queue_close(m->q, keep);
  if (undelivered == 0) end_load(s, m);
  turnq_wake_all(s->loop, &m->waitq.q);
  return undelivered;
}

/* mailbox:close(keep): true, undelivered */
static int mailbox_close (lua_State *L) {
  struct mailbox *m = check_mailbox(L);
  uint64_t undelivered;
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TBOOLEAN);
  undelivered = close_mailbox(L, m, lua_toboolean(L, 2));
  lua_pushboolean(L, 1);
  lua_pushinteger(L, (lua_Integer)undelivered);
  return 2;
}

static int mailbox_scope_end (lua_State *L) {
  close_mailbox(L, check_mailbox(L), false);
  return 0;
}

/* The next message that was kept; nil: there is none. */
static int next_undelivered (lua_State *L) {
  struct mailbox *m = check_mailbox(L);
  int n;
  lua_settop(L, 1);
  n = m->closed && m->q ? receive_first(L, m, false) : 0;
  if (n > 0)
    return n;
  if (m->q && m->q->left == 0) end_load(state_of(L), m);
  lua_pushnil(L);
  return 1;
}

/* for ... in mailbox:undelivered() do */
static int mailbox_undelivered (lua_State *L) {
  if (!check_mailbox(L)->closed)
    return luaL_argerror(L, 1, "the mailbox is open: what is left after "
                         "close(true) is undelivered");
  lua_settop(L, 1);
  return wait_iterate(L, next_undelivered);
}

static int mailbox_gc (lua_State *L) {
  struct mailbox *m = class_check(L, 1, CLASS_MAILBOX);
  if (m->q == NULL) {
    refund(m);
    return 0;
  }
  pressure_collected(&state_of(L)->pressure,
                     m->bytes + (m->closed ? 0 : MEMORY), m->fds);
  object_waitq_close(&m->waitq);
  close_mailbox(L, m, false);
  m->q->reader = NULL;
  queue_disown(m->q, state_of(L));
  refblock_release(&m->q->block);
  m->q = NULL;
  return 0;
}

/* mailbox:address() */
static int mailbox_address (lua_State *L) {
  struct mailbox *m = check_open_mailbox(L);
  struct mail_address *a = mail_address_new(L);
  if (m->closed)
    return luaL_argerror(L, 1, "attempt to use a closed mailbox");
  refblock_retain(&m->q->block);
  mail_address_set(a, m->q);
  return 1;
}

static int internal_address_of (lua_State *L) {
  struct mail_address *a;
  struct queue *q;
  lua_settop(L, 1);
  a = mail_address_new(L);
  if (!mailbox_at(L, state_of(L), 1, &q)) {  /* (as it is now) */
    const struct mail_address *other = mail_address_at(L, state_of(L), 1);
    q = other ? other->q : NULL;
  }
  if (q == NULL)
    return 0;
  refblock_retain(&q->block);
  mail_address_set(a, q);
  return 1;
}

/* The methods of a class, for call.lua to add to. */
static void give_methods (lua_State *L, enum class c, const char *name) {
  int functions = lua_gettop(L);
  class_push_methods(L, functions - 1, c);
  lua_setfield(L, functions, name);
  lua_settop(L, functions);
}

void mailbox_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, internal_address_of, 1);
  lua_setfield(L, -2, "address_of");
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, internal_check_open, 1);
  lua_setfield(L, -2, "check_open_mailbox");
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, internal_receive_call, 1);
  lua_setfield(L, -2, "receive_call");
  give_methods(L, CLASS_MAILBOX, "Mailbox");
}

static void set_count (lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

int mailbox_push_stats (lua_State *L, struct queue *q) {
  struct queue_stats s;
  queue_stats(q, &s);
  lua_createtable(L, 0, 10);
  set_count(L, "accepted", s.accepted.messages);
  set_count(L, "received", s.received);
  set_count(L, "undelivered", s.undelivered);
  set_count(L, "messages", s.queued.messages);
  set_count(L, "bytes", s.queued.bytes);
  set_count(L, "fds", s.queued.fds);
  set_count(L, "high_water", s.most.messages);
  set_count(L, "high_water_bytes", s.most.bytes);
  set_count(L, "senders", s.senders);
  set_count(L, "waiting", s.waiting);
  return 1;
}

/* mailbox:stats() */
static int mailbox_stats (lua_State *L) {
  const struct mailbox *m = check_mailbox(L);
  if (m->q == NULL)  /* guard: a finalizer may have one that was collected */
    return luaL_argerror(L, 1, "attempt to use a closed mailbox");
  return mailbox_push_stats(L, m->q);
}

static int mailbox_tostring (lua_State *L) {
  struct mailbox *m = class_check(L, 1, CLASS_MAILBOX);
  const char *name = m->q && m->q->named ? name_of(m->q) : NULL;
  if (m->closed || m->q == NULL) lua_pushliteral(L, "uring.Mailbox (closed)");
  else if (name) lua_pushfstring(L, "uring.Mailbox ('%s')", name);
  else lua_pushfstring(L, "uring.Mailbox (%p)", (void *)m->q);
  return 1;
}


static const luaL_Reg methods[] = {
  {"receive", mailbox_receive},
  {"try_receive", mailbox_try_receive},
  {"receiving", mailbox_receiving},
  {"messages", mailbox_messages},
  {"address", mailbox_address},
  {"stats", mailbox_stats},
  {"undelivered", mailbox_undelivered},
  {"close", mailbox_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", mailbox_gc},
  {"__close", mailbox_scope_end},
  {"__tostring", mailbox_tostring},
  {NULL, NULL}
};

void mailbox_open (lua_State *L) {
  class_define(L, CLASS_MAILBOX, methods, meta, NULL);
}
