/*
** resume: resumes tasks, and ends them.
**
** Whatever a script has done to a task's coroutine must harm only that task:
** the loop goes on with the others.
*/

#include "compat.h"
#include "task/resume.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_submit.h"
#include "api/ring_check.h"
#include "task/inspect.h"
#include "task/task.h"
#include "task/wait_cancel.h"
#include "task/wait.h"
#include "task/watchdog.h"

#include "compat.h"  /* again: now with Lua's headers before it */

#define TIMED_WAITS 8
#define TIMED_SQES  64       /* requests that are queued in a step */


void task_finish (lua_State *L, struct loop *loop, struct task *t,
                  int results) {
  int task = lua_gettop(L), outcome = task - 1, error = 0;
  struct cancel_scope *scope;
  /* guard: its coroutine may have been closed or broken */
  cancel_scope_close_all(L, loop, t);
  scope = cancel_scope_of_task(loop, t);
  t->state = TASK_DONE;
  if (results < 0) {
    state_shared(L, SHARED_CANCELLED);
    t->state = lua_rawequal(L, outcome, -1) ? TASK_CANCELLED : TASK_FAILED;
  }
  t->nresults = results;
  t->node.co = NULL;
  if (loop->watched.suspect == t) loop->watched.suspect = NULL;
  waitq_wake_all(loop, &t->joiners);
  if (t->state == TASK_CANCELLED) {
    cancel_scope_push(L, scope);
    lua_replace(L, outcome);
  }
  lua_pushvalue(L, outcome);
  lua_setiuservalue(L, task, TASK_OUTCOME);
  if (t->state == TASK_FAILED) {
    lua_rawgeti(L, outcome, 1);
    error = lua_gettop(L);
  }
  loop->ntasks--;
  cancel_scope_remove_task(L, loop, scope, t, error);
  t->timer.owner_id = 0;
  lua_settop(L, outcome - 1);
}

/* explain(error, task's address): the outcome of a task whose coroutine was
** broken, like that of any task that failed. */
int resume_explain (lua_State *L) {
  lua_State *co = ((const struct task *)lua_touserdata(L, 2))->node.co;
  lua_createtable(L, 3, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  luaL_traceback(L, co, NULL, 0);
  lua_rawseti(L, -2, 2);
  task_push_spawned(L, co);
  lua_rawseti(L, -2, 3);
  return 1;
}

/* Push the outcome of a task whose coroutine did not return one. */
static void push_broken (lua_State *L, const struct task *t, int status) {
  lua_State *co = t->node.co;
  bool yielded = status == LUA_YIELD;
  /* guard: made beforehand, for there may be no memory */
  state_shared(L, yielded ? SHARED_YIELDED
                  : status == LUA_ERRMEM ? SHARED_OUT_OF_MEMORY
                      : SHARED_BROKEN);
  if (lua_status(co) == LUA_OK && lua_gettop(co) <= 1)
    return;  /* it was closed: no error is there to explain */
  state_shared(L, SHARED_EXPLAIN);
  if (yielded) lua_rawgeti(L, -2, 1);
  else lua_xmove(co, L, 1);  /* its error */
  lua_pushlightuserdata(L, (void *)(uintptr_t)t);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK) lua_replace(L, -2);
  else lua_pop(L, 1);
}

/* The coroutine called coroutine.yield, was closed by a script, or had no
** memory even to return its error: the task fails. */
static void finish_broken (lua_State *L, struct loop *loop, struct task *t,
                    int status) {
  loop_abandon_wait(loop, t);
  state_shared(L, SHARED_CHAINS);
  lua_pushnil(L);
  lua_rawsetp(L, -2, t);
  lua_pop(L, 1);
  push_broken(L, t, status);
  lua_closethread(t->node.co, L);
  task_push(L, t);
  task_finish(L, loop, t, -1);
}

/* A step has resumed the task, which has not been ended yet. */
static void measure (lua_State *L, struct loop *loop, const struct task *t) {
  int64_t now = clock_now(), took = now - loop->measured;
  loop->measured = now;
  if (took > loop->worst.ns) inspect_worst(L, loop, t, took);
}

/* (Inline: each return after a coroutine switch is mispredicted.) */
static inline __attribute__((always_inline))
void resume_one (lua_State *L, struct loop *loop, struct task *t) {
  lua_State *co = t->node.co;
  int args = t->state == TASK_NEW ? t->nargs : 0;
  int n = 0, status = LUA_ERRRUN;
  if (t->state == TASK_NEW && (t->task_flags & TASKF_CANCELLED)) {
    state_shared(L, SHARED_CANCELLED);
    task_push(L, t);
    task_finish(L, loop, t, -1);
    return;
  }
  t->state = TASK_RUNNING;
  loop->current = t;
  loop->co = co;
  loop->watched.refused = 0;
  t->immediate = loop->head_start;
  if (loop->slow) watchdog_begin(L, loop, t);
  /* guard: nested in another task's call, it has Lua's whole call depth all
     the same (from NULL), because it may continue outside that call */
  if (loop_resumable(co))
    status = lua_resume(co, loop->nested ? NULL : L, args, &n);
  loop->current = NULL;
  loop->co = NULL;
  loop->waits = t->immediate;
  if (loop->fork_id != fork_id())  /* guard: fork */
    luaL_error(L, "a forked child came back into its parent's uring.run: end "
               "it with os.exit, or by exec");
  if (loop->stepping) measure(L, loop, t);
  if (t->has_turn) loop_end_turns(loop, t);  /* guard: no wakeup is lost */
  if (status == LUA_OK && n == TASK_RETURNS) {
    lua_xmove(co, L, n);
    task_finish(L, loop, t, t->nresults);
  }
  else if (status != LUA_YIELD || t->state == TASK_RUNNING)
    finish_broken(L, loop, t, status);
  else if (t->state == TASK_WAITING)
    t->wait_began = loop->now;
  if (loop->slow) watchdog_end(L, loop);
}

void task_resume (lua_State *L, struct loop *loop, struct task *t) {
  resume_one(L, loop, t);
}

void task_resume_all (lua_State *L, struct loop *loop) {
  struct task *t;
  loop->turn = loop->last;  /* a task that becomes ready now runs next time */
  while ((t = loop_pop_ready(loop)) != NULL) {
    resume_one(L, loop, t);
    if (&t->node == loop->turn) break;
    /* (the hook of a signal that arrived during this task: it is set in L, not
       in the task's coroutine, and the next task may run as long) */
    if (lua_gethookmask(L)) ring_interrupted(L);
  }
}

/* A resume may take so many waits that need not wait. Each counts as a resume,
** so there are no more than are left. Where time is short too, it is looked at
** after a few. */
static unsigned waits_allowed (unsigned left, int64_t until) {
  unsigned n = until == CLOCK_NEVER ? FAIR_WAITS : TIMED_WAITS;
  return left < n ? left : n;
}

unsigned task_resume_some (lua_State *L, struct loop *loop, unsigned most,
                           int64_t until) {
  unsigned used = 0;
  struct task *t;
  loop->turn = loop->last;
  loop->measured = clock_now();
  while (used < most && loop->measured < until
         && (t = loop_pop_ready(loop)) != NULL) {
    unsigned start = FAIR_WAITS - waits_allowed(most - used, until);
    loop->head_start = loop->waits = (uint8_t)start;
    loop->watched.line = 0;
    resume_one(L, loop, t);
    loop->resumed++;
    used += loop->waits > start ? loop->waits - start : 1u;
    /* (what the kernel does at once counts, too) */
    if (until != CLOCK_NEVER && sys_sq_ready(&loop->ring->io) >= TIMED_SQES) {
      ring_enter(loop->ring, 0, SYS_FOREVER);
      loop->measured = clock_now();
    }
    if (&t->node == loop->turn) break;
    if (lua_gethookmask(L)) ring_interrupted(L);
  }
  loop->head_start = 0;
  return used;
}
