/*
** loop_object: makes the loop, with its ring and its object, and ends it with
** its state.
**
** Everything that can raise comes before the loop is installed: a state must
** never have half a loop.
*/

#include "compat.h"
#include "task/loop_object.h"

#include "base/cpu.h"
#include "base/fork_id.h"
#include "base/thread_id.h"
#include "ring/doorbell.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/ring_object.h"
#include "task/cancel_scope.h"
#include "task/ring_watch.h"
#include "task/wait_cancel.h"
#include "task/wall_timer.h"
#include "task/watchdog.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#define REALM_LENGTH 255     /* of the name of a realm of mailboxes */


/* ---- make -------------------------------------------------------------- */

/* Push what a loop consists of: its object, ring, pools and scopes; or nil,
** message, errno. */
static struct ring *prepare_loop (lua_State *L, const struct ring_options *o) {
  struct ring *r;
  class_new(L, CLASS_LOOP, sizeof(struct loop), 4);
  if (ring_new(L, o, &r) == 1) {
    lua_newtable(L);
    lua_newtable(L);
  }
  return r;
}

/* In a forked child the parent's loop has a copy of its ring's descriptor,
** which nothing needs here: its doorbell, which mailboxes may still have, is
** not rung in a child. */
static void leave_parents_ring (struct ring *r) {
  if (r->handle) handle_close_inherited(r->handle, r->doorbell ? 2 : 1);
  if (r->doorbell) {
    refblock_release(&r->doorbell->block);
    r->doorbell = NULL;
  }
}

/* Make them the state's loop; its object stays on the stack. Nothing here
** raises, and no finalizer runs. */
static struct loop *install_loop (lua_State *L, struct ring *r) {
  struct state *s = state_of(L);
  struct loop *loop = lua_touserdata(L, -4);
  state_shared(L, SHARED_CANCEL_SCOPES);
  if (!lua_isnil(L, -1))  /* guard: its tasks are not this loop's */
    cancel_scope_abandon_all(L, s->loop);
  lua_pop(L, 1);
  if (s->loop) leave_parents_ring(s->loop->ring);
  /* a forked child's new loop keeps the old one alive, since the C function
     that runs it may be on the stack */
  state_shared(L, SHARED_LOOP);
  lua_setiuservalue(L, -5, 2);
  state_shared(L, SHARED_CANCEL_SCOPES);  /* and its coroutines */
  lua_setiuservalue(L, -5, 3);
  state_shared(L, SHARED_POOLS);  /* and pools, whose leases may be out */
  lua_setiuservalue(L, -5, 4);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_POOLS);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_CANCEL_SCOPES);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_LOOP);
  loop->state = s;
  loop->ring = r;
  loop->own.loop = loop;
  loop->own.ring = r;
  loop->own.eventfd = -1;
  loop->fds = (struct poll_fds){ .epoll = -1, .cq = -1, .timer = -1,
                                 .armed = CLOCK_NEVER };
  loop->fork_id = fork_id();
  loop->nap = CLOCK_NAP;
  loop->spin.longest = SPIN_USUAL;
  loop->cheap = sys_calls_are_cheap();
  r->watch = &loop->own;
  r->is_loop_ring = true;
  s->loop = loop;
  return loop;
}

struct loop *loop_get (lua_State *L, unsigned entries) {
  struct ring_options o = { .entries = entries, .disabled = true };
  if (loop_here(L) == NULL) {
    int top = lua_gettop(L);
    struct ring *r = prepare_loop(L, &o);
    if (r == NULL)
      return NULL;
    /* guard: a finalizer may have made it meanwhile */
    if (loop_here(L) == NULL) install_loop(L, r);
    lua_settop(L, top);
  }
  return state_of(L)->loop;
}

/* Bound what C holds for this state; false if it holds more already. */
static bool loop_limit_memory (lua_State *L, size_t bytes) {
  struct account *a = state_of(L)->account;
  if (account_held(a) > bytes)
    return false;
  if (a) atomic_store(&a->limit, bytes);
  return true;
}

/* The option, up to `most` seconds, in ns; or -1 if it is not given. */
static int64_t bounded_seconds (lua_State *L, const char *name, int most) {
  lua_Number seconds = -1;
  if (options_given(L, 1, name)) {
    if (options_push(L, 1, name) == LUA_TNUMBER) seconds = lua_tonumber(L, -1);
    if (!(seconds >= 0 && seconds <= most))
      luaL_argerror(L, 1, lua_pushfstring(L, "option '%s' must be seconds, "
                                          "from 0 to %d", name, most));
    lua_pop(L, 1);
  }
  return seconds < 0 ? -1 : (int64_t)(seconds * 1e9);
}

static void check_no_loop (lua_State *L) {
  if (loop_here(L))
    luaL_argerror(L, 1, "this state's loop was made already; its options are "
                  "set before it is first used");
}

/* In a forked child the loop begins anew, and what bounded the state before
** bounds it still: a script must not lift that. */
static void check_bounds (lua_State *L) {
  static const char *const bounds[] = { "memory", "realm", "close_timeout" };
  for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++)
    if (state_of(L)->loop && options_given(L, 1, bounds[i]))
      luaL_argerror(L, 1, lua_pushfstring(L, "option '%s' cannot be set in "
        "a forked child whose parent had a loop: it is as it was there",
        bounds[i]));
}

/* Push the option's function, or nil. */
static void read_on_error (lua_State *L) {
  if (options_push(L, 1, "on_error") != LUA_TNIL && !lua_isfunction(L, -1))
    luaL_argerror(L, 1, "option 'on_error' must be a function: it is called "
                  "with the errors of tasks that were spawned outside a task");
}

/* Push the option `realm`: a string, false or nil. */
static void push_realm (lua_State *L) {
  if (options_push(L, 1, "realm") == LUA_TBOOLEAN && !lua_toboolean(L, -1))
    return;
  if (!lua_isnil(L, -1) && (lua_type(L, -1) != LUA_TSTRING
      || lua_rawlen(L, -1) > REALM_LENGTH
      || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1)))
    luaL_argerror(L, 1, "option 'realm' must be a string of at most 255 bytes "
                  "without a zero, or false");
}

/* The option `movable`: threads use the loop one after another. The kernel
** completes a request by the thread that made it, so that one is interrupted
** for it, wherever it is (no COOP_TASKRUN). */
static void read_movable (lua_State *L, struct ring_options *o) {
  if (!options_boolean(L, 1, "movable"))
    return;
  if (o->flags & IORING_SETUP_SINGLE_ISSUER)
    luaL_argerror(L, 1, "the ring of a movable loop cannot have "
                  "SINGLE_ISSUER");
  if (!o->exact) {
    o->exact = true;
    o->flags = IORING_SETUP_SUBMIT_ALL;
    if (o->cq_entries == 0)
      o->cq_entries = o->entries < 8192 ? o->entries * 8 : 65536;
  }
}

static int make_loop (lua_State *L, bool by_host) {
  struct ring_options o = { .disabled = true };
  struct ring *r;
  int64_t slow, memory, close_bound, spin;
  check_no_loop(L);
  if (!by_host) check_bounds(L);
  o.entries = (unsigned)options_integer(L, 1, "entries", LOOP_ENTRIES_HOSTED,
                                        1, 32768);
  o.cq_entries = (unsigned)options_integer(L, 1, "cq_entries", 0, 1, 65536);
  o.exact = options_given(L, 1, "flags");
  o.flags = (unsigned)options_integer(L, 1, "flags", 0, 0, UINT32_MAX);
  if (o.flags & (IORING_SETUP_IOPOLL | IORING_SETUP_R_DISABLED))
    return luaL_argerror(L, 1, "the loop's ring cannot have IOPOLL or "
                         "R_DISABLED");
  read_movable(L, &o);
  memory = options_integer(L, 1, "memory", 0, 1, INT64_MAX);
  close_bound = bounded_seconds(L, "close_timeout", 3600);
  spin = bounded_seconds(L, "spin", 1);
  slow = watchdog_options(L, 1);
  read_on_error(L);
  push_realm(L);
  if ((r = prepare_loop(L, &o)) == NULL)
    return 3;
  check_no_loop(L);  /* guard: a finalizer may have made one */
  if (memory > 0 && !loop_limit_memory(L, (size_t)memory))
    return fail(L, ENOMEM, "uring.loop{ memory }: the state holds more "
                "than %lld bytes already", (long long)memory);
  if (close_bound >= 0) state_of(L)->close_bound = close_bound;
  install_loop(L, r);
  if (spin >= 0) state_of(L)->loop->spin.longest = spin;
  lua_insert(L, 2);
  lua_settop(L, 5);  /* the loop, on_slow, on_error, realm */
  if (lua_isnil(L, 5)) lua_pop(L, 1);  /* (a forked child's is as it was) */
  else lua_setiuservalue(L, lua_upvalueindex(1), SHARED_REALM);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_ON_ERROR);
  watchdog_usual(L, state_of(L)->loop, slow);
  return 1;
}

int loop_open (lua_State *L, bool by_host) {
  static const char *const names[] = { "entries", "cq_entries", "flags",
                                       "memory", "close_timeout", "movable",
                                       "slow", "on_slow", "on_error",
                                       "realm", "spin", NULL };
  lua_settop(L, 1);
  if (options_open(L, 1, names))
    return make_loop(L, by_host);
  if (loop_get(L, LOOP_ENTRIES_HOSTED) == NULL)
    return 3;
  state_shared(L, SHARED_LOOP);
  return 1;
}

int loop_lua (lua_State *L) {
  return loop_open(L, false);
}


/* ---- use --------------------------------------------------------------- */

bool loop_is_elsewhere (const struct loop *loop) {
  const struct ring *r = loop->ring;
  return r->enabled && (r->io.flags & IORING_SETUP_SINGLE_ISSUER)
         && r->owner != thread_id();
}

int loop_try_bind (struct loop *loop) {
  struct ring *r = loop->ring;
  int rc = 0;
  if (loop->closed)
    return -EBADF;
  if (!r->enabled) {
    rc = ring_bind(r);
    if (cpu_is_single()) loop->spin.longest = 0;
  }
  if (rc < 0)
    return rc;
  return loop_is_elsewhere(loop) ? -EPERM : 0;  /* guard: threads */
}

void loop_bind (lua_State *L, struct loop *loop) {
  int rc = loop_try_bind(loop);
  if (rc == 0)
    return;
  if (rc == -EBADF && loop->closed)
    luaL_error(L, "this state's loop was closed");
  if (rc == -EPERM && loop_is_elsewhere(loop))
    luaL_error(L, "this state's loop belongs to another thread: its first "
               "uring.run or step was there");
  fail(L, -rc, "the loop's ring cannot be used by this thread");
  luaL_error(L, "%s", lua_tostring(L, -2));
}

struct loop *loop_check_object (lua_State *L) {
  struct loop *loop = class_check(L, 1, CLASS_LOOP);
  if (loop->ring == NULL)
    luaL_argerror(L, 1, "the state of this loop closes");
  if (loop->fork_id != fork_id())  /* guard: fork */
    luaL_argerror(L, 1, "this loop belongs to another process: a forked child "
                  "has one of its own, from uring.loop()");
  if (loop->closed)
    luaL_argerror(L, 1, "attempt to use a closed loop");
  return loop;
}

/* ---- end --------------------------------------------------------------- */

/* What is polled is taken out first: where a forked child has copies, the host
** could never get rid of a descriptor that is readable. (In such a child these
** numbers may be other files' by now.) */
void loop_close_fds (struct loop *loop) {
  int *const fds[] = { &loop->fds.cq, &loop->fds.timer, &loop->fds.epoll };
  struct handle *h = loop->fds.handle;
  bool ours = loop->fork_id == fork_id();
  int epoll;
  if (h) {
    loop->fds.handle = NULL;
    loop->fds.epoll = handle_release(h);  /* guard: if it still is its own */
    refblock_release(&h->block);
  }
  epoll = loop->fds.epoll;
  if (ours && epoll >= 0)
    epoll_ctl(epoll, EPOLL_CTL_DEL, loop->own.eventfd, NULL);
  for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
    if (ours && epoll >= 0) epoll_ctl(epoll, EPOLL_CTL_DEL, *fds[i], NULL);
    if (ours && *fds[i] >= 0) close(*fds[i]);
    *fds[i] = -1;
  }
  loop->quiet = false;
}

/* The state closes. Rings that close after this find no loop. */
static void end_loop (struct loop *loop) {
  if (loop->ring == NULL)
    return;
  if (loop->fork_id == fork_id()) loop_dispose_results(loop);
  ring_watch_stop_all(loop);
  loop_close_fds(loop);
  wall_end(loop);
  loop->ring->watch = NULL;
  loop->ring->is_loop_ring = loop->ring->driven = false;
  heap_free(&loop->heap);
  free(loop->scopes);
  if (loop->scratch) refblock_release(&loop->scratch->block);
  loop->scratch = NULL;
  loop->scopes = NULL;
  loop->nscopes = loop->capacity = 0;
  if (loop->state->loop == loop) loop->state->loop = NULL;
  loop->ring = NULL;
}

static int loop_object_gc (lua_State *L) {
  end_loop(class_check(L, 1, CLASS_LOOP));
  return 0;
}

/* Lua finalizes none that was made while the state closes. */
static void end_late_loop (struct state *s) {
  if (s->loop) end_loop(s->loop);
}


/* ---- the class --------------------------------------------------------- */

static int loop_get_ring (lua_State *L) {
  class_check(L, 1, CLASS_LOOP);
  lua_getiuservalue(L, 1, 1);
  return 1;
}

static int loop_tostring (lua_State *L) {
  struct loop *loop = class_check(L, 1, CLASS_LOOP);
  if (loop->closed) lua_pushliteral(L, "uring.Loop (closed)");
  else lua_pushfstring(L, "uring.Loop (%d tasks)", (int)loop->ntasks);
  return 1;
}

/* (close is defined by csrc/host) */
static int loop_tbc (lua_State *L) {
  class_check(L, 1, CLASS_LOOP);
  lua_getfield(L, 1, "close");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return 0;
}

static const luaL_Reg methods[] = {
  {"ring", loop_get_ring},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", loop_object_gc},
  {"__close", loop_tbc},
  {"__tostring", loop_tostring},
  {NULL, NULL}
};

void loop_object_open (lua_State *L) {
  ((struct state *)lua_touserdata(L, -1))->end_loop = end_late_loop;
  class_define(L, CLASS_LOOP, methods, meta, NULL);
}
