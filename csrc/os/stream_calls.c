/*
** stream_calls: see the header. Here is what a stream over functions is as an
** input and an output; lua/uring/stream.lua makes the calls.
**
** What must not break: however the task of a call ends, the stream knows that
** no call runs, and a waiter is woken, which begins another.
*/

#include "compat.h"
#include "os/stream_calls.h"

#include "lua/errors.h"
#include "lua/options.h"
#include "os/stream.h"

/* User values of a stream over functions. */
enum {
  CALLS = 1,               /* the object of lua/uring/stream.lua */
  READ_RESULT,             /* bytes or nil; or what was raised, */
  READ_MESSAGE,            /* and its traceback */
  READ_ERRNO,
  WRITE_RAISED,            /* nil, or what was raised, */
  WRITE_MESSAGE,           /* and its traceback */
  VALUES = WRITE_MESSAGE
};

/* Push this method of the calls of the stream at 1, and them; if they have the
** function `of`. Else nil, message, errno. */
static bool calls_push (lua_State *L, const char *method, const char *of) {
  lua_getiuservalue(L, 1, CALLS);
  if (lua_getfield(L, -1, of) != LUA_TFUNCTION) {
    fail(L, EBADF, "%s: the stream has no function for it", of);
    return false;
  }
  lua_pop(L, 1);
  lua_getfield(L, -1, method);
  lua_insert(L, -2);
  return true;
}

/* Push two user values of the stream at 1, of which nothing is left there. */
static void take_values (lua_State *L, int first) {
  for (int i = first; i < first + 2; i++) {
    lua_getiuservalue(L, 1, i);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, i);
  }
}

/* Raise in this task what a call has raised in its own. The value and its
** traceback are on top. */
static int calls_raise (lua_State *L) {
  lua_getiuservalue(L, 1, CALLS);
  lua_getfield(L, -1, "raise");
  lua_insert(L, -4);
  lua_insert(L, -3);
  lua_call(L, 3, 0);
  return 0;
}

static void wake_first (lua_State *L, struct object_waitq *waitq) {
  if (waitq->q.turns == 0) turnq_wake(state_of(L)->loop, &waitq->q);
}


/* ---- input ------------------------------------------------------------- */

static bool calls_may_take (struct input *in, struct wait_node *node) {
  const struct stream *s = stream_of_input(in);
  size_t items = s->call_state > CALL_RUNS || store_size(&in->store) > 0;
  return turnq_may_take(&s->in.q, node, items);
}

/* (The stream is at 1, here and in the next.) */
static enum fill calls_fill (lua_State *L, struct input *in) {
  struct stream *s = stream_of_input(in);
  enum call_state before = s->call_state;
  const char *bytes;
  size_t n;
  if (before <= CALL_RUNS)
    return FILL_NOTHING;
  lua_getiuservalue(L, 1, READ_RESULT);
  bytes = before == CALL_RETURNED ? lua_tolstring(L, -1, &n) : NULL;
  /* guard: nothing is taken that cannot be kept */
  if (bytes && !store_add(&in->store, state_of(L)->account, bytes, n)) {
    lua_pop(L, 1);
    return FILL_NO_MEMORY;
  }
  s->call_state = CALL_NONE;
  lua_pop(L, 1);
  take_values(L, READ_RESULT);
  if (before == CALL_RAISED) calls_raise(L);
  if (bytes || lua_isnil(L, -1)) {
    lua_pop(L, 2);
    return bytes ? FILL_MORE : FILL_END;
  }
  lua_getiuservalue(L, 1, READ_ERRNO);
  return FILL_FAILED;
}

static int calls_start_read (lua_State *L, struct input *in,
                             int64_t deadline) {
  struct stream *s = stream_of_input(in);
  if (s->call_state != CALL_NONE)
    return 0;
  if (!calls_push(L, "start_read", "read"))
    return 3;
  if (deadline == CLOCK_NEVER) lua_pushnil(L);
  else {
    int64_t left = deadline - loop_time(state_of(L)->loop);
    lua_pushnumber(L, left > 0 ? (lua_Number)left / 1e9 : 0);
  }
  lua_call(L, 2, 0);
  if (in->open) s->call_state = CALL_RUNS;
  return 0;
}

/* A read that does not wait lets the tasks that are ready run, and so the
** call's. */
static bool calls_poll (struct input *in) {
  (void)in;
  return true;
}

static void calls_end_turn (lua_State *L, struct input *in,
                            struct wait_node *node) {
  struct stream *s = stream_of_input(in);
  turnq_end_turn(&s->in.q, node);
  if (s->call_state != CALL_RUNS || store_size(&in->store) > 0)
    wake_first(L, &s->in);  /* guard: or it sleeps on */
}

static void calls_abandon (struct input *in) {
  (void)in;  /* (the call goes on) */
}

/* read_ended(stream, ok, bytes | nil, message, errno); or after an error
** (stream, false, value, traceback) */
static int read_ended (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  lua_settop(L, 5);
  if (s->call_state != CALL_RUNS || !s->input.open)
    return 0;
  for (int i = READ_ERRNO; i >= READ_RESULT; i--)
    lua_setiuservalue(L, 1, i);
  s->call_state = lua_toboolean(L, 2) ? CALL_RETURNED : CALL_RAISED;
  wake_first(L, &s->in);
  return 0;
}

/* read_over(stream): the task of the call ends, perhaps without a result */
static int read_over (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  if (s->call_state == CALL_RUNS && s->input.open) {
    s->call_state = CALL_NONE;
    wake_first(L, &s->in);
  }
  return 0;
}


/* ---- output ------------------------------------------------------------ */

static int calls_start_write (lua_State *L, struct output *o) {
  struct stream *s = stream_of_output(o);
  if (s->writes)
    return 0;
  if (!calls_push(L, "start_write", "write"))
    return 3;
  lua_pushvalue(L, 1);
  lua_call(L, 2, 0);
  if (o->open) s->writes = true;
  return 0;
}

/* (The stream is at 1.) */
static int calls_failed (lua_State *L, struct output *o) {
  int err = output_take_error(o);
  take_values(L, WRITE_RAISED);
  if (!lua_isnil(L, -2))
    return calls_raise(L);
  lua_pushinteger(L, err);
  return 3;
}

/* next_write(stream): bytes; or nil, nothing is to be written any more */
static int next_write (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  size_t n = 0;
  const unsigned char *bytes = output_next(&s->output, &n);
  if (n > 0) lua_pushlstring(L, (const char *)bytes, n);
  else lua_pushnil(L);
  return 1;
}

/* wrote(stream, ok, count); (stream, ok, nil, message, errno, count); or after
** an error (stream, false, value, traceback) */
static int wrote (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  struct output *o = &s->output;
  bool ok = lua_toboolean(L, 2);
  lua_settop(L, 6);
  if (!o->open)
    return 0;
  if (ok && !lua_isnil(L, 3))
    output_went(o, (size_t)lua_tointeger(L, 3));
  else {
    output_went(o, (size_t)lua_tointeger(L, 6));
    output_fail(o, ok ? (int)lua_tointeger(L, 5) : EIO);
    lua_settop(L, 4);
    lua_setiuservalue(L, 1, WRITE_MESSAGE);
    lua_setiuservalue(L, 1, WRITE_RAISED);
  }
  wake_first(L, &s->out);
  return 0;
}

/* write_over(stream): the task that writes ends */
static int write_over (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  s->writes = false;
  if (s->output.open) wake_first(L, &s->out);
  return 0;
}


/* ---- life -------------------------------------------------------------- */

static void calls_describe (lua_State *L, const struct object_waitq *waitq,
                            lua_State *co) {
  (void)co;
  lua_pushfstring(L, "%s over functions", waitq->what);
}

/* finish() has ended; before it `n` values were pushed. */
static int calls_closed (lua_State *L, int status, lua_KContext n) {
  (void)status;
  if (n > 0) {
    lua_pop(L, 3);
    return (int)n;
  }
  if (lua_isnil(L, -3) && !lua_isnil(L, -2))
    return 3;  /* nil, message, errno */
  lua_pushboolean(L, 1);
  return 1;
}

/* `n` values of a failed close are on the stack, above them the value that
** `write` has raised, or nil, and its message: the failure is told in the
** words of the function. */
static void use_message (lua_State *L, int n) {
  const struct stream *s = class_raw(L, 1, CLASS_STREAM);
  int first = lua_gettop(L) - 5 - n + 1;
  if (n < 4 || !lua_isnil(L, -2) || lua_type(L, -1) != LUA_TSTRING)
    return;
  lua_pushfstring(L, "close %s: %I bytes were not written: %s", s->output.name,
                  (LUAI_UACINT)lua_tointeger(L, first + 3),
                  lua_tostring(L, -1));
  lua_replace(L, first + 1);
}

static int calls_finish (lua_State *L, int n) {
  bool waits = loop_may_wait(L, state_of(L)->loop);
  lua_getiuservalue(L, 1, CALLS);
  lua_getfield(L, -1, "finish");
  lua_insert(L, -2);
  lua_pushboolean(L, waits);
  take_values(L, WRITE_RAISED);
  use_message(L, n);
  lua_callk(L, 4, 3, n, calls_closed);
  return calls_closed(L, LUA_OK, n);
}

static void calls_drop (lua_State *L) {
  if (lua_getiuservalue(L, 1, CALLS) != LUA_TTABLE)
    return;
  lua_getfield(L, -1, "drop");
  lua_insert(L, -2);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
}

/* uring.stream{ read=, write=, close= } */
static int calls_new (lua_State *L) {
  static const char *const names[] = { "read", "write", "close", NULL };
  static const struct input_ops input_ops = {
    stream_input_check, stream_input_enter, calls_may_take, calls_fill,
    calls_start_read, calls_poll, calls_end_turn, calls_abandon
  };
  static const struct output_ops output_ops = {
    stream_output_check, stream_output_may_take, stream_output_end_turn,
    calls_start_write, calls_failed
  };
  struct stream *s;
  options_open(L, 1, names);
  for (int i = 0; names[i]; i++)
    if (options_push(L, 1, names[i]) != LUA_TNIL && !lua_isfunction(L, -1))
      luaL_argerror(L, 1, lua_pushfstring(L, "option '%s' must be a function",
                                          names[i]));
  if (lua_isnil(L, 2) && lua_isnil(L, 3))
    luaL_argerror(L, 1, "option 'read' or 'write' expected");
  s = stream_push(L, VALUES);
  s->input.ops = &input_ops;
  s->output.ops = &output_ops;
  s->in.describe = s->out.describe = calls_describe;
  lua_replace(L, 1);
  state_shared(L, SHARED_CALLS);
  lua_insert(L, 2);
  lua_pushvalue(L, 1);
  lua_call(L, 4, 1);
  lua_setiuservalue(L, 1, CALLS);
  s->finish = calls_finish;  /* (only now has it calls) */
  s->drop = calls_drop;
  return 1;
}

int stream_calls_stream (lua_State *L) {
  return lua_istable(L, 1) ? calls_new(L) : stream_new(L);
}

/* keep_calls(f): f(read, write, close, stream) makes the calls of a stream */
static int keep_calls (lua_State *L) {
  lua_settop(L, 1);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_CALLS);
  return 0;
}

static const luaL_Reg functions[] = {
  {"keep_calls", keep_calls},
  {"read_ended", read_ended},
  {"read_over", read_over},
  {"next_write", next_write},
  {"wrote", wrote},
  {"write_over", write_over},
  {NULL, NULL}
};

void stream_calls_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}
