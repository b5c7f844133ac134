/*
** stream_read: see the header. The arguments of a call that waits are on its
** stack, at the indices below, and so are those of an event. What must not
** break: a waiter that leaves, with bytes or without, ends its turn.
*/

#include "compat.h"
#include "os/stream_read.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "task/event.h"
#include "os/read_format.h"

#include <math.h>

#define NO_WAIT  0         /* the deadline of a call that does not wait */

/* The stack of a call: the object, its count or limit, the delimiter or nil,
** INPUT_READ and the kind, its number. */
enum { OBJECT = 1, NUMBER, DELIMITER, KIND, ID };


/* ---- the wait ---------------------------------------------------------- */

static struct read_call call_of (lua_State *L) {
  struct read_call c;
  c.kind = (enum read_kind)(lua_tointeger(L, KIND) - INPUT_READ);
  c.n = (size_t)lua_tointeger(L, NUMBER);
  c.delimiter = lua_tolstring(L, DELIMITER, &c.length);
  c.id = (uint64_t)lua_tointeger(L, ID);
  return c;
}

static void push_call (lua_State *L, const struct read_call *c) {
  lua_settop(L, c->kind == READ_UNTIL ? DELIMITER : OBJECT);
  lua_settop(L, DELIMITER);
  lua_pushinteger(L, (lua_Integer)c->n);
  lua_replace(L, NUMBER);
  lua_pushinteger(L, INPUT_READ + (lua_Integer)c->kind);
  lua_pushinteger(L, (lua_Integer)c->id);
}

enum fill read_fill (lua_State *L, struct input *in) {
  enum fill got = in->ops->fill(L, in);
  if (got == FILL_NO_MEMORY) {
    pressure_make_room(L, SIZE_MAX);
    if (in->open) got = in->ops->fill(L, in);  /* (a finalizer's close) */
  }
  if (got != FILL_NO_MEMORY)
    return got;
  if (!in->open) read_closed(L, in);
  else fail(L, ENOMEM, "read from %s%s", in->name, state_memory_note(L));
  return FILL_FAILED;
}

bool read_waits (const struct stream *s) {
  return s->in.q.turns > 0 || waitq_first(&s->in.q.waiting) != NULL;
}

/* (No task waits for what that read has failed with, but for what stays to be
** taken.) */
int read_settle (lua_State *L, struct stream *s, struct wait_node *node) {
  struct input *in = &s->input;
  int top = lua_gettop(L);
  enum fill got;
  if (read_waits(s) && !in->ops->may_take(in, node))
    return -1;
  while ((got = read_fill(L, in)) != FILL_NOTHING) {
    if (got == FILL_FAILED && (!in->open || lua_tointeger(L, -1) == ENOMEM))
      return 3;
    lua_settop(L, top);
  }
  return stream_reads(s) ? -1 : 0;
}

/* Take what the call asks for, and get more as long as more has arrived. 0:
** not enough has. */
static int read_take (lua_State *L, struct input *in,
                      const struct read_call *c, struct wait_node *node) {
  bool end = false;
  int n = 0;
  while ((n = read_format_take(L, in, c, end)) == 0) {
    enum fill got = read_fill(L, in);
    if (got == FILL_NOTHING)
      return 0;
    if (got == FILL_FAILED) {
      n = 3;
      break;
    }
    end = got == FILL_END;
  }
  if (in->open) in->ops->end_turn(L, in, node);
  return n;
}

/* An event may be tried and blocked on in any order, by any task. */
static void read_check_event (lua_State *L, struct input *in) {
  in->ops->check(L, OBJECT);
  in->ops->enter(L, in);
}

static int read_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct endpoint *e = endpoint_at(L, OBJECT);
  struct input *in = &e->input;
  struct read_call c = call_of(L);
  if (!in->open || (node != &t->node && endpoint_closed(e->d)))
    return read_closed(L, in);
  if (node != &t->node) {
    read_check_event(L, in);
    if (input_in_push(L, in))  /* guard: a finalizer's, meanwhile */
      return 0;
  }
  return in->ops->may_take(in, node) ? read_take(L, in, &c, node) : 0;
}

/* The request of a select stays in flight: the next select needs it again. */
static void read_cancel (lua_State *L, struct task *t,
                         struct wait_node *node) {
  struct input *in = &endpoint_at(L, OBJECT)->input;
  if (!in->open)
    return;
  if (node == &t->node) in->ops->abandon(in);
  in->ops->end_turn(L, in, node);
}

static int read_block (lua_State *L, struct task *t, struct blocking *b) {
  struct endpoint *e = endpoint_at(L, OBJECT);
  struct input *in = &e->input;
  int n;
  if (!in->open || endpoint_closed(e->d))
    return read_closed(L, in);
  if (b->node != &t->node) read_check_event(L, in);
  if (b->deadline == NO_WAIT) {
    struct read_call c = call_of(L);
    if (!in->ops->poll(in)) {
      read_cancel(L, t, b->node);
      return fail_timeout(L);
    }
    if (in->ops->may_take(in, b->node)
        && (n = read_take(L, in, &c, b->node)) > 0)
      return n;
  }
  if ((n = in->ops->start(L, in, b->deadline)) > 0)
    return n;
  if (!in->open)  /* guard: finalizers may have closed it */
    return read_closed(L, in);
  wait_join(b, &in->waitq->q, WAIT_QUEUE);
  return 0;
}

static const struct wait_kind reading = {
  "reading", read_try, read_block, read_cancel, WAITS_OUTSIDE, NULL
};

static int read_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &reading, (int64_t)ctx, read_again);
}

/* What is in the store is taken here, without a wait. */
static int read_at_hand (lua_State *L, struct task *t, struct input *in,
                         const struct read_call *c) {
  if (loop_unfair(t) || !in->ops->may_take(in, NULL))
    return 0;
  return read_format_take(L, in, c, false);
}

static inline int64_t read_deadline (lua_State *L, int64_t ns) {
  return ns == 0 ? NO_WAIT : loop_deadline(state_of(L)->loop, ns);
}

static int read_call (lua_State *L, struct input *in,
                      const struct read_call *c, int64_t ns,
                      const char *what) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, what);
  int n = read_at_hand(L, t, in, c);
  if (n > 0)
    return n;
  in->ops->enter(L, in);
  push_call(L, c);
  return wait_perform(L, t, &reading, read_deadline(L, ns), read_again);
}


/* ---- methods ----------------------------------------------------------- */

static struct input *input_check (lua_State *L) {
  struct input *in = &endpoint_at(L, OBJECT)->input;
  in->ops->check(L, OBJECT);
  return in;
}

/* stream:read([format [, timeout]]) */
static int stream_read (lua_State *L) {
  struct input *in = input_check(L);
  struct read_call c = arg_format(L, 2, in);
  return read_call(L, in, &c, arg_seconds(L, 3), "read");
}

static struct read_call arg_until (lua_State *L, struct input *in, int arg) {
  struct read_call c = { READ_UNTIL, in->line_limit, NULL, 0, 0 };
  luaL_checktype(L, arg, LUA_TSTRING);
  c.delimiter = lua_tolstring(L, arg, &c.length);
  luaL_argcheck(L, c.length > 0, arg, "delimiter of at least one byte "
                "expected");
  if (!lua_isnoneornil(L, arg + 1))
    c.n = (size_t)arg_integer(L, arg + 1, 1, LUA_MAXINTEGER);
  c.id = store_call(&in->store);
  return c;
}

/* stream:read_until(delimiter [, limit [, timeout]]): the bytes, with the
** delimiter at their end */
static int stream_read_until (lua_State *L) {
  struct input *in = input_check(L);
  struct read_call c = arg_until(L, in, 2);
  int64_t ns = arg_seconds(L, 4);
  lua_settop(L, DELIMITER);
  lua_pushvalue(L, 2);
  lua_replace(L, DELIMITER);
  return read_call(L, in, &c, ns, "read_until");
}

/* stream:peek(count [, timeout]): as read(count), and the bytes stay */
static int stream_peek (lua_State *L) {
  struct input *in = input_check(L);
  struct read_call c = { READ_PEEK, 0, NULL, 0, 0 };
  c.n = (size_t)arg_integer(L, 2, 1, LUA_MAXINTEGER);
  return read_call(L, in, &c, arg_seconds(L, 3), "peek");
}

/* stream:unread(bytes): the stream. The next read begins with them. */
static int stream_unread (lua_State *L) {
  struct input *in = input_check(L);
  size_t n;
  const char *bytes;
  luaL_checktype(L, 2, LUA_TSTRING);
  bytes = lua_tolstring(L, 2, &n);
  pressure_make_room(L, n);
  in->ops->check(L, OBJECT);  /* guard: a finalizer may have closed it */
  if (input_in_push(L, in))  /* guard: a finalizer, and they are pushed */
    return luaL_error(L, "unread in a finalizer, while bytes are being read");
  if (!store_unread(&in->store, state_of(L)->account, bytes, n))
    return luaL_error(L, "not enough memory for %I bytes%s", (LUAI_UACINT)n,
                      state_memory_note(L));
  in->ops->end_turn(L, in, NULL);  /* (wakes a waiter) */
  lua_settop(L, OBJECT);
  return 1;
}

static int push_limit (lua_State *L, size_t limit) {
  if (limit > LUA_MAXINTEGER) lua_pushnumber(L, HUGE_VAL);
  else lua_pushinteger(L, (lua_Integer)limit);
  return 1;
}

static size_t arg_limit (lua_State *L, int arg) {
  return lua_type(L, arg) == LUA_TNUMBER && lua_tonumber(L, arg) == HUGE_VAL
         ? SIZE_MAX : (size_t)arg_integer(L, arg, 1, LUA_MAXINTEGER);
}

/* stream:limit(bytes): the stream; stream:limit(): how many a line may have */
static int stream_limit (lua_State *L) {
  struct input *in = input_check(L);
  if (lua_isnoneornil(L, 2))
    return push_limit(L, in->line_limit);
  in->limit = in->line_limit = arg_limit(L, 2);
  lua_settop(L, OBJECT);
  return 1;
}

/* stream_limit_all(stream, bytes): of reads of all; how many it was before */
static int stream_limit_all (lua_State *L) {
  struct input *in = input_check(L);
  size_t before = in->limit;
  in->limit = arg_limit(L, 2);
  return push_limit(L, before);
}

/* stream:reading([format]): stream:read as an event */
static int stream_reading (lua_State *L) {
  struct input *in = input_check(L);
  struct read_call c = arg_format(L, 2, in);
  push_call(L, &c);
  return event_push(L, &reading);
}


/* ---- records ----------------------------------------------------------- */

static const struct read_call a_record = { READ_RECORD, 0, NULL, 0, 0 };

/* stream_read_record(stream [, seconds]): a record of inotify's, as bytes */
static int stream_read_record (lua_State *L) {
  struct input *in = input_check(L);
  return read_call(L, in, &a_record, arg_seconds(L, 2), "receive");
}

/* stream_reading_record(stream): the same as an event */
static int stream_reading_record (lua_State *L) {
  input_check(L);
  push_call(L, &a_record);
  return event_push(L, &reading);
}


/* ---- lines ------------------------------------------------------------- */

struct lines {             /* a userdata */
  struct state *state;     /* the first upvalue's */
  struct input *in;
  struct read_call call;
  int64_t ns;
};

/* The iterator's upvalues, after the state: nothing, for a receive's reader is
** there; the object; struct lines. */
#define LINES_OBJECT  lua_upvalueindex(3)
#define LINES         lua_upvalueindex(4)

/* The end of a step. EBADF ends the loop only if the object was closed, or its
** number without it: the kernel gives it as well for what was not opened to be
** read. */
static int lines_result (lua_State *L, int n) {
  if (n != 3)
    return n;
  if (lua_isnil(L, -3)
      && !endpoint_closed(endpoint_at(L, LINES_OBJECT)->d)) {
    lua_pop(L, 1);
    return raise_here(L);
  }
  return wait_next(L, n);
}

static int lines_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return lines_result(L, wait_resumed(L, &reading, (int64_t)ctx,
                                      lines_again));
}

static int lines_next (lua_State *L) {
  const struct lines *l = lua_touserdata(L, LINES);
  struct input *in = l->in;
  struct task *t;
  int n;
  if (!in->open) {
    lua_pushnil(L);
    return 1;
  }
  t = loop_enter(L, l->state->loop, "the iterator of lines");
  if ((n = read_at_hand(L, t, in, &l->call)) > 0)
    return lines_result(L, n);
  lua_settop(L, 0);
  lua_pushvalue(L, LINES_OBJECT);
  if (endpoint_closed(endpoint_at(L, OBJECT)->d)) {
    lua_pushnil(L);
    return 1;
  }
  read_check_event(L, in);
  push_call(L, &l->call);
  return lines_result(L, wait_perform(L, t, &reading,
                                      read_deadline(L, l->ns), lines_again));
}

/* for line in stream:lines([format [, { timeout=, max= }]]) do */
static int stream_lines (lua_State *L) {
  static const char *const names[] = { "timeout", "max", NULL };
  struct input *in = input_check(L);
  struct lines *l;
  struct lines v = { state_of(L), in, { 0 }, CLOCK_NEVER };
  lua_settop(L, 3);
  v.call = arg_format(L, 2, in);
  luaL_argcheck(L, v.call.kind != READ_ALL
                && !(v.call.kind == READ_COUNT && v.call.n == 0), 2,
                "another format expected: a loop over this one would not "
                "end");
  if (options_open(L, 3, names)) {
    lua_Integer max = options_integer(L, 3, "max", 0, 1, LUA_MAXINTEGER);
    if (max > 0 && v.call.kind != READ_COUNT) v.call.n = (size_t)max;
    v.ns = options_seconds(L, 3, "timeout");
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushnil(L);
  lua_pushvalue(L, OBJECT);
  l = lua_newuserdatauv(L, sizeof(*l), 0);
  *l = v;
  lua_pushcclosure(L, lines_next, 4);
  return 1;
}


static const luaL_Reg methods[] = {
  {"read", stream_read},
  {"read_until", stream_read_until},
  {"peek", stream_peek},
  {"unread", stream_unread},
  {"limit", stream_limit},
  {"reading", stream_reading},
  {"lines", stream_lines},
  {NULL, NULL}
};

static const luaL_Reg functions[] = {
  {"stream_limit_all", stream_limit_all},
  {"stream_read_record", stream_read_record},
  {"stream_reading_record", stream_reading_record},
  {NULL, NULL}
};

void stream_read_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}

void stream_read_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
  class_extend(L, CLASS_STREAM, methods);
}
