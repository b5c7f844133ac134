/*
** inspect: describes tasks: what each waits for, and where.
**
** Every push may run finalizers, and __tostring of the program's objects may
** do anything: both can close rings, sockets and coroutines. So each function
** reads all that it needs before its first push.
*/

#include "compat.h"
#include "task/inspect.h"

#include "base/clock.h"
#include "base/names.h"
#include "lua/errors.h"
#include "task/channel.h"
#include "task/task.h"
#include "task/wait.h"
#include "task/wrap.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define SHOWN 8  /* of a list */


void inspect_push_name_in (lua_State *L, int task, uint32_t scope) {
  const struct task *t = lua_touserdata(L, task);
  task_push_name(L, task);
  if (scope == 1) lua_pushfstring(L, "task %d", (int)t->place);
  else lua_pushfstring(L, "task %d.%d", (int)scope, (int)t->place);
  if (lua_type(L, -2) == LUA_TSTRING) {
    lua_pushfstring(L, "%s '%s'", lua_tostring(L, -1), lua_tostring(L, -2));
    lua_remove(L, -2);
  }
  lua_remove(L, -2);
}

static void inspect_push_name (lua_State *L, const struct task *t) {
  task_push(L, t);
  inspect_push_name_in(L, lua_gettop(L),
                       cancel_scope_of_task(state_of(L)->loop, t)->id);
  lua_remove(L, -2);
}

/* The innermost function of the program's in this coroutine. */
static bool find_user_frame (lua_State *L, lua_State *co, lua_Debug *ar) {
  for (int level = 0; lua_getstack(co, level, ar); level++) {
    lua_getinfo(co, "Sl", ar);
    if (ar->currentline > 0 && !loop_in_library(L, ar))
      return true;
  }
  return false;
}


/* Remove all above `top` but the value on top. */
static void keep_one (lua_State *L, int top) {
  lua_insert(L, top + 1);
  lua_settop(L, top + 1);
}


/* ---- what it waits for ------------------------------------------------- */

/* The coroutine in which a task waits, with the arguments of the wait from
** index 1; NULL while it is being closed. */
static lua_State *stack_of_wait (const struct task *t) {
  lua_State *co = wrap_innermost(t->node.co);
  return lua_status(co) == LUA_YIELD ? co : NULL;
}

/* What a description needs of an operation. */
struct op_info {
  unsigned opcode;
  int fd;
  bool ended;
};

static struct op_info op_info_of (const struct op *op) {
  struct op_info s = { 0, -1, true };
  if (op) s = (struct op_info){ op->opcode, op->fd, false };
  return s;
}

/* "read (fd 5)" */
static void push_op_info (lua_State *L, struct op_info s) {
  const char *name = name_op_short(s.opcode);
  int fd = name_op_fd(s.opcode, s.fd);
  if (s.ended) lua_pushliteral(L, "one that has ended");
  else if (fd < 0) lua_pushstring(L, name);
  else lua_pushfstring(L, "%s (fd %d)", name, fd);
}

/* The request of `op`, if it is an argument of the wait. */
static const struct request *awaited_request (lua_State *L, lua_State *co,
                                              const struct op *op) {
  for (int i = 1; co && co != L && lua_checkstack(co, 1) && i <= 2; i++) {
    const struct request *q;
    lua_pushvalue(co, i);
    lua_xmove(co, L, 1);
    q = class_test(L, lua_gettop(L), CLASS_SQE);
    lua_pop(L, 1);
    if (q && q->sqe.opcode == op->opcode && q->sqe.fd == op->fd)
      return q;
  }
  return NULL;
}

static const struct name_bit polls[] = {
  {POLLIN, "POLLIN"}, {POLLPRI, "POLLPRI"}, {POLLOUT, "POLLOUT"},
  {POLLERR, "POLLERR"}, {POLLHUP, "POLLHUP"}, {POLLRDHUP, "POLLRDHUP"},
  {0, NULL}
};

static void push_waitq (lua_State *L, const struct object_waitq *waitq,
                       lua_State *co) {
  if (co && waitq->describe) waitq->describe(L, waitq, co);
  else if (waitq->fd < 0) lua_pushstring(L, waitq->what);
  else lua_pushfstring(L, "%s (fd %d)", waitq->what, waitq->fd);
}

static void push_await (lua_State *L, const struct task *t) {
  const struct op *op = t->op;
  lua_State *co = stack_of_wait(t);
  const struct request *q;
  struct op_info info = op_info_of(op);
  int ring = t->ring->io.ring_fd;
  char mask[64] = "";
  if (op->waitq && t->wait == WAIT_AWAIT) {
    push_waitq(L, op->waitq, co);
    return;
  }
  q = op->opcode == IORING_OP_POLL_ADD ? awaited_request(L, co, op) : NULL;
  if (q) name_bits(polls, q->sqe.poll32_events, mask, sizeof(mask));
  push_op_info(L, info);
  lua_pushfstring(L, "for %s%s%s on ring (fd %d)", lua_tostring(L, -1),
                  *mask ? " for " : "", mask, ring);
}

/* "for a chain of 2 on ring (fd 5): read (fd 6), timeout" */
static void push_chain (lua_State *L, const struct task *t) {
  const struct chain *c = t->chain;
  unsigned n = c->n, shown = n < SHOWN ? n : SHOWN;
  struct op_info infos[SHOWN];
  int text;
  for (unsigned i = 0; i < shown; i++)
    infos[i] = op_info_of(op_find(&t->ring->ops, c->link[i].token));
  lua_pushfstring(L, "for a chain of %d on ring (fd %d)", (int)n,
                  t->ring->io.ring_fd);
  text = lua_gettop(L);
  for (unsigned i = 0; i < shown; i++) {
    push_op_info(L, infos[i]);
    lua_pushfstring(L, "%s%s %s", lua_tostring(L, text), i ? "," : ":",
                    lua_tostring(L, -1));
    lua_replace(L, text);
    lua_settop(L, text);
  }
  if (n > SHOWN) lua_pushfstring(L, "%s, …", lua_tostring(L, text));
}

/* The order of keys of lua/uring/select.lua: numbers, strings, others. */
static bool precedes (lua_State *L, int a, int b) {
  int x = lua_type(L, a), y = lua_type(L, b);
  if (x == y)
    return (x == LUA_TNUMBER || x == LUA_TSTRING)
           && lua_compare(L, a, b, LUA_OPLT);
  return x == LUA_TNUMBER || (x == LUA_TSTRING && y != LUA_TNUMBER);
}

/* Push the first keys of the table on top, each with its value. Are there more
** than SHOWN? */
static bool push_waited_first (lua_State *L) {
  int events = lua_gettop(L), n = 0;
  lua_pushnil(L);
  while (lua_next(L, events)) {
    int key = lua_gettop(L) - 1, at = key;
    while (at > events + 1 && precedes(L, key, at - 2)) at -= 2;
    lua_rotate(L, at, 2);
    lua_pushvalue(L, at);
    if (++n > SHOWN) {
      lua_rotate(L, -3, 1);
      lua_pop(L, 2);
    }
  }
  return n > SHOWN;
}

/* The table on top becomes "{ job: uring.Event (…), … }". */
static void push_events (lua_State *L) {
  int events = lua_gettop(L), text;
  bool more;
  stack_reserve(L, 2 * SHOWN + 8, NULL);
  more = push_waited_first(L);
  lua_pushliteral(L, "{");
  text = lua_gettop(L);
  for (int at = events + 1; at < text; at += 2) {
    luaL_tolstring(L, at, NULL);
    luaL_tolstring(L, at + 1, NULL);
    lua_pushfstring(L, "%s%s %s: %s", lua_tostring(L, text),
                    at > events + 1 ? "," : "", lua_tostring(L, -2),
                    lua_tostring(L, -1));
    lua_replace(L, text);
    lua_settop(L, text);
  }
  lua_pushfstring(L, "%s%s }", lua_tostring(L, text), more ? ", …" : "");
  lua_replace(L, events);
  lua_settop(L, events);
}

/* The wait at a channel or a semaphore, as its event. */
static void push_items (lua_State *L, const struct task *t) {
  lua_State *co = stack_of_wait(t);
  int top = lua_gettop(L);
  const char *kind = "acquiring";
  bool sends = t->wait == WAIT_SEND;
  if (co == NULL || co == L || !lua_checkstack(co, 2)) {
    lua_pushliteral(L, "for others");
    return;
  }
  lua_pushvalue(co, 1);
  lua_pushvalue(co, sends ? 2 : 1);
  lua_xmove(co, L, 2);
  if (class_test(L, top + 1, CLASS_CHANNEL))
    kind = sends ? "sending" : "receiving";
  luaL_tolstring(L, top + 1, NULL);
  if (sends) channel_describe_message(L, top + 2);
  else lua_pushliteral(L, "");
  lua_pushfstring(L, "for uring.Event (%s of %s%s%s)", kind,
                  lua_tostring(L, top + 3), sends ? ": " : "",
                  lua_tostring(L, top + 4));
  keep_one(L, top);
}

/* A parked task: from the arguments of `park` (event.c). */
static void push_parked (lua_State *L, const struct task *t) {
  lua_State *co = stack_of_wait(t);
  int what = lua_gettop(L) + 1, of = what + 1;
  if (co == NULL || co == L || lua_type(co, 1) != LUA_TSTRING
      || !lua_checkstack(co, 2)) {
    lua_pushliteral(L, "for others");
    return;
  }
  lua_pushvalue(co, 1);
  lua_pushvalue(co, 2);
  lua_xmove(co, L, 2);
  if (lua_isnil(L, of)) {
    lua_settop(L, what);
    return;
  }
  if (lua_istable(L, of) && !luaL_getmetafield(L, of, "__tostring")) {
    push_events(L);
    lua_pushfstring(L, "%s of %s", lua_tostring(L, what), lua_tostring(L, of));
  }
  else
    lua_pushfstring(L, "%s %s", lua_tostring(L, what),
                    luaL_tolstring(L, of, NULL));
  keep_one(L, what - 1);
}

static void push_wait (lua_State *L, const struct task *t) {
  int top = lua_gettop(L);
  switch (t->wait) {
    case WAIT_SLEEP:
      if (t->waitq) push_waitq(L, t->waitq, stack_of_wait(t));
      else lua_pushliteral(L, "in uring.sleep");
      break;
    case WAIT_AWAIT: case WAIT_OPERATION: push_await(L, t); break;
    case WAIT_CHAIN: push_chain(L, t); break;
    case WAIT_MESSAGE:
      lua_pushfstring(L, "for a message to ring (fd %d)",
                      t->ring->io.ring_fd);
      break;
    case WAIT_QUEUE: push_waitq(L, t->waitq, stack_of_wait(t)); break;
    case WAIT_JOIN:
      inspect_push_name(L, t->joined);
      lua_pushfstring(L, "for %s to end", lua_tostring(L, -1));
      break;
    case WAIT_SCOPE: {
      const struct cancel_scope *cs = t->scope;
      int n = (int)(cs->ntasks + cs->ndaemons);
      lua_pushfstring(L, "for the %d task%s of its scope to end", n,
                      n == 1 ? "" : "s");
      break;
    }
    case WAIT_ITEM: case WAIT_SEND: push_items(L, t); break;
    case WAIT_PARK: push_parked(L, t); break;
    default: lua_pushliteral(L, "for its turn"); break;
  }
  if (t->timer.place && t->state == TASK_WAITING) {
    int64_t left = t->timer.when - loop_time(state_of(L)->loop);
    int64_t ms = left > 0 ? left / 1000000 : 0;
    lua_pushfstring(L, "%s, for %f s more%s", lua_tostring(L, -1),
                    (lua_Number)ms / 1e3,
                    t->wait == WAIT_SLEEP && !t->waitq ? "" : " at most");
  }
  keep_one(L, top);
}

void inspect_push_description (lua_State *L, const struct task *t) {
  int top = lua_gettop(L);
  lua_Debug ar;
  stack_reserve(L, 20, NULL);
  inspect_push_name(L, t);
  if (t->state != TASK_WAITING) lua_pushliteral(L, "is ready");
  else {
    push_wait(L, t);
    lua_pushfstring(L, "waits %s", lua_tostring(L, -1));
    lua_remove(L, -2);
  }
  task_push_spawned(L, t->node.co);
  if (find_user_frame(L, wrap_innermost(t->node.co), &ar))
    lua_pushfstring(L, "%s %s at %s:%d (spawned at %s)",
                    lua_tostring(L, top + 1), lua_tostring(L, top + 2),
                    ar.short_src, ar.currentline, lua_tostring(L, top + 3));
  else
    lua_pushfstring(L, "%s %s (spawned at %s)", lua_tostring(L, top + 1),
                    lua_tostring(L, top + 2), lua_tostring(L, top + 3));
  keep_one(L, top);
}


/* ---- the worst resume -------------------------------------------------- */

void inspect_write_name (lua_State *L, const struct loop *loop,
                         const struct task *t, char *to, size_t size) {
  state_shared(L, SHARED_NAMES);
  task_push(L, t);
  if (lua_rawget(L, -2) == LUA_TSTRING)
    snprintf(to, size, "%s", lua_tostring(L, -1));
  else
    snprintf(to, size, "task %u.%u",
             (unsigned)cancel_scope_of_task(loop, t)->id, (unsigned)t->place);
  lua_pop(L, 2);
}

void inspect_worst (lua_State *L, struct loop *loop, const struct task *t,
                    int64_t ns) {
  struct worst *w = &loop->worst;
  lua_Debug ar;
  w->ns = ns;
  w->line = 0;
  inspect_write_name(L, loop, t, w->task, sizeof(w->task));
  if (t->state != TASK_RUNNING
      && find_user_frame(L, wrap_innermost(t->node.co), &ar)) {
    w->line = ar.currentline;
    memcpy(w->file, ar.short_src, sizeof(w->file));
  }
  else if (loop->watched.line > 0) {  /* it has ended */
    w->line = loop->watched.line;
    memcpy(w->file, loop->watched.file, sizeof(w->file));
  }
  loop->watched.line = 0;
}


/* ---- uring.tasks() ----------------------------------------------------- */

/* Append the table of one task, which is on top, to the list at 1. */
static void add_task_info (lua_State *L, struct loop *loop, struct task *t) {
  const struct cancel_scope *scope;
  lua_Debug ar;
  int task = lua_gettop(L);
  stack_reserve(L, 20, NULL);
  lua_createtable(L, 0, 10);
  lua_pushvalue(L, task);
  lua_setfield(L, -2, "task");
  task_push_name(L, task);
  lua_setfield(L, -2, "name");
  inspect_push_name(L, t);
  lua_setfield(L, -2, "id");
  lua_pushstring(L, task_status(t));
  lua_setfield(L, -2, "state");
  if (t->state == TASK_WAITING) {
    push_wait(L, t);
    lua_setfield(L, -2, "waits");
    lua_pushnumber(L, (lua_Number)(clock_ms(loop_time(loop))
                                    - t->wait_began)
                      / 1e3);
    lua_setfield(L, -2, "seconds");
  }
  if (find_user_frame(L, t == loop->current ? L : wrap_innermost(t->node.co),
                 &ar)) {
    lua_pushstring(L, ar.short_src);
    lua_setfield(L, -2, "file");
    lua_pushinteger(L, ar.currentline);
    lua_setfield(L, -2, "line");
  }
  scope = cancel_scope_of_task(loop, t);
  if (scope->owner) {
    task_push(L, scope->owner);
    lua_setfield(L, -2, "parent");
  }
  task_push_spawned(L, t->node.co);
  lua_setfield(L, -2, "spawned_at");
  lua_pushboolean(L, (t->task_flags & TASKF_DAEMON) != 0);
  lua_setfield(L, -2, "daemon");
  lua_pushboolean(L, (t->task_flags & TASKF_CANCELLED) != 0);
  lua_setfield(L, -2, "cancelled");
  lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
}

/* The same while nothing runs the loop: as if something did, because
** a finalizer might, and end the task that is looked at. */
static int inspect_idle (lua_State *L) {
  struct loop *loop;
  int status;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, inspect_tasks, 1);
  loop = loop_here(L);
  if (loop) loop->running = true;  /* guard: a finalizer must not step */
  status = lua_pcall(L, 0, 1, 0);
  if (loop) loop->running = false;
  return status == LUA_OK ? 1 : raise_again(L);
}

/* uring.tasks(): { { task=, name=, state=, waits=, … }, … } */
int inspect_tasks (lua_State *L) {
  struct loop *loop = loop_here(L);
  lua_settop(L, 0);
  if (loop && !loop->running)
    return inspect_idle(L);
  lua_newtable(L);
  if (loop) cancel_scope_each_task(L, loop, add_task_info);
  return 1;
}
