/*
** c_api: the functions for the state's thread, and the table.
**
** What may raise runs in one protected call, in a function that has the state
** as its upvalue, as all of the library do. To begin that call allocates
** nothing. What can be known before is tested before, without Lua.
*/

#include "compat.h"
#include "host/c_api.h"

#include "base/sized.h"
#include "host/loop_close.h"
#include "host/loop_fd.h"
#include "host/step.h"
#include "task/loop_object.h"
#include "task/scope.h"
#include "worker/box.h"
#include "worker/inbox.h"
#include "worker/mail_address.h"
#include "worker/mailbox.h"
#include "worker/reply.h"
#include "worker/values.h"

#include <uring_lua.h>

#include <math.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#define SLOTS 8            /* of the stack, for each call */


/* ---- the protected call ------------------------------------------------ */

struct call {
  int (*work)(lua_State *L, struct call *c);  /* how many values it returns */
  int rc;
  void *arg;
  double seconds;
};

/* perform(call, ...) */
static int perform (lua_State *L) {
  struct call *c = lua_touserdata(L, 1);
  lua_remove(L, 1);
  return c->work(L, c);
}

/* Call `work` with the `nargs` values on top: the status, with the results or
** the error value on the stack. */
static int call_protected (lua_State *L, struct call *c, int nargs) {
  state_push(L);
  lua_getiuservalue(L, -1, SHARED_C_API);
  lua_replace(L, -2);
  lua_insert(L, -nargs - 1);
  lua_pushlightuserdata(L, c);
  lua_insert(L, -nargs - 1);
  return lua_pcall(L, nargs + 1, LUA_MULTRET, 0);
}

/* The same for functions that say no more of an error than its number: 0, or
** -errno and nothing is pushed. */
static int call_for_errno (lua_State *L, struct call *c, int nargs) {
  int top = lua_gettop(L) - nargs;
  int status = call_protected(L, c, nargs);
  if (status != LUA_OK) c->rc = status == LUA_ERRMEM ? -ENOMEM : -EINVAL;
  if (c->rc < 0) lua_settop(L, top);
  return c->rc;
}

/* The state, if there is room on its stack: 0; or -ENOMEM, -ENOENT. */
static int find_state (lua_State *L, struct state **s) {
  if (!lua_checkstack(L, SLOTS))
    return -ENOMEM;
  *s = state_get(L);
  return *s ? 0 : -ENOENT;
}

/* The loop that this process may use, or -errno. */
static int find_loop (lua_State *L, struct loop **loop) {
  struct state *s;
  int rc = find_state(L, &s);
  if (rc < 0)
    return rc;
  *loop = s->loop;
  if (s->loop == NULL)
    return -ENOENT;
  if (s->loop->fork_id != fork_id())
    return -ESTALE;
  return s->loop->closed ? -EBADF : 0;
}

/* The same, for this thread to run. */
static int find_idle_loop (lua_State *L, struct loop **loop) {
  int rc = find_loop(L, loop);
  if (rc < 0)
    return rc;
  return (*loop)->running ? -EBUSY : loop_try_bind(*loop);
}


/* ---- open -------------------------------------------------------------- */

static void option_integer (lua_State *L, const char *name, lua_Integer n) {
  if (n == 0)
    return;
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}

static void option_number (lua_State *L, const char *name, double n) {
  if (n == 0)
    return;
  lua_pushnumber(L, (lua_Number)n);
  lua_setfield(L, -2, name);
}

static void option_boolean (lua_State *L, const char *name, int b) {
  if (b == 0)
    return;
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, name);
}

static void option_realm (lua_State *L, const struct uring_loop_options *o) {
  if (o->no_names) lua_pushboolean(L, 0);
  else lua_pushstring(L, o->realm);  /* (NULL: nil) */
  lua_setfield(L, -2, "realm");
}

/* open(on_error, on_slow): uring.loop{ ... } */
static int work_open (lua_State *L, struct call *c) {
  const struct uring_loop_options *o = c->arg;
  lua_settop(L, 2);
  lua_createtable(L, 0, 9);
  option_integer(L, "entries", o->entries);
  option_integer(L, "cq_entries", o->cq_entries);
  option_integer(L, "memory", o->memory > INT64_MAX ? INT64_MAX
                                                 : (lua_Integer)o->memory);
  option_number(L, "slow", o->slow);
  option_number(L, "close_timeout", o->close_timeout);
  option_boolean(L, "movable", o->movable);
  option_realm(L, o);
  if (o->has_flags) {
    lua_pushinteger(L, o->flags);
    lua_setfield(L, -2, "flags");
  }
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "on_error");
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "on_slow");
  lua_replace(L, 1);
  if (loop_open(L, true) == 3) c->rc = -(int)lua_tointeger(L, -1);
  return 0;
}

static void push_option (lua_State *L, int top, int index) {
  if (index == 0) lua_pushnil(L);
  else lua_pushvalue(L, index < 0 ? top + 1 + index : index);
}

/* Is it the index of a value on the stack, or none at all? */
static bool is_index (int top, int index) {
  return index <= top && index >= -top;
}

static int c_open (lua_State *L, const struct uring_loop_options *options) {
  struct uring_loop_options o = { .size = sizeof(o) };
  struct call c = { .work = work_open, .arg = &o };
  struct state *s;
  int rc = find_state(L, &s), top = lua_gettop(L);
  if (rc == 0 && options) rc = sized_read(&o, sizeof(o), sizeof(o), options);
  if (rc < 0)
    return rc;
  if (s->loop && s->loop->fork_id == fork_id())
    return -EEXIST;
  if (o.reserved != 0)
    return -EINVAL;
  if (!is_index(top, o.on_error) || !is_index(top, o.on_slow))
    return -EINVAL;
  push_option(L, top, o.on_error);
  push_option(L, top, o.on_slow);
  return call_for_errno(L, &c, 2);
}


/* ---- step, fd, timeout, close ------------------------------------------ */

static int work_step (lua_State *L, struct call *c) {
  step_perform(L, state_of(L)->loop, c->arg);
  return 0;
}

static int c_step (lua_State *L, struct uring_step *theirs) {
  struct step s = STEP_USUAL;
  struct call c = { .work = work_step, .arg = &s };
  struct uring_step o;
  struct loop *loop;
  int rc = sized_read(&o, sizeof(o), sizeof(o), theirs);
  if (rc < 0)
    return rc;
  theirs->more = theirs->failed = 0;
  theirs->resumed = 0;
  rc = find_idle_loop(L, &loop);
  if (rc < 0)
    return rc;
  if (o.max > 0) s.most = o.max;
  if (o.seconds > 0) s.seconds = o.seconds;
  if (!isnan(o.now)) s.now = o.now;
  s.gc = o.gc != 0;
  if (o.now < 0 || step_time_problem(loop, &s))
    return -EINVAL;
  if (!step_begin(loop, &s))
    return 0;  /* (no call of Lua's: idle steps are cheap) */
  theirs->failed = call_protected(L, &c, 0) != LUA_OK;
  theirs->more = s.more;
  theirs->resumed = s.resumed < UINT32_MAX ? (uint32_t)s.resumed : UINT32_MAX;
  return 0;
}

static int c_fd (lua_State *L) {
  struct loop *loop;
  int rc = find_loop(L, &loop);
  return rc < 0 ? rc : loop_fd_open(loop);
}

static double c_timeout (lua_State *L) {
  struct loop *loop;
  int rc = find_loop(L, &loop);
  return rc < 0 ? rc : step_timeout(loop);
}

static int work_close (lua_State *L, struct call *c) {
  lua_settop(L, 0);
  state_shared(L, SHARED_LOOP);
  lua_pushnumber(L, (lua_Number)c->seconds);
  if (loop_close_lua(L) == 3) c->rc = -(int)lua_tointeger(L, -1);
  return 0;
}

static int c_close (lua_State *L, double seconds) {
  struct call c = { .work = work_close, .seconds = seconds };
  struct loop *loop;
  int rc, top = lua_gettop(L), status;
  if (!(seconds >= 0))
    return -EINVAL;
  rc = find_idle_loop(L, &loop);
  if (rc < 0)
    return rc == -EBADF ? 0 : rc;
  status = call_protected(L, &c, 0);
  lua_settop(L, top);
  if (status == LUA_ERRMEM)
    return -ENOMEM;
  if (status != LUA_OK && !loop->closed)
    return -EINVAL;
  return status == LUA_OK ? c.rc : -EIO;
}


/* ---- tasks and addresses ----------------------------------------------- */

/* spawn(f, ...) */
static int work_spawn (lua_State *L, struct call *c) {
  state_shared(L, SHARED_LOOP);
  lua_insert(L, 1);
  if (scope_loop_spawn(L) == 3) c->rc = -(int)lua_tointeger(L, -1);
  return 0;
}

static int c_spawn (lua_State *L, int nargs) {
  struct call c = { .work = work_spawn };
  struct loop *loop;
  int rc = nargs < 0 || nargs >= lua_gettop(L) ? -EINVAL : 0;
  int top = lua_gettop(L) - nargs - 1;
  if (rc < 0)
    return rc;
  rc = find_loop(L, &loop);
  if (rc == 0) rc = call_for_errno(L, &c, nargs + 1);
  lua_settop(L, top);
  return rc;
}

static int c_to_box (lua_State *L, int index, uring_box **box) {
  struct state *s;
  struct queue *q;
  int rc = find_state(L, &s);
  if (rc < 0)
    return rc;
  index = lua_absindex(L, index);
  if (!mailbox_at(L, s, index, &q)) {
    const struct mail_address *a = class_at(L, s, index, CLASS_ADDRESS);
    if (a == NULL)
      return -EINVAL;
    q = a->q;
  }
  if (q == NULL)
    return -EBADF;
  if (q->fork_id != fork_id())
    return -ESTALE;
  *box = box_of(q);
  return 0;
}

static int work_push_address (lua_State *L, struct call *c) {
  struct queue *q = c->arg;
  struct mail_address *a = mail_address_new(L);
  refblock_retain(&q->block);
  mail_address_set(a, q);
  return 1;
}

static int c_push_address (lua_State *L, uring_box *box) {
  struct call c = { .work = work_push_address, .arg = box };
  struct state *s;
  int rc = find_state(L, &s);
  if (rc == 0 && box_queue(box)->fork_id != fork_id()) rc = -ESTALE;
  return rc < 0 ? rc : call_for_errno(L, &c, 0);
}


/* ---- the table --------------------------------------------------------- */

static const struct uring_api table = {
  .size = sizeof(table), .version = URING_LUA_VERSION,
  .open = c_open, .step = c_step, .fd = c_fd, .timeout = c_timeout,
  .close = c_close, .spawn = c_spawn,
  .to_box = c_to_box, .push_address = c_push_address,
  .find = box_find, .hold = box_hold, .release = box_release,
  .post = box_post,
  .inbox_new = inbox_new, .inbox_box = inbox_box, .inbox_fd = inbox_fd,
  .inbox_take = inbox_take, .values = values_of,
  .message_free = reply_free, .inbox_close = inbox_close,
  .reply = reply_values, .refuse = reply_error,
  .monitor = inbox_monitor, .stats = box_stats, .wanting = box_wanting
};

void c_api_open (lua_State *L) {
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, perform, 1);
  lua_setiuservalue(L, -2, SHARED_C_API);
}

void c_api_publish (lua_State *L) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)&table);
  lua_setfield(L, LUA_REGISTRYINDEX, URING_LUA_KEY);
}
