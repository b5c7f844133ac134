/*
** channel: see the header. Sending and receiving are wait kinds (wait.h), with
** the channel at stack index 1, and for sending the message at 2.
**
** A message is taken in two steps: all that can raise, then the changes, which
** call nothing that can.
*/

#include "compat.h"
#include "task/channel.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "task/event.h"
#include "task/wrap.h"

/* User values of a channel. */
#define CHANNEL_SLOTS   1
#define CHANNEL_OFFERS  2  /* select waiter's address -> its sending event; nil
                              until a select waits to send */
#define CHANNEL_EVENT   3  /* channel:receiving() */

#define MESSAGE         2  /* stack index, and user value of a sending event */
#define LONG           20  /* bytes of a string that are shown */
#define SHOWN           8  /* values */
#define MANY         1024  /* slots that are not kept */


/* ---- messages ---------------------------------------------------------- */

static bool is_several (lua_State *L, int message) {
  bool several;
  if (!lua_istable(L, message) || !lua_getmetatable(L, message))
    return false;
  several = lua_topointer(L, -1) == state_of(L)->several;
  lua_pop(L, 1);
  return several;
}

static struct channel *check_channel (lua_State *L) {
  struct channel *c = class_check(L, 1, CLASS_CHANNEL);
  if (c->items.ended)  /* guard: a finalizer may run after its own */
    luaL_argerror(L, 1, "this channel was collected");
  items_check_fork(&c->items, &c->senders);
  return c;
}

/* Check the channel and the values of a call, which become one message. */
static void check_message (lua_State *L) {
  int n = lua_gettop(L) - 1;
  check_channel(L);
  if (lua_isnoneornil(L, MESSAGE))
    luaL_argerror(L, MESSAGE, "value other than nil expected: nil would end "
                  "the receiver's loop");
  if (n > 1) {
    stack_reserve(L, 3, NULL);
    lua_createtable(L, n, 1);
    lua_insert(L, MESSAGE);
    for (int i = n; i > 0; i--) lua_rawseti(L, MESSAGE, i);
    lua_pushinteger(L, n);
    lua_rawseti(L, MESSAGE, 0);
    state_shared(L, SHARED_SEVERAL);
    lua_setmetatable(L, MESSAGE);
  }
}

/* How many values has the message on top? Raises if they do not fit on the
** stack, twice in a select, which passes them on. */
static int reserve_values (lua_State *L, bool selects) {
  int n;
  if (!is_several(L, -1))
    return 1;
  lua_rawgeti(L, -1, 0);
  n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  stack_reserve(L, (selects ? 2 : 1) * (n + LUA_MINSTACK), "too many values");
  return n;
}

/* Replace the message on top by its n values. Returns n. */
static int push_values (lua_State *L, int n) {
  int at = lua_gettop(L);
  if (n == 1 && !is_several(L, at))
    return 1;
  for (int i = 1; i <= n; i++) lua_rawgeti(L, at, i);
  lua_remove(L, at);
  return n;
}


/* ---- slots ------------------------------------------------------------- */

static lua_Integer slot_of (const struct channel *c, size_t n) {
  return (lua_Integer)((c->first + n) % c->size + 1);
}

/* Make a slot for one more message. May run finalizers. */
static void reserve_slot (lua_State *L, struct channel *c) {
  while (c->items.count == c->size) {
    size_t count = c->items.count, size = count ? count * 2 : 1;
    if (size > (1u << 30))
      luaL_error(L, "too many messages in a channel");
    lua_createtable(L, (int)size, 0);
    if (c->items.count != count || c->size != count) {  /* a finalizer did */
      lua_pop(L, 1);
      continue;
    }
    lua_getiuservalue(L, 1, CHANNEL_SLOTS);
    for (size_t i = 0; i < count; i++) {
      lua_rawgeti(L, -1, slot_of(c, i));
      lua_rawseti(L, -3, (lua_Integer)i + 1);
    }
    lua_pop(L, 1);
    lua_setiuservalue(L, 1, CHANNEL_SLOTS);
    c->first = 0;
    c->size = size;
  }
}

/* Store the message on top in the slot of the n-th message. */
static void store (lua_State *L, const struct channel *c, size_t n) {
  lua_getiuservalue(L, 1, CHANNEL_SLOTS);
  lua_insert(L, -2);
  lua_rawseti(L, -2, slot_of(c, n));
  lua_pop(L, 1);
}


/* ---- senders that wait ------------------------------------------------- */

/* The coroutine that a task sends in; NULL: a select. */
static lua_State *stack_of_sender (struct wait_node *n) {
  return n->co ? wrap_innermost(n->co) : NULL;
}

/* The first of them, or NULL. (One whose coroutine is being closed has its
** message no more, and will leave the queue soon.) */
static struct wait_node *first_sender (struct loop *loop, struct channel *c) {
  struct wait_node *n = NULL;
  while (loop && c->senders.last
         && (n = items_first(loop, &c->senders, loop->current)) != NULL) {
    lua_State *co = stack_of_sender(n);
    if (co == NULL || lua_status(co) == LUA_YIELD)  /* guard: or no message */
      return n;
    waitq_remove(&c->senders, n);
  }
  return NULL;
}

/* Push its message. Does not raise. */
static void push_message_of (lua_State *L, struct wait_node *n) {
  if (select_waiter_of(n)) {
    lua_getiuservalue(L, 1, CHANNEL_OFFERS);
    lua_rawgetp(L, -1, n);
    lua_getiuservalue(L, -1, MESSAGE);
    lua_replace(L, -3);
    lua_pop(L, 1);
  }
  else {  /* (its frame has space: it is a C function's) */
    lua_State *co = stack_of_sender(n);
    lua_pushvalue(co, MESSAGE);
    lua_xmove(co, L, 1);
  }
}

/* Its message was taken. */
static void end_sender (struct loop *loop, struct channel *c,
                        struct wait_node *n) {
  struct select_waiter *e = select_waiter_of(n);
  waitq_remove(&c->senders, n);
  if (e) e->sent = true;
  else ((struct task *)n)->res = 1;
  items_commit(loop, n);
}


/* ---- receiving --------------------------------------------------------- */

static void push_first (lua_State *L, const struct channel *c) {
  lua_getiuservalue(L, 1, CHANNEL_SLOTS);
  lua_rawgeti(L, -1, slot_of(c, 0));
  lua_remove(L, -2);
}

static void remove_first (lua_State *L, struct channel *c) {
  lua_pushnil(L);
  store(L, c, 0);
  c->first = (c->first + 1) % c->size;
  c->items.count--;
}

/* Keep no large table for an empty channel. */
static void channel_shrink (lua_State *L, struct channel *c) {
  if (c->items.count == 0 && c->size > MANY) {
    lua_pushnil(L);
    lua_setiuservalue(L, 1, CHANNEL_SLOTS);
    c->size = 0;
  }
}

/* A message was removed, so its slot is free: that sender's message is put
** there. */
static void admit_sender (lua_State *L, struct loop *loop, struct channel *c,
                          struct wait_node *sender) {
  push_message_of(L, sender);
  store(L, c, c->items.count++);
  end_sender(loop, c, sender);
}

/* There may be space for a sender now. */
static void admit_next (lua_State *L, struct loop *loop, struct channel *c) {
  if (items_free(&c->items) < c->capacity && c->senders.last && loop) {
    struct wait_node *sender = first_sender(loop, c);
    if (sender) {
      admit_sender(L, loop, c, sender);
      items_wake(loop, &c->items);
    }
    else if (c->senders.last)
      loop_notify(loop, loop->current);  /* its own select may send */
  }
}

/* Take the first message. If all are kept for others, a waiting sender's takes
** its place behind them. */
static int receive_try (lua_State *L, struct task *t,
                        struct wait_node *node) {
  struct channel *c = check_channel(L);
  struct loop *loop = loop_here(L);
  struct wait_node *sender = NULL;
  bool stored = items_may_take(loop, &c->items, node);
  int n;
  if (!stored && (sender = first_sender(loop, c)) == NULL)
    return c->closed
           ? fail_text(L, EPIPE, "receive: the channel is closed") : 0;
  if (c->items.count > 0) push_first(L, c);
  else push_message_of(L, sender);
  /* guard: the last that may raise */
  n = reserve_values(L, t && node != &t->node);
  if (stored) {
    items_end_turn(&c->items, node);
    remove_first(L, c);
    admit_next(L, loop, c);
    channel_shrink(L, c);
  }
  else if (c->items.count > 0) {
    remove_first(L, c);
    admit_sender(L, loop, c, sender);
  }
  else end_sender(loop, c, sender);
  return push_values(L, n);
}

static int receive_block (lua_State *L, struct task *t, struct blocking *b) {
  (void)t;
  items_join(b, &check_channel(L)->items);
  return 0;
}

static void receive_cancel (lua_State *L, struct task *t,
                            struct wait_node *node) {
  (void)t;
  items_cancel(loop_here(L), &check_channel(L)->items, node);
}

static const struct wait_kind receive_kind = {
  "receiving", receive_try, receive_block, receive_cancel, WAITS_LOCAL, NULL
};

static int receive_resumed (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &receive_kind, (int64_t)ctx, receive_resumed);
}

/* channel:receive([timeout]): the message's values */
static int channel_receive (lua_State *L) {
  int64_t ns;
  struct task *t;
  check_channel(L);
  ns = arg_seconds(L, 2);
  t = loop_enter(L, state_of(L)->loop, "channel:receive");
  return wait_perform(L, t, &receive_kind,
                      loop_deadline(state_of(L)->loop, ns), receive_resumed);
}

static int channel_try_receive (lua_State *L) {
  int n;
  check_channel(L);
  lua_settop(L, 1);
  n = receive_try(L, NULL, NULL);
  return n > 0 ? n : fail_text(L, EAGAIN, "receive: the channel is empty");
}

/* (The first value of a message is not nil.) */
static int message_or_end (lua_State *L, int n) {
  if (n != 3 || !lua_isnil(L, -3))
    return n;
  lua_pop(L, 2);
  return 1;
}

static int next_received (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return message_or_end(L, wait_resumed(L, &receive_kind, (int64_t)ctx,
                                        next_received));
}

static int channel_next (lua_State *L) {
  struct task *t;
  check_channel(L);
  t = loop_enter(L, state_of(L)->loop, "channel:messages");
  return message_or_end(L, wait_perform(L, t, &receive_kind, CLOCK_NEVER,
                                        next_received));
}

/* for value, ... in channel:messages() do: until it is closed and empty */
static int channel_messages (lua_State *L) {
  check_channel(L);
  return wait_iterate(L, channel_next);
}

static int channel_receiving (lua_State *L) {
  check_channel(L);
  return event_push_kept(L, &receive_kind, CHANNEL_EVENT);
}


/* ---- sending ----------------------------------------------------------- */

/* Is there space for a message: within the capacity, or for a receiver? */
static bool has_space (struct loop *loop, struct channel *c) {
  return items_free(&c->items) < c->capacity
         || (loop && items_first(loop, &c->items.q.waiting, loop->current));
}

static int channel_send_try (lua_State *L, struct task *t,
                             struct wait_node *node) {
  struct channel *c = check_channel(L);
  struct select_waiter *e = select_waiter_of(node);
  struct loop *loop = loop_here(L);
  (void)t;
  if (e == NULL || !e->sent) {
    if (!c->closed && has_space(loop, c))
      reserve_slot(L, c);
    if (c->closed)
      return fail_text(L, EPIPE, "send: the channel is closed");
    if (!has_space(loop, c))  /* (a finalizer may have sent) */
      return 0;
    lua_pushvalue(L, MESSAGE);
    store(L, c, c->items.count);
    c->items.count++;
    items_wake(loop, &c->items);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int send_block (lua_State *L, struct task *t, struct blocking *b) {
  struct channel *c = check_channel(L);
  struct select_waiter *e = select_waiter_of(b->node);
  if (e) {  /* (behind the arguments is the event: event.c) */
    lua_getiuservalue(L, 1, CHANNEL_OFFERS);
    if (lua_isnil(L, -1)) {
      lua_newtable(L);
      lua_pushvalue(L, -1);
      lua_setiuservalue(L, 1, CHANNEL_OFFERS);
    }
    lua_pushvalue(L, MESSAGE + 1);
    lua_rawsetp(L, -2, e);
    lua_pop(L, 1);
  }
  else t->res = 0;
  wait_join_plain(b, &c->senders, WAIT_SEND, c);
  return 0;
}

static void send_cancel (lua_State *L, struct task *t,
                         struct wait_node *node) {
  (void)t;
  if (select_waiter_of(node) == NULL)
    return;
  /* (nil, if its block has raised) */
  if (lua_getiuservalue(L, 1, CHANNEL_OFFERS) == LUA_TTABLE) {
    lua_pushnil(L);
    lua_rawsetp(L, -2, node);
  }
  lua_pop(L, 1);
}

static const struct wait_kind send_kind = {
  "sending", channel_send_try, send_block, send_cancel, WAITS_LOCAL,
  channel_describe_message
};

/* A message that was taken is sent, though the task was cancelled since. */
static int send_resumed (lua_State *L, int status, lua_KContext ctx) {
  const struct task *t = loop_resumed(L);
  (void)status;
  if (t && t->wait == WAIT_SEND && t->res == 1) {
    lua_pushboolean(L, 1);
    return 1;
  }
  return wait_resumed(L, &send_kind, (int64_t)ctx, send_resumed);
}

/* channel:send(value, ...): true */
static int channel_send (lua_State *L) {
  struct task *t;
  check_message(L);
  t = loop_enter(L, state_of(L)->loop, "channel:send");
  return wait_perform(L, t, &send_kind, CLOCK_NEVER, send_resumed);
}

static int channel_try_send (lua_State *L) {
  int n;
  check_message(L);
  n = channel_send_try(L, NULL, NULL);
  return n > 0 ? n : fail_text(L, EAGAIN, "send: the channel is full");
}

static int channel_sending (lua_State *L) {
  check_message(L);
  return event_push(L, &send_kind);
}


/* ---- descriptions ------------------------------------------------------ */

/* Push a value in a few characters: the beginning of a string, the type of an
** object. */
static void describe_value (lua_State *L, int value) {
  size_t len;
  const char *s;
  luaL_Buffer b;
  if (lua_type(L, value) != LUA_TSTRING) {
    int type = lua_type(L, value);
    if (type == LUA_TNUMBER || type == LUA_TBOOLEAN || type == LUA_TNIL)
      luaL_tolstring(L, value, NULL);
    else lua_pushstring(L, luaL_typename(L, value));
    return;
  }
  s = lua_tolstring(L, value, &len);
  luaL_buffinit(L, &b);
  luaL_addchar(&b, '"');
  for (size_t i = 0; i < len && i < LONG; i++) {
    if (s[i] == '\n') luaL_addstring(&b, "\\n");
    else if (s[i] == '\r') luaL_addstring(&b, "\\r");
    else if (s[i] == '\0') luaL_addstring(&b, "\\0");
    else {
      if (s[i] == '"' || s[i] == '\\') luaL_addchar(&b, '\\');
      luaL_addchar(&b, s[i]);
    }
  }
  luaL_addstring(&b, len > LONG ? "\"…" : "\"");
  luaL_pushresult(&b);
}

void channel_describe_message (lua_State *L, int arg) {
  int n = 1, text;
  if (!is_several(L, arg)) {
    describe_value(L, arg);
    return;
  }
  lua_rawgeti(L, arg, 0);
  n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  lua_pushliteral(L, "");
  text = lua_gettop(L);
  for (int i = 1; i <= n && i <= SHOWN; i++) {
    lua_rawgeti(L, arg, i);
    describe_value(L, text + 1);
    lua_pushfstring(L, "%s%s%s", lua_tostring(L, text), i > 1 ? ", " : "",
                    lua_tostring(L, -1));
    lua_replace(L, text);
    lua_settop(L, text);
  }
  if (n > SHOWN) {
    lua_pushfstring(L, "%s, …", lua_tostring(L, text));
    lua_replace(L, text);
  }
}

static int channel_tostring (lua_State *L) {
  const struct channel *c = check_channel(L);
  lua_pushfstring(L, "uring.Channel (%s%I of %I)", c->closed ? "closed, " : "",
                  (LUAI_UACINT)items_free(&c->items),
                  (LUAI_UACINT)c->capacity);
  return 1;
}


/* ---- the class --------------------------------------------------------- */

static void wake_all (struct loop *loop, struct waitq *q) {
  struct wait_node *n;
  while (loop && (n = items_first(loop, q, NULL)) != NULL) {
    waitq_remove(q, n);
    items_commit(loop, n);  /* guard: a select that waited ends with this */
  }
}

/* channel:close(): messages that were sent can still be received; a task that
** waits to send gets EPIPE. */
static int channel_close (lua_State *L) {
  struct channel *c = check_channel(L);
  struct loop *loop = loop_here(L);
  c->closed = true;
  wake_all(loop, &c->senders);
  wake_all(loop, &c->items.q.waiting);
  lua_pushboolean(L, 1);
  return 1;
}

/* #channel: the messages that can be received at once */
static int channel_len (lua_State *L) {
  const struct channel *c = check_channel(L);
  lua_pushinteger(L, (lua_Integer)items_free(&c->items));
  return 1;
}

static int channel_gc (lua_State *L) {
  struct channel *c = class_check(L, 1, CLASS_CHANNEL);
  waitq_drop_all(&c->senders);
  items_end(state_of(L)->loop, &c->items);
  return 0;
}

int channel_new (lua_State *L) {
  struct channel *c;
  size_t capacity = 0;
  if (!lua_isnoneornil(L, 1))
    capacity = arg_count(L, 1, "capacity expected: 0, for a rendezvous, or a "
                         "positive integer");
  c = class_new(L, CLASS_CHANNEL, sizeof(*c), 3);
  items_open(&c->items, 0);
  c->capacity = capacity;
  return 1;
}


static const luaL_Reg methods[] = {
  {"send", channel_send},
  {"try_send", channel_try_send},
  {"sending", channel_sending},
  {"receive", channel_receive},
  {"try_receive", channel_try_receive},
  {"receiving", channel_receiving},
  {"messages", channel_messages},
  {"close", channel_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", channel_gc},
  {"__close", channel_close},
  {"__len", channel_len},
  {"__tostring", channel_tostring},
  {NULL, NULL}
};

void channel_open (lua_State *L) {
  struct state *s = lua_touserdata(L, -1);
  class_define(L, CLASS_CHANNEL, methods, meta, NULL);
  lua_newtable(L);
  s->several = lua_topointer(L, -1);
  lua_setiuservalue(L, -2, SHARED_SEVERAL);
}
