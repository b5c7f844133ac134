/*
** run: turns the loop until main and its tasks have ended.
**
** What must not break: it returns, or raises, only after they have ended.
*/

#include "compat.h"
#include "task/run.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/ring_check.h"
#include "task/completion.h"
#include "task/detached.h"
#include "task/loop_object.h"
#include "task/resume.h"
#include "task/ring_watch.h"
#include "task/scope.h"
#include "task/task.h"
#include "task/turn.h"
#include "task/wait_cancel.h"
#include "task/wait.h"
#include "task/watchdog.h"

#include "compat.h"  /* again: now with Lua's headers before it */

#define RETRY_NS 1000000
#define LAST_TURNS 8         /* at the end, for unattended requests to end */
#define ABANDONS 8           /* two are enough unless finalizers spawn */
#define CLOCK_TURNS 16       /* turns after which the time is read anew */


/* ---- turns ------------------------------------------------------------- */

/* Have main and all tasks of its scope ended? (Others go on with the next run
** or step.) */
static bool has_ended (const struct loop *loop) {
  return loop->root->ntasks + loop->root->ndaemons == 0;
}

static void call_interrupt (lua_State *L, struct loop *loop) {
  void (*f) (lua_State *L, struct loop *loop) = loop->interrupt;
  loop->interrupt = NULL;
  f(L, loop);
}

/* The loop under uring.run, called protected. */
static int run_tasks (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  for (unsigned turn = 1; !has_ended(loop); turn++) {
    task_resume_all(L, loop);
    if (loop->failed) detached_report(L, loop);
    if (turn % CLOCK_TURNS == 0) loop->now = clock_rough();
    if (lua_gethookmask(L)) ring_interrupted(L);
    if (has_ended(loop)) break;
    turn_wait(L, loop, SYS_FOREVER);
    if (loop->interrupt) call_interrupt(L, loop);
  }
  if (loop->fds.epoll >= 0) ring_watch_own_stop(loop);
  if (loop->ntasks > 0) {
    turn_submit(loop);
    if (loop->outputs) loop->after_run(loop);
    return 0;
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
void run_abandon_all (lua_State *L, struct loop *loop) {
  /* (more than once: a __close may have spawned into a scope passed before) */
  for (int i = 0; i < ABANDONS && loop->ntasks > 0; i++)
    cancel_scope_each_task(L, loop, abandon_task);
  loop->first = loop->last = NULL;
  loop->ntasks = loop->nlocal = 0;
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
  if (loop->state->set_handlers) loop->state->set_handlers(loop->state);
  watchdog_reset(L, loop, slow);
  state_shared(L, SHARED_START);
  lua_insert(L, 1);
  status = lua_pcall(L, lua_gettop(L) - 1, 2, 0);
  if (status != LUA_OK) loop->running = false;
  return status;
}

int run (lua_State *L) {
  int64_t slow = read_run(L);
  struct loop *loop = loop_get(L, LOOP_ENTRIES_RUN);
  int status;
  bool failed, before;      /* a task failed before the deadlock */
  struct task *t;
  if (loop == NULL)  /* (raised, because the results are main's) */
    return luaL_error(L, "%s", lua_tostring(L, -2));
  if (loop->running)
    return luaL_error(L, "uring.run inside a %s: the loop is running already; "
                      "uring.spawn starts another task",
                      loop->stepping ? "step" : "task");
  if (loop->host_time)
    return luaL_error(L, "uring.run cannot wait: this loop's time is its "
                      "host's, which steps it with a 'now'");
  loop_bind(L, loop);
  loop->quiet = false;
  if (run_begin(L, loop, slow) != LUA_OK)
    return raise_again(L);
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
      run_abandon_all(L, loop);
    }
  }
  loop->running = loop->ring->driven = false;
  if (loop->fds.epoll >= 0) loop_notify_host(loop);  /* (for what is left) */
  failed = loop->root->failed;
  if (loop->fork_id == fork_id()) {
    cancel_scope_end(L, loop, loop->root);
    loop->root = NULL;
  }
  if (status != LUA_OK && !before)
    return raise_again(L);
  if (failed)
    return scope_rethrow(L, 2);
  if (loop->failed) detached_raise(L, loop);
  status = task_push_outcome(L, 1);
  return t->state == TASK_DONE ? status - 1 : status;
}


/* ---- what is shared ---------------------------------------------------- */

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
