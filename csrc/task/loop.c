/*
** loop: how a wait begins and its task is suspended, and what is checked
** before that. (The turns of the loop, and where it sleeps, are in turn.)
**
** Only the coroutine `loop->co` may be suspended: every wait passes the checks
** of enter_wait first.
*/

#include "compat.h"
#include "task/loop.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "lua/embedded.h"
#include "lua/errors.h"
#include "task/wait.h"

#include <string.h>


struct loop *loop_here (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  return loop && loop->fork_id == fork_id() ? loop : NULL;
}


/* ---- tasks that ignore their cancellation ------------------------------ */

/* A cancelled task is refused a wait. Has it gone on for so long that it must
** be reported? It may do so without any wait, or with waits in a shield in
** between. Of tasks that do the latter one at a time is followed; with a
** watchdog, watchdog.c follows it. */
static bool ignores_cancel (struct loop *loop, struct task *t) {
  struct watched *w = &loop->watched;
  int64_t since = 0;
  w->refused++;
  if (t->task_flags & TASKF_REPORTED)
    return false;
  if (w->refused == 2)
    w->refused_since = clock_now();
  if (w->suspect == NULL) {
    w->suspect = t;
    w->since = clock_now();
    w->refusals = 0;
  }
  else if (w->suspect == t && w->refused == 1 && loop->slow == 0
           && ++w->refusals >= REFUSALS)
    since = w->since;
  if (w->refused >= REFUSALS && !(loop->slow && w->reported))
    since = w->refused_since;
  if (since == 0
      || clock_now() - since <= (loop->slow ? loop->slow : PATIENCE))
    return false;
  t->task_flags |= TASKF_REPORTED;
  if (w->suspect == t) w->suspect = NULL;
  w->since = since;
  w->swallows = loop->slow == 0;
  return true;
}

void loop_clear_refusals (struct loop *loop, struct task *t) {
  if (loop->watched.suspect == t) loop->watched.suspect = NULL;
  if (loop->current == t) loop->watched.refused = 0;
}

static int raise_cancelled (lua_State *L, struct task *t) {
  struct loop *loop = state_of(L)->loop;
  if (ignores_cancel(loop, t) && lua_checkstack(L, 4)) {
    state_shared(L, SHARED_REPORT);
    lua_call(L, 0, 0);
  }
  if (t->asked) t->told = true;
  state_shared(L, SHARED_CANCELLED);
  return lua_error(L);
}


/* ---- waits ------------------------------------------------------------- */

void loop_check (lua_State *L, struct task *t) {
  if (t->task_flags & TASKF_CANCELLED)
    raise_cancelled(L, t);
}

bool loop_in_library (lua_State *L, const lua_Debug *ar) {
  size_t n;
  const char *dir;
  bool ours = false;
  if (strncmp(ar->source, EMBEDDED, sizeof(EMBEDDED) - 1) == 0)
    return true;
  state_shared(L, SHARED_LUA_DIR);
  dir = lua_tolstring(L, -1, &n);
  if (dir && strncmp(ar->source, dir, n) == 0)
    ours = ar->source[n] == '/' || strcmp(ar->source + n, ".lua") == 0;
  lua_pop(L, 1);
  return ours;
}

int loop_raise_at_caller (lua_State *L, const char *format, const char *what) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline > 0 && !loop_in_library(L, &ar)) {
      lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
      lua_pushfstring(L, format, what);
      lua_concat(L, 2);
      return lua_error(L);
    }
  }
  lua_pushfstring(L, format, what);
  return lua_error(L);
}

/* Raise why this call cannot wait: an error of the calling program. */
static void raise_cannot_wait (lua_State *L, struct loop *loop, struct task *t,
                         const char *what) {
  if (t == NULL)
    loop_raise_at_caller(L, "%s waits, and only a task can wait: call it in a "
                         "function that runs under uring.run", what);
  if (loop->fork_id != fork_id())
    loop_raise_at_caller(L, "%s: this task belongs to another process: a "
                         "forked child starts afresh with a uring.run of its "
                         "own", what);
  if (loop->co != L)  /* guard: the wrong coroutine is never suspended */
    loop_raise_at_caller(L, "%s waits in a coroutine that is not the task's "
                         "own: make that one by uring.wrap, or a task by "
                         "uring.spawn (and in a coroutine that is being "
                         "closed nothing can wait)", what);
  if (!lua_isyieldable(L))
    loop_raise_at_caller(L, "%s cannot wait here: between the task and this "
                         "call there is a C function that cannot be suspended "
                         "(such as table.sort, string.gsub, require, a "
                         "finalizer)", what);
}

static inline bool may_wait (lua_State *L, const struct loop *loop) {
  return loop && loop->current && loop->co == L && loop->fork_id == fork_id()
         && lua_isyieldable(L);
}

bool loop_may_wait (lua_State *L, const struct loop *loop) {
  return may_wait(L, loop);
}

static inline struct task *enter_wait (lua_State *L, struct loop *loop,
                                   const char *what) {
  if (!may_wait(L, loop))
    raise_cannot_wait(L, loop, loop ? loop->current : NULL, what);
  return loop->current;
}

struct task *loop_enter_unchecked (lua_State *L, struct loop *loop,
                                   const char *what) {
  return enter_wait(L, loop, what);
}

struct task *loop_enter (lua_State *L, struct loop *loop, const char *what) {
  struct task *t = enter_wait(L, loop, what);
  loop_check(L, t);
  return t;
}

void loop_reserve (lua_State *L) {
  if (!heap_reserve(&state_of(L)->loop->heap, 1))
    luaL_error(L, "not enough memory for a deadline");
}

void loop_begin (lua_State *L, struct task *t, enum task_wait wait, void *on,
                 int64_t deadline) {
  /* guard: or no waiter would be woken for the next item */
  if (t->has_turn) loop_end_turns(state_of(L)->loop, t);
  t->wait = (unsigned)wait & 15u;
  t->on = on;
  t->task_flags &= (uint8_t)~(TASKF_TIMED_OUT | TASKF_CHOSEN);
  if (wait == WAIT_YIELD)
    loop_push_ready(state_of(L)->loop, t);
  else {
    t->state = TASK_WAITING;
    if (loop_waits_locally(t)) state_of(L)->loop->nlocal++;
    if (deadline != CLOCK_NEVER) {
      struct loop *loop = state_of(L)->loop;
      heap_add(&loop->heap, &t->timer, deadline);
      /* (its deadline was computed just now) */
      loop->now = loop_rough_time(loop);
    }
  }
}

int loop_wait (lua_State *L, struct task *t, enum task_wait wait, void *on,
               int64_t deadline, lua_KContext ctx, lua_KFunction k) {
  loop_begin(L, t, wait, on, deadline);
  return lua_yieldk(L, 0, ctx, k);
}

struct task *loop_resumed (lua_State *L) {
  const struct loop *loop = state_of(L)->loop;
  return loop ? loop_resumed_in(loop, L) : NULL;
}

int loop_yield_again (lua_State *L, lua_KContext ctx, lua_KFunction k) {
  stack_reserve(L, LUA_MINSTACK, NULL);  /* (make apicheck would tell) */
  return lua_yieldk(L, 0, ctx, k);
}

bool loop_unfair (struct task *t) {
  return ++t->immediate >= FAIR_WAITS;
}
