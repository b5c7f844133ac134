/*
** stream_write: see the header. A call that has to wait keeps on its stack how
** far it has come. What must not break: a task that leaves ends its turn.
*/

#include "compat.h"
#include "os/stream_write.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "net/endpoint.h"
#include "os/stream_read.h"

/* The stack of a write that waits: the object, which argument is next, how
** many of its bytes were taken, which is the last, and the arguments. (A
** script that resumes the coroutine may have pushed values above them.) */
enum { OBJECT = 1, NEXT, TAKEN, LAST, FIRST };


static struct output *output_check (lua_State *L) {
  struct output *o = &endpoint_at(L, OBJECT)->output;
  o->ops->check(L, OBJECT);
  return o;
}

static void write_set (lua_State *L, int index, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_replace(L, index);
}

/* Take as much as there is room for: 1, and the stream was pushed, if that was
** all; 3 for an error; else 0. */
static int write_take (lua_State *L, struct output *o) {
  struct loop *loop = state_of(L)->loop;
  int n = output_failed(L, o);
  if (n == 0 && o->ops->start) n = o->ops->start(L, o);
  if (n > 0)
    return n;
  if (!o->open)  /* (by a finalizer) */
    return fail(L, EBADF, "%s is closed", o->name);
  while (lua_tointeger(L, NEXT) <= lua_tointeger(L, LAST)) {
    int arg = (int)lua_tointeger(L, NEXT);
    size_t from = (size_t)lua_tointeger(L, TAKEN), size;
    const char *bytes = lua_tolstring(L, arg, &size);
    ssize_t done = output_add(o, loop, bytes + from, size - from);
    if (done < 0)
      return fail(L, (int)-done, "write to %s", o->name);
    if ((size_t)done < size - from) {
      write_set(L, TAKEN, (lua_Integer)from + done);
      return 0;
    }
    write_set(L, TAKEN, 0);
    write_set(L, NEXT, arg + 1);
  }
  lua_pushvalue(L, OBJECT);
  return 1;
}

/* Before its first byte, which goes where the next one is to be read. 0; 3 for
** an error; or less than 0: it has to wait for reads, which move the position.
*/
static int write_settle (lua_State *L, struct wait_node *node) {
  struct stream *s = class_test(L, OBJECT, CLASS_STREAM);
  int n = 0;
  if (s == NULL || lua_tointeger(L, NEXT) > FIRST
      || lua_tointeger(L, TAKEN) > 0)
    return 0;
  if (s->output.positioned && s->ring) n = read_settle(L, s, node);
  if (n == 0) stream_rewind(s);
  if (n >= 0 && s->input.open)
    s->input.ops->end_turn(L, &s->input, node);
  return n;
}

static int write_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct output *o = &endpoint_at(L, OBJECT)->output;
  int n;
  (void)t;
  if (!o->open)
    return fail(L, EBADF, "%s is closed", o->name);
  if ((n = write_settle(L, node)) != 0)
    return n > 0 ? n : 0;
  if (!o->ops->may_take(o, node))
    return 0;
  n = write_take(L, o);
  if (n > 0 && o->open) o->ops->end_turn(L, o, node);
  return n;
}

static int write_block (lua_State *L, struct task *t, struct blocking *b) {
  struct output *o = &endpoint_at(L, OBJECT)->output;
  int n = write_settle(L, b->node);
  (void)t;
  if (n < 0) {
    struct stream *s = class_raw(L, OBJECT, CLASS_STREAM);
    wait_join(b, &s->in.q, WAIT_QUEUE);
    return 0;
  }
  if (n > 0 || (n = output_go(L, o)) > 0)
    return n;
  if (!o->open)  /* (by a finalizer) */
    return fail(L, EBADF, "%s is closed", o->name);
  wait_join(b, &o->waitq->q, WAIT_QUEUE);
  return 0;
}

static void write_cancel (lua_State *L, struct task *t,
                          struct wait_node *node) {
  struct output *o = &endpoint_at(L, OBJECT)->output;
  struct stream *s = class_test(L, OBJECT, CLASS_STREAM);
  (void)t;
  if (!o->open)
    return;
  if (s) s->input.ops->end_turn(L, &s->input, node);
  o->ops->end_turn(L, o, node);
}

static const struct wait_kind writing = {
  "writing", write_try, write_block, write_cancel, WAITS_OUTSIDE, NULL
};

static int write_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &writing, (int64_t)ctx, write_again);
}

/* The size of all arguments, which are strings and numbers. */
static size_t check_arguments (lua_State *L) {
  size_t all = 0;
  for (int i = 2; i <= lua_gettop(L); i++) {
    size_t n;
    int type = lua_type(L, i);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
      luaL_argerror(L, i, lua_pushfstring(L, "string or number expected, got "
                                          "%s", arg_typename(L, i)));
    lua_tolstring(L, i, &n);
    all += n;
  }
  return all;
}

/* stream:write(...): the stream. The bytes are buffered; a full buffer makes
** it wait. */
static int stream_write (lua_State *L) {
  struct output *o = output_check(L);
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, "write");
  size_t size = check_arguments(L);
  struct stream *s;
  bool unsettled = false;
  int n = o->ops->start ? o->ops->start(L, o) : 0;
  if (n > 0)
    return n;
  if (!o->open) output_check(L);  /* (a finalizer may have closed it) */
  if ((s = class_test(L, OBJECT, CLASS_STREAM)) != NULL) {
    unsettled = s->output.positioned && (stream_reads(s) || read_waits(s));
    if (!unsettled) stream_rewind(s);
  }
  output_begin(o);
  if (!unsettled && size <= OUTPUT_SIZE - o->used && !o->error
      && !loop_unfair(t) && o->ops->may_take(o, NULL)) {
    for (int i = 2; i <= lua_gettop(L); i++) {
      const char *bytes = lua_tolstring(L, i, &size);
      if (output_add(o, loop, bytes, size) < 0)
        return fail(L, ENOMEM, "write to %s", o->name);
    }
    lua_settop(L, OBJECT);
    return 1;
  }
  lua_pushinteger(L, FIRST);
  lua_insert(L, NEXT);
  lua_pushinteger(L, 0);
  lua_insert(L, TAKEN);
  lua_pushinteger(L, lua_gettop(L) + 1);
  lua_insert(L, LAST);
  return wait_perform(L, t, &writing, CLOCK_NEVER, write_again);
}

static int flush_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &output_flushing, (int64_t)ctx, flush_again);
}

/* stream:flush([timeout]): the stream, when all that was written has gone */
static int stream_flush (lua_State *L) {
  int64_t ns = arg_seconds(L, 2);
  struct output *o = output_check(L);
  struct task *t = loop_enter(L, state_of(L)->loop, "flush");
  lua_settop(L, OBJECT);
  if (output_size(o) == 0 && !o->error && !loop_unfair(t)
      && o->ops->may_take(o, NULL))
    return 1;
  return wait_perform(L, t, &output_flushing,
                      loop_deadline(state_of(L)->loop, ns), flush_again);
}


static const luaL_Reg methods[] = {
  {"write", stream_write},
  {"flush", stream_flush},
  {NULL, NULL}
};

void stream_write_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
  class_extend(L, CLASS_STREAM, methods);
}
