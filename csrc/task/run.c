/*
** run: turns the loop until no task is left.
**
** The loop must not sleep while a task is ready or a completion is unreaped,
** and must not return before every task has ended.
*/

#include "compat.h"
#include "task/run.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/doorbell.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/ring_object.h"
#include "task/completion.h"
#include "task/inspect.h"
#include "task/resume.h"
#include "task/ring_watch.h"
#include "task/scope.h"
#include "task/task.h"
#include "task/wait_cancel.h"
#include "task/wait.h"
#include "task/watchdog.h"

#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#define ENTRIES 256
#define RETRY_NS 1000000
#define MAX_NOMEM 100        /* retries without memory, until it is an error */
#define LAST_TURNS 8         /* at the end, for unattended requests to end */
#define ABANDONS 8           /* two are enough unless finalizers spawn */
#define CLOCK_TURNS 16       /* turns after which the time is read anew */
#define DESCRIBED 1          /* stack index of a table with the text */


/* ---- a turn ------------------------------------------------------------ */

static void describe_one (lua_State *L, struct loop *loop, struct task *t) {
  (void)loop;
  lua_rawgeti(L, DESCRIBED, 1);
  lua_pushliteral(L, "\n\t");
  inspect_push_description(L, t);
  lua_concat(L, 3);
  lua_rawseti(L, DESCRIBED, 1);
}

/* No task is ready and no deadline is set: raise if nothing in flight can wake
** a task. */
static void check_deadlock (lua_State *L, struct loop *loop) {
  const struct op_table *t = &loop->ring->ops;
  unsigned unattended;
  if (loop->nlocal < loop->ntasks)
    return;
  unattended = loop_unattended(loop);
  if (t->flying > t->internal + t->silent_flying + unattended
      || loop->ring->held > unattended)
    return;
  for (struct watch *w = loop->watches; w; w = w->next)
    if (w->ring->held > 0)
      return;
  loop->deadlocked = true;
  lua_settop(L, DESCRIBED - 1);
  lua_createtable(L, 1, 0);
  lua_pushliteral(L, "deadlock: every task waits for another one:");
  lua_rawseti(L, DESCRIBED, 1);
  cancel_scope_each_task(L, loop, describe_one);
  lua_rawgeti(L, DESCRIBED, 1);
  lua_error(L);
}

/* End the waits, timeouts and shields whose deadline was reached. */
static void expire_timers (struct loop *loop) {
  struct timer *top = heap_top(&loop->heap);
  int64_t now;
  if (top == NULL)
    return;
  now = clock_now();
  loop->now = clock_ms(now);
  if (top->when > now)
    return;
  do {
    heap_remove(&loop->heap, top);
    if (top->owner_id == 0)
      cancel_scope_expire(loop, (struct cancel_scope *)top);
    else loop_timed_out(loop, (struct task *)
                        ((char *)top - offsetof(struct task, timer)));
    top = heap_top(&loop->heap);
  } while (top && top->when <= now);
}

/* A turn after its tasks have run: submit, sleep if no task is ready, reap. */
static void submit_and_wait (lua_State *L, struct loop *loop) {
  struct ring *own = loop->ring;
  unsigned wait = 0;
  int64_t ns = SYS_FOREVER;
  int rc = 0, taken;
  loop->retry = false;
  if (loop->outputs) loop->before_enter(loop);
  if (loop->watches || loop->own.eventfd >= 0) ring_watch_enter(loop);
  if (loop->first == NULL) {
    struct timer *top = heap_top(&loop->heap);
    wait = 1;
    if (top) ns = clock_left(top->when);
    else check_deadlock(L, loop);
    if (loop->retry && (ns < 0 || ns > RETRY_NS)) ns = RETRY_NS;
    if (ns == 0) wait = 0;
    ns = clock_nap(ns, loop->nap);  /* guard: a signal's hook is seen */
  }
  if (wait && own->doorbell) doorbell_arm(own->doorbell);
  if (wait || ring_needs_enter(own)) {
    rc = ring_enter(own, wait, ns);
    if (own->doorbell) doorbell_disarm(own->doorbell);
    /* A sleep ends with the first completion; the kernel may have task work
       for others. Run it now in one enter, and not in one for each turn. */
    if (wait && sys_cq_ready(&own->io) > 0 && sys_needs_enter(&own->io))
      ring_enter(own, 0, SYS_FOREVER);
    loop->now = clock_rough();
  }
  taken = ring_reap(own);
  if (taken < 0 || loop->nomem_turns > MAX_NOMEM) {  /* guard: not for ever */
    loop->nomem_turns = 0;
    luaL_error(L, "not enough memory for what has completed");
  }
  if (rc == -EINTR)
    ring_interrupted(L);
  else if (rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM) {
    if (taken == 0 && loop->first == NULL) clock_sleep(RETRY_NS);
  }
  else if (rc < 0 && rc != -ETIME) {
    fail_enter(L, -rc, own->io.ring_fd);
    luaL_error(L, "the loop cannot go on: %s", lua_tostring(L, -2));
  }
  for (struct watch *w = loop->watches; w; w = w->next)
    if (w->signaled) { ring_watch_enter(loop); break; }
  expire_timers(loop);
  /* guard: only a whole nap without an event makes the next one longer */
  loop->nap = loop->first == NULL && rc == -ETIME && ns == loop->nap
              ? clock_next_nap(loop->nap) : CLOCK_NAP;
}

/* The loop under uring.run, called protected; until no task is left. */
static int run_tasks (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  for (unsigned turn = 1; loop->ntasks > 0; turn++) {
    task_resume_all(L, loop);
    if (turn % CLOCK_TURNS == 0) loop->now = clock_rough();
    if (lua_gethookmask(L)) ring_interrupted(L);
    if (loop->ntasks == 0) break;
    submit_and_wait(L, loop);
  }
  /* submit what the last task queued, and end what no task waits for */
  if (loop->outputs) loop->before_enter(loop);
  loop_cancel_unattended(loop);
  for (int i = 0; i < LAST_TURNS && (ring_needs_enter(loop->ring)
                                     || loop_unattended(loop)); i++) {
    ring_enter(loop->ring, i > 0, i > 0 ? RETRY_NS : SYS_FOREVER);
    ring_reap(loop->ring);
  }
  if (loop->outputs) loop->after_run(loop);
  return 0;
}

/* Close a task's coroutine. (Its to-be-closed variables may wake and cancel
** others, and end their scopes.) */
static void abandon_task (lua_State *L, struct loop *loop, struct task *t) {
  loop_abandon_wait(loop, t);
  loop->first = loop->last = NULL;  /* guard: it may be freed soon */
  t->state = TASK_RUNNING;
  lua_closethread(t->node.co, L);
  state_shared(L, SHARED_CANCELLED);
  task_push(L, t);
  task_finish(L, loop, t, -1);
}

/* The loop itself has failed, or was interrupted twice: no task can run any
** more. Close all coroutines. */
static void abandon_all (lua_State *L, struct loop *loop) {
  /* (more than once: a __close may have spawned into a scope passed before) */
  for (int i = 0; i < ABANDONS && loop->ntasks > 0; i++)
    cancel_scope_each_task(L, loop, abandon_task);
  loop->first = loop->last = NULL;
  loop->ntasks = loop->nlocal = 0;
}


/* ---- the loop object --------------------------------------------------- */

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

/* Make them the state's loop; its object stays on the stack. Nothing here
** raises, and no finalizer runs. */
static struct loop *install_loop (lua_State *L, struct ring *r) {
  struct state *s = state_of(L);
  struct loop *loop = lua_touserdata(L, -4);
  if (s->loop) cancel_scope_abandon_all(L, s->loop);  /* guard: fork */
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
  loop->fork_id = fork_id();
  loop->nap = CLOCK_NAP;
  loop->cheap = sys_calls_are_cheap();
  r->watch = &loop->own;
  r->is_loop_ring = true;
  s->loop = loop;
  return loop;
}

/* The state's loop, made if need be. NULL: that failed; nil, message, errno
** are pushed. */
static struct loop *get_loop (lua_State *L) {
  static const struct ring_options o = { .entries = ENTRIES };
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

static void check_no_loop (lua_State *L) {
  if (loop_here(L))
    luaL_argerror(L, 1, "this state's loop was made already; its options are "
                  "set before it is first used");
}

int run_loop (lua_State *L) {
  static const char *const names[] = { "entries", "cq_entries", "flags",
                                       "slow", "on_slow", NULL };
  lua_settop(L, 1);
  if (options_open(L, 1, names)) {
    struct ring_options o = {0};
    struct ring *r;
    int64_t slow;
    check_no_loop(L);
    o.entries = (unsigned)options_integer(L, 1, "entries", ENTRIES, 1, 32768);
    o.cq_entries = (unsigned)options_integer(L, 1, "cq_entries", 0, 1,
                                             65536);
    o.exact = options_given(L, 1, "flags");
    o.flags = (unsigned)options_integer(L, 1, "flags", 0, 0, UINT32_MAX);
    if (o.flags & (IORING_SETUP_IOPOLL | IORING_SETUP_R_DISABLED))
      return luaL_argerror(L, 1, "the loop's ring cannot have IOPOLL or "
                           "R_DISABLED");
    slow = watchdog_options(L, 1);
    if ((r = prepare_loop(L, &o)) == NULL)
      return 3;
    check_no_loop(L);  /* guard: a finalizer may have made one */
    install_loop(L, r);
    lua_pushvalue(L, 2);
    watchdog_usual(L, state_of(L)->loop, slow);
    return 1;
  }
  if (get_loop(L) == NULL)
    return 3;
  state_shared(L, SHARED_LOOP);
  return 1;
}


/* ---- run --------------------------------------------------------------- */

static int call_run_tasks (lua_State *L) {
  state_shared(L, SHARED_RUN);
  return lua_pcall(L, 0, 0, 0);
}

/* start(main, ...): main's task in run's own scope, and that scope. If the
** task cannot be made, the next run uses the scope. */
static int run_start (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  if (loop->root == NULL) {
    loop->root = cancel_scope_open(L, loop, NULL, CANCEL_SCOPE_TASKS,
                                   CLOCK_NEVER);
    lua_pop(L, 1);  /* (being open anchors it) */
  }
  task_new(L, loop, loop->root, 0);
  cancel_scope_push(L, loop->root);
  return 2;
}

/* Replace the table { main=, name=, slow=, on_slow= } at 1 by one for a task.
** Returns the watchdog's bound, and pushes its function or nil. */
static int64_t read_run (lua_State *L) {
  static const char *const names[] = { "main", "name", "slow", "on_slow",
                                       NULL };
  int64_t slow;
  int on_slow = lua_gettop(L) + 1;
  if (!lua_istable(L, 1)) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushnil(L);
    return 0;
  }
  options_open(L, 1, names);
  slow = watchdog_options(L, 1);
  lua_createtable(L, 0, 2);
  for (int i = 0; i < 2; i++) {
    lua_pushstring(L, names[i]);
    lua_pushvalue(L, -1);
    lua_rawget(L, 1);
    lua_rawset(L, -3);
  }
  lua_replace(L, 1);
  task_check(L, 1);
  lua_settop(L, on_slow);
  return slow;
}

/* Pop on_slow, and replace the arguments by main's task and its scope. */
static int run_begin (lua_State *L, struct loop *loop, int64_t slow) {
  int status;
  loop->running = true;  /* guard: a finalizer must not run the loop */
  watchdog_reset(L, loop, slow);
  state_shared(L, SHARED_START);
  lua_insert(L, 1);
  status = lua_pcall(L, lua_gettop(L) - 1, 2, 0);
  if (status != LUA_OK) loop->running = false;
  return status;
}

int run (lua_State *L) {
  int64_t slow = read_run(L);
  struct loop *loop = get_loop(L);
  int status;
  bool failed, before;      /* a task failed before the deadlock */
  struct task *t;
  if (loop == NULL)  /* (raised, because the results are main's) */
    return luaL_error(L, "%s", lua_tostring(L, -2));
  if ((loop->ring->io.flags & IORING_SETUP_SINGLE_ISSUER)
      && !pthread_equal(loop->ring->owner, pthread_self()))
    return luaL_error(L, "this state's loop belongs to another thread: its "
                      "first uring.run was there");
  if (loop->running)
    return luaL_error(L, "uring.run inside a task: the loop is running "
                      "already; uring.spawn starts another task");
  if (run_begin(L, loop, slow) != LUA_OK)
    return lua_error(L);
  t = lua_touserdata(L, 1);  /* and at 2 is its scope */
  loop->ring->driven = true;
  loop->now = clock_rough();
  loop->deadlocked = false;
  status = call_run_tasks(L);
  before = loop->deadlocked && loop->root->failed;
  if (status != LUA_OK && loop->fork_id == fork_id()) {
    /* an error of the loop, or Ctrl-C: cancel the tasks and let them end; at
       a second error close them */
    lua_pushvalue(L, -1);
    cancel_scope_cancel(L, loop, loop->root);
    if (call_run_tasks(L) != LUA_OK) {
      lua_pop(L, 1);
      abandon_all(L, loop);
    }
  }
  loop->running = loop->ring->driven = false;
  failed = loop->root->failed;
  if (loop->fork_id == fork_id()) {
    cancel_scope_end(L, loop, loop->root);
    loop->root = NULL;
  }
  if (status != LUA_OK && !before)
    return lua_error(L);
  if (failed)
    return scope_rethrow(L, 2);
  status = task_push_outcome(L, 1);
  return t->state == TASK_DONE ? status - 1 : status;
}


/* ---- the class --------------------------------------------------------- */

static int loop_get_ring (lua_State *L) {
  class_check(L, 1, CLASS_LOOP);
  lua_getiuservalue(L, 1, 1);
  return 1;
}

/* loop:stats(): bytes that were written to sockets and streams, but not flushed
** when those were collected */
static int loop_stats (lua_State *L) {
  class_check(L, 1, CLASS_LOOP);
  lua_createtable(L, 0, 1);
  lua_pushinteger(L, (lua_Integer)state_of(L)->unflushed);
  lua_setfield(L, -2, "unflushed");
  return 1;
}

/* The state closes. Rings that close after this find no loop. */
static int run_gc (lua_State *L) {
  struct loop *loop = class_check(L, 1, CLASS_LOOP);
  if (loop->ring == NULL)
    return 0;
  ring_watch_stop_all(loop);
  loop->ring->watch = NULL;
  loop->ring->is_loop_ring = loop->ring->driven = false;
  heap_free(&loop->heap);
  free(loop->scopes);
  loop->scopes = NULL;
  loop->nscopes = loop->capacity = 0;
  if (loop->state->loop == loop) loop->state->loop = NULL;
  loop->ring = NULL;
  return 0;
}

static int run_tostring (lua_State *L) {
  struct loop *loop = class_check(L, 1, CLASS_LOOP);
  lua_pushfstring(L, "uring.Loop (%d tasks)", (int)loop->ntasks);
  return 1;
}


static const luaL_Reg methods[] = {
  {"ring", loop_get_ring},
  {"stats", loop_stats},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", run_gc},
  {"__tostring", run_tostring},
  {NULL, NULL}
};

static int do_nothing (lua_State *L) {
  (void)L;
  return 0;
}

/* Keep the messages that Lua pushes for a coroutine that it cannot resume, or
** whose error handler fails. No protected call is around that push: without
** memory it would jump to no handler. An interned string needs no memory. */
static void share_error_texts (lua_State *L) {
  static const char *const texts[] = { "C stack overflow",
                                      "error in error handling", NULL };
  lua_newtable(L);
  for (int i = 0; texts[i]; i++) {
    lua_pushstring(L, texts[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setiuservalue(L, -2, SHARED_ERROR_TEXTS);
}

static void share_outcome (lua_State *L, int which, const char *message) {
  lua_createtable(L, 3, 0);
  lua_pushstring(L, message);
  lua_rawseti(L, -2, 1);
  lua_pushliteral(L, "?");  /* (its coroutine had where it was spawned) */
  lua_rawseti(L, -2, 3);
  lua_setiuservalue(L, -2, which);
}

void run_open (lua_State *L) {
  struct state *s = lua_touserdata(L, -1);
  s->callbacks = &loop_callbacks;
  class_define(L, CLASS_LOOP, methods, meta, NULL);
  lua_pushcfunction(L, do_nothing);
  lua_setiuservalue(L, -2, SHARED_NOTHING);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, run_start, 1);
  lua_setiuservalue(L, -2, SHARED_START);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, run_tasks, 1);
  lua_setiuservalue(L, -2, SHARED_RUN);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, resume_explain, 1);
  lua_setiuservalue(L, -2, SHARED_EXPLAIN);
  share_outcome(L, SHARED_YIELDED, "a task called coroutine.yield: its waits "
                "are uring's own; to yield values, run a coroutine inside "
                "the task");
  share_outcome(L, SHARED_BROKEN, "a task was ended from outside: its "
                "coroutine was closed");
  share_outcome(L, SHARED_OUT_OF_MEMORY, "not enough memory");
  share_error_texts(L);
}
