/*
** worker_join: see the header. What must not break: an outcome is taken from
** the queue once, and is there to be taken again if that raised.
*/

#include "compat.h"
#include "worker/worker_join.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "task/cancel_scope.h"
#include "task/event.h"
#include "task/task.h"
#include "task/watchdog.h"
#include "worker/decode.h"
#include "worker/worker.h"
#include "worker/worker_thread.h"


/* ---- its outcome ------------------------------------------------------- */

/* How many values its results have. */
static int count_results (lua_State *L, struct worker *w) {
  struct message *m;
  int rc = queue_read(w->t->results, &m), n = 2;
  if (rc == -EBUSY)  /* guard: they are being received, and not lost */
    luaL_error(L, "the results of the worker are asked for by a finalizer "
               "while they are received");
  if (rc == 1) {
    n = m->n;
    queue_unread(w->t->results);
  }
  return n;
}

static bool push_known_outcome (lua_State *L) {
  if (lua_getiuservalue(L, 1, WORKER_OUTCOME) == LUA_TTABLE)
    return true;
  lua_pop(L, 1);
  return false;
}

/* Push the table of its outcome, { kind, values…, n = how many }; it has
** ended, and is at 1. May raise: then it is still there to be taken. (So the
** table has room for all before they are.) */
static void push_outcome (lua_State *L, struct worker *w) {
  struct message *m;
  int table, n;
  if (push_known_outcome(L))
    return;
  n = count_results(L, w);
  lua_createtable(L, n, 1);
  table = lua_gettop(L);
  lua_pushinteger(L, n);
  lua_setfield(L, table, "n");
  if (push_known_outcome(L)) {  /* guard: a finalizer may have asked for it */
    lua_replace(L, table);
    return;
  }
  if (queue_read(w->t->results, &m) == 1) {
    n = decode_message(L, m);
    if (n < 0) {
      queue_unread(w->t->results);
      if (n == DECODE_NO_STACK) luaL_error(L, "stack overflow (results)");
      lua_error(L);
    }
    queue_taken(w->t->results);
    worker_thread_took(w->t);
  }
  else {
    lua_pushinteger(L, OUTCOME_FAILED);
    lua_pushfstring(L, "not enough memory%s",
                    w->t->at_limit ? "" : state_memory_note(L));
  }
  for (int i = n; i > 0; i--) lua_rawseti(L, table, i);
  lua_pushvalue(L, table);
  lua_setiuservalue(L, 1, WORKER_OUTCOME);
}

static enum worker_outcome outcome_kind (lua_State *L, int table) {
  enum worker_outcome kind;
  lua_rawgeti(L, table, 1);
  kind = (enum worker_outcome)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return kind;
}

/* Append to the text on top where the worker at 1 was started. */
static void append_trace (lua_State *L) {
  if (lua_getiuservalue(L, 1, WORKER_TRACE) == LUA_TSTRING) {
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
  else lua_pop(L, 1);
}

static void push_worker_failure (lua_State *L, const struct worker *w,
                                 int table) {
  lua_rawgeti(L, table, 2);
  if (w->t->at_limit && is_no_memory(L)) {
    lua_pushliteral(L, ": the worker's state has reached its limit, the "
                    "option 'memory'");
    lua_concat(L, 2);
  }
  append_trace(L);
}

/* worker_keep(worker): the running task waits with its error until the scope's
** end. A join ends that wait, as a cancel. */
static int worker_keep (lua_State *L) {
  class_check(L, 1, CLASS_WORKER);
  lua_settop(L, 1);
  task_push(L, state_of(L)->loop->current);
  lua_setiuservalue(L, 1, WORKER_KEEPER);
  return 0;
}

/* The worker at 1 was joined. */
static void end_keeper (lua_State *L) {
  if (lua_getiuservalue(L, 1, WORKER_KEEPER) == LUA_TUSERDATA) {
    task_request_cancel(state_of(L)->loop, lua_touserdata(L, -1));
    lua_pushnil(L);
    lua_setiuservalue(L, 1, WORKER_KEEPER);
  }
  lua_pop(L, 1);
}

/* Push what join returns: how many values. */
static int push_worker_joined (lua_State *L, struct worker *w) {
  int table, n;
  push_outcome(L, w);
  table = lua_gettop(L);
  lua_getfield(L, table, "n");
  n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  switch (outcome_kind(L, table)) {
    case OUTCOME_DONE:
      stack_reserve(L, n + 4, "too many results");
      lua_pushboolean(L, 1);
      for (int i = 2; i <= n; i++) lua_rawgeti(L, table, i);
      break;
    case OUTCOME_CANCELLED:
      n = fail_text(L, ECANCELED, "the worker was cancelled");
      break;
    default:
      luaL_pushfail(L);
      push_worker_failure(L, w, table);
      n = 2;
  }
  w->joined = true;
  end_keeper(L);
  return n;
}


/* ---- waiting for its end ----------------------------------------------- */

static int join_worker (lua_State *L, struct task *t, struct wait_node *node) {
  struct worker *w = worker_check(L);
  (void)t; (void)node;
  return worker_reaped(w->t) ? push_worker_joined(L, w) : 0;
}

/* When it is to be reported that it goes on, although it was cancelled. */
static int64_t report_time (const struct loop *loop, const struct worker *w) {
  if (w->cancelled == 0 || w->reported
      || worker_status(w->t) != WORKER_RUNS)  /* guard: it ended in time */
    return CLOCK_NEVER;
  return clock_add(w->cancelled, loop->slow ? loop->slow : PATIENCE);
}

static bool has_news (const struct loop *loop, struct worker *w) {
  return worker_thread_warned(w->t) || loop_time(loop) >= report_time(loop, w);
}

/* Push the message of a failure that was told to none, of the worker at 1,
** which has ended: 1; or 0. */
static int push_untold (lua_State *L, struct worker *w, int table) {
  if (outcome_kind(L, table) != OUTCOME_FAILED || w->joined)
    return 0;
  push_worker_failure(L, w, table);
  return 1;
}

/* "news": worker_tell is to be called; "done", "failed" or "cancelled"; and
** for a failure that was told to none its message. For the worker's own task,
** which tells it to none. */
static int attend_worker (lua_State *L, struct task *t,
                          struct wait_node *node) {
  static const char *const kinds[] = { "done", "failed", "cancelled" };
  struct worker *w = class_check(L, 1, CLASS_WORKER);
  int table;
  (void)t; (void)node;
  if (has_news(state_of(L)->loop, w)) {
    lua_pushliteral(L, "news");
    return 1;
  }
  if (!worker_reaped(w->t))
    return 0;
  push_outcome(L, w);
  table = lua_gettop(L);
  lua_pushstring(L, kinds[outcome_kind(L, table) - OUTCOME_DONE]);
  return 1 + push_untold(L, w, table);
}

static int block_on_worker (lua_State *L, struct task *t,
                            struct blocking *b) {
  struct worker *w = class_raw(L, 1, CLASS_WORKER);
  (void)t;
  wait_join_plain(b, &w->waitq.q.waiting, WAIT_QUEUE, &w->waitq);
  return 0;
}

static int block_to_attend (lua_State *L, struct task *t,
                            struct blocking *b) {
  struct loop *loop = state_of(L)->loop;
  int64_t at = report_time(loop, class_raw(L, 1, CLASS_WORKER));
  if (at < b->deadline && heap_reserve(&loop->heap, 1)) b->deadline = at;
  return block_on_worker(L, t, b);
}

static void leave_worker (lua_State *L, struct task *t,
                          struct wait_node *node) {
  (void)L; (void)t; (void)node;  /* all are woken at once */
}

static const struct wait_kind join_kind = {
  "joining", join_worker, block_on_worker, leave_worker, WAITS_OUTSIDE, NULL
};

static const struct wait_kind attend_kind = {
  "attending", attend_worker, block_to_attend, leave_worker,
  WAITS_OUTSIDE, NULL
};

static int join_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &join_kind, (int64_t)ctx, join_again);
}

static int attend_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &attend_kind, (int64_t)ctx, attend_again);
}

/* worker:join([timeout]): true, results… | nil, message | nil, message,
** errno; of one that has ended outside a task, too */
static int worker_join (lua_State *L) {
  struct worker *w = worker_check(L);
  struct loop *loop = state_of(L)->loop;
  int64_t ns = arg_seconds(L, 2);
  struct task *t;
  lua_settop(L, 1);
  if ((loop == NULL || loop->current == NULL) && worker_reaped(w->t))
    return push_worker_joined(L, w);
  t = loop_enter(L, loop, "worker:join");
  return wait_perform(L, t, &join_kind, loop_deadline(loop, ns), join_again);
}

/* worker_attend(worker): wait for its end */
static int worker_attend (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t;
  worker_check(L);
  lua_settop(L, 1);
  t = loop_enter(L, loop, "uring.worker");
  return wait_perform(L, t, &attend_kind, CLOCK_NEVER, attend_again);
}

static int outlasted (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct worker *w = class_raw(L, 1, CLASS_WORKER);
  struct loop *loop = state_of(L)->loop;
  int64_t at;
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, outlasted);
  if (has_news(loop, w)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  if (worker_reaped(w->t))
    return 0;
  at = report_time(loop, w);
  if (!heap_reserve(&loop->heap, 1)) at = CLOCK_NEVER;
  waitq_add(&w->waitq.q.waiting, &t->node);
  return loop_wait(L, t, WAIT_QUEUE, &w->waitq, at, 0, outlasted);
}

/* worker_outlast(worker): wait for its end, in a cancelled task too; or true:
** worker_tell is to be called. Needs no memory, as a shield would. */
static int worker_outlast (lua_State *L) {
  worker_check(L);
  lua_settop(L, 1);
  loop_enter_unchecked(L, state_of(L)->loop, "uring.worker");
  return outlasted(L, LUA_OK, 0);
}

/* worker_failure(worker): of one that has ended, the message of its failure if
** that was told to none */
static int worker_failure (lua_State *L) {
  struct worker *w = worker_check(L);
  lua_settop(L, 1);
  push_outcome(L, w);
  return push_untold(L, w, 2);
}

/* worker_tell(worker): tell what it has warned of, and that it goes on
** although it was cancelled */
static int worker_tell (lua_State *L) {
  struct worker *w = worker_check(L);
  struct loop *loop = state_of(L)->loop;
  lua_Number seconds = (lua_Number)((loop_time(loop) - w->cancelled)
                                    / 1000000) / 1e3;
  worker_tell_warnings(L, w->t);
  if (loop_time(loop) < report_time(loop, w))
    return 0;
  w->reported = true;
  lua_settop(L, 1);
  lua_pushfstring(L, "worker '%s' has gone on for %f s, although it was "
    "cancelled: a cancel acts where it waits, unless uring.cancelled is "
    "caught; cancel = \"hook\" reaches code of Lua that does not wait",
    w->t->name ? w->t->name : "?", seconds);
  append_trace(L);
  watchdog_tell(L, seconds);
  return 0;
}

/* worker:status(): "new", "running", "done", "failed", "cancelled" */
static int worker_status_lua (lua_State *L) {
  static const char *const kinds[] = { "done", "failed", "cancelled" };
  struct worker *w = worker_check(L);
  lua_settop(L, 1);
  if (worker_status(w->t) == WORKER_NEW) lua_pushliteral(L, "new");
  else if (!worker_reaped(w->t)) lua_pushliteral(L, "running");
  else {
    push_outcome(L, w);
    lua_pushstring(L, kinds[outcome_kind(L, 2) - OUTCOME_DONE]);
  }
  return 1;
}

/* worker:joining(): worker:join as an event */
static int worker_joining (lua_State *L) {
  worker_check(L);
  lua_settop(L, 1);
  return event_push(L, &join_kind);
}


static const luaL_Reg methods[] = {
  {"join", worker_join},
  {"joining", worker_joining},
  {"status", worker_status_lua},
  {NULL, NULL}
};

static const luaL_Reg functions[] = {
  {"worker_attend", worker_attend},
  {"worker_failure", worker_failure},
  {"worker_keep", worker_keep},
  {"worker_outlast", worker_outlast},
  {"worker_tell", worker_tell},
  {NULL, NULL}
};

void worker_join_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}

void worker_join_open (lua_State *L) {
  class_extend(L, CLASS_WORKER, methods);
}
