/*
** worker: see the header. What must not break: the record's `owner` is cleared
** before its object goes.
*/

#include "compat.h"
#include "worker/worker.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "ring/ring_submit.h"
#include "task/event.h"
#include "task/ring_watch.h"
#include "task/watchdog.h"
#include "worker/decode.h"
#include "worker/encode.h"
#include "worker/mail_address.h"
#include "worker/mail_call.h"
#include "worker/mail_send.h"
#include "worker/mailbox.h"
#include "worker/monitor.h"
#include "worker/send_wait.h"
#include "worker/worker_state.h"
#include "worker/worker_thread.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY   (256 << 10)     /* what one is told to the collector as */
#define CLOSE_NS 1000000000      /* how long a state that closes waits for all
                                    its workers */

struct worker {
  struct mail_address address;   /* first */
  struct socket_waitq waitq;     /* tasks that wait for its end */
  struct worker_thread *t;       /* counted; NULL: never made */
  int64_t cancelled;             /* when, on the loop's time; or 0 */
  bool joined;                   /* its outcome was told */
  bool reported;                 /* ... that it ignores its cancel */
};

#define WORKER_OUTCOME 1     /* user value: a table, once it was taken */
#define WORKER_TRACE   2     /* where it was started */
#define WORKER_VALUES  2


/* ---- its thread's end -------------------------------------------------- */

static void list_add (struct state *s, struct worker_thread *t) {
  refblock_retain(&t->block);
  t->next = s->workers;
  t->back = &s->workers;
  if (t->next) t->next->back = &t->next;
  s->workers = t;
}

static void list_remove (struct worker_thread *t) {
  if (t->back == NULL)
    return;
  *t->back = t->next;
  if (t->next) t->next->back = t->back;
  t->back = NULL;
  refblock_release(&t->block);
}

/* Join it, if it has ended: true. */
static bool worker_reaped (struct worker_thread *t) {
  if (worker_status(t) != WORKER_ENDED)
    return false;
  worker_thread_join(t, 0);
  list_remove(t);
  return true;
}

static void worker_woken (void *owner, struct loop *loop) {
  struct worker *w = owner;
  worker_reaped(w->t);
  waitq_wake_all(loop, &w->waitq.q.waiting);
}

/* Tell what it has warned of, as this state's warnings. */
static void tell_warnings (lua_State *L, struct worker_thread *t) {
  struct worker_warnings w = worker_thread_warnings(t);
  const char *text = w.texts, *name = t->name ? t->name : "?";
  char lost[40];
  for (; w.size > 0; text += strlen(text) + 1) {
    lua_warning(L, "worker '", 1);
    lua_warning(L, name, 1);
    lua_warning(L, "': ", 1);
    lua_warning(L, text, 0);
    w.size -= strlen(text) + 1;
  }
  if (w.lost > 0) {
    snprintf(lost, sizeof(lost), "': %u warnings were lost", w.lost);
    lua_warning(L, "worker '", 1);
    lua_warning(L, name, 1);
    lua_warning(L, lost, 0);
  }
  free(w.texts);
}

/* The state closes, and has cancelled all whose objects were collected. */
static void end_workers (lua_State *L, struct state *s) {
  struct worker_thread *t = s->workers, *next;
  int64_t deadline = clock_after(CLOSE_NS > s->close_bound ? CLOSE_NS
                                                           : s->close_bound);
  for (; t; t = t->next) worker_thread_cancel(t, "the state that started it "
                                              "closes");
  for (t = s->workers; t; t = next) {
    next = t->next;
    if (!worker_thread_join(t, deadline)) {
      lua_warning(L, "uring: worker '", 1);
      lua_warning(L, t->name ? t->name : "?", 1);
      lua_warning(L, "' did not end in time when the state that had started "
                  "it was closed: its thread is left to itself", 0);
      worker_thread_leave(t);
    }
    tell_warnings(L, t);
    list_remove(t);
  }
}


/* ---- the object -------------------------------------------------------- */

static struct worker *check_worker (lua_State *L) {
  struct worker *w = class_check(L, 1, CLASS_WORKER);
  if (w->t == NULL)
    luaL_argerror(L, 1, "this worker was not started");
  if (w->t->fork_id != fork_id())
    luaL_argerror(L, 1, "this worker belongs to another process: a forked "
                  "child has none of its threads");
  return w;
}

static int worker_gc (lua_State *L) {
  struct worker *w = class_check(L, 1, CLASS_WORKER);
  struct worker_thread *t = w->t;
  mail_address_drop(&w->address);
  if (t == NULL)
    return 0;
  pressure_collected(&state_of(L)->pressure, MEMORY, 1);
  pressure_drop(&state_of(L)->pressure, MEMORY, 1);
  t->owner = NULL;  /* guard: its end may still be told */
  worker_thread_cancel(t, "it was collected");
  w->t = NULL;
  refblock_release(&t->block);
  return 0;
}

static void describe_end (lua_State *L, const struct socket_waitq *waitq,
                          lua_State *co) {
  const struct worker *w = (const struct worker *)
    ((const char *)waitq - offsetof(struct worker, waitq));
  const char *name = w->t ? w->t->name : NULL;
  (void)co;
  if (name) lua_pushfstring(L, "for the end of worker '%s'", name);
  else lua_pushliteral(L, "for the end of a worker");
}

/* worker_new(name, capacity, bytes, fds, memory, hook, trace): an object,
** whose thread is started by worker_start; or nil, message, errno. 0 bytes are
** as many as a mailbox has. */
static int worker_new (lua_State *L) {
  struct account *a = account_of_workers(state_of(L)->account);
  struct queue_limits limits = { (uint64_t)lua_tointeger(L, 2),
                                 (uint64_t)lua_tointeger(L, 3),
                                 (uint64_t)lua_tointeger(L, 4) };
  const char *name = lua_tostring(L, 1);
  struct worker *w;
  if (limits.bytes == 0) limits.bytes = mailbox_usual_bytes(a);
  pressure_tell(L, MEMORY, 1);
  pressure_make_room(L, limits.bytes);
  lua_settop(L, 7);
  w = class_new(L, CLASS_WORKER, sizeof(*w), WORKER_VALUES);
  lua_pushvalue(L, 7);
  lua_setiuservalue(L, -2, WORKER_TRACE);
  if ((w->t = worker_thread_new(&limits, a)) == NULL)
    return fail(L, ENOMEM, "worker: an inbox of %llu bytes%s",
                (unsigned long long)limits.bytes, state_memory_note(L));
  pressure_hold(&state_of(L)->pressure, MEMORY, 1);
  w->t->memory = (size_t)lua_tointeger(L, 5);
  w->t->hook = lua_toboolean(L, 6);
  w->waitq.what = "for the end of a worker";
  w->waitq.describe = describe_end;
  w->waitq.fd = -1;
  if (name && (w->t->name = strdup(name)) == NULL)
    return luaL_error(L, "not enough memory for a worker");
  return 1;
}

/* What was encoded is what it is called with: 0 or -ENOMEM. */
static int keep_arguments (lua_State *L, struct worker_thread *t,
                           struct encoded *e) {
  size_t size = e->message->size;
  if (account_charge(t->account, size)) {
    if ((t->start = encode_keep(e)) != NULL)
      return 0;
    account_refund(t->account, size);
  }
  encode_withdraw(L, e);
  return -ENOMEM;
}

/* worker_start(worker, ...): start its thread, which is called with the other
** values: true; or nil, message, errno. Raises for what cannot travel. */
static int worker_start (lua_State *L) {
  struct worker *w = check_worker(L);
  struct worker_thread *t = w->t;
  struct state *s = state_of(L);
  struct doorbell *doorbell = loop_doorbell(s->loop);
  struct encoded e;
  int rc;
  if (doorbell == NULL)
    return fail(L, errno, "worker: no doorbell for the loop");
  if (worker_state_lacks())
    return fail(L, ENOSYS, "worker: this program was linked without the "
                "standard libraries that a new state needs: link it with "
                "-Wl,-u,%s", worker_state_lacks());
  rc = encode_values(L, 2, lua_gettop(L), t->results, &e);
  if (rc == 0) rc = keep_arguments(L, t, &e);
  if (rc < 0)
    return fail(L, -rc, "worker: its arguments%s",
                rc == -ENOMEM ? state_memory_note(L) : "");
  t->open = s->open;
  t->body = worker_state_run;
  t->cancel = worker_state_cancel;
  t->owner = w;
  t->woken = worker_woken;
  refblock_retain(&t->inbox->block);
  mail_address_set(&w->address, t->inbox);  /* guard: first; or the inbox is
                                               one without a sender */
  list_add(s, t);
  if (e.moved.nfds > 0) ring_submit_all(s->rings);
  rc = worker_thread_start(t, doorbell);
  if (rc < 0) {
    size_t size = t->start->size;
    owned_withdraw(L, &e.moved, t->start);  /* (it is still the caller's) */
    free(t->start);
    worker_thread_began(t, size);
    list_remove(t);
    mail_address_drop(&w->address);
    return fail(L, -rc, "worker: no thread can be had");
  }
  owned_sent(L, &e.moved);
  lua_pushboolean(L, 1);
  return 1;
}


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
    lua_pushfstring(L, "not enough memory%s", state_memory_note(L));
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

static void push_worker_failure (lua_State *L, int table) {
  lua_rawgeti(L, table, 2);
  append_trace(L);
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
      stack_reserve(L, n + 2, "too many results");
      lua_pushboolean(L, 1);
      for (int i = 2; i <= n; i++) lua_rawgeti(L, table, i);
      break;
    case OUTCOME_CANCELLED:
      n = fail_text(L, ECANCELED, "the worker was cancelled");
      break;
    default:
      luaL_pushfail(L);
      push_worker_failure(L, table);
      n = 2;
  }
  w->joined = true;
  return n;
}


/* ---- waiting for its end ----------------------------------------------- */

static int join_worker (lua_State *L, struct task *t, struct wait_node *node) {
  struct worker *w = check_worker(L);
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

/* "news": worker_tell is to be called; "done", "failed" or "cancelled"; and
** for a failure that was told to none its message. For the worker's own task,
** which tells it to none. */
static int attend_worker (lua_State *L, struct task *t,
                          struct wait_node *node) {
  static const char *const kinds[] = { "done", "failed", "cancelled" };
  struct worker *w = class_check(L, 1, CLASS_WORKER);
  enum worker_outcome kind;
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
  kind = outcome_kind(L, table);
  lua_pushstring(L, kinds[kind - OUTCOME_DONE]);
  if (kind != OUTCOME_FAILED || w->joined)
    return 1;
  push_worker_failure(L, table);
  return 2;
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
  "joining", join_worker, block_on_worker, leave_worker, false, NULL
};

static const struct wait_kind attend_kind = {
  "attending", attend_worker, block_to_attend, leave_worker, false, NULL
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
  struct worker *w = check_worker(L);
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
  check_worker(L);
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
  if (t == NULL) return lua_yieldk(L, 0, ctx, outlasted);
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
  check_worker(L);
  lua_settop(L, 1);
  loop_enter_unchecked(L, state_of(L)->loop, "uring.worker");
  return outlasted(L, LUA_OK, 0);
}

/* worker_tell(worker): tell what it has warned of, and that it goes on
** although it was cancelled */
static int worker_tell (lua_State *L) {
  struct worker *w = check_worker(L);
  struct loop *loop = state_of(L)->loop;
  lua_Number seconds = (lua_Number)((loop_time(loop) - w->cancelled)
                                    / 1000000) / 1e3;
  tell_warnings(L, w->t);
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

/* worker_phase(worker): enum worker_status; without memory */
static int worker_phase (lua_State *L) {
  const struct worker *w = class_check(L, 1, CLASS_WORKER);
  enum worker_status s = w->t ? worker_status(w->t) : WORKER_NEW;
  if (w->t && w->t->fork_id != fork_id()) s = WORKER_ENDED;
  lua_pushinteger(L, s);
  return 1;
}

/* worker:joining(): worker:join as an event */
static int worker_joining (lua_State *L) {
  check_worker(L);
  lua_settop(L, 1);
  return event_push(L, &join_kind);
}


/* ---- the rest ---------------------------------------------------------- */

/* worker:send(...) and so on: the address's, of a worker alone */
static int worker_send (lua_State *L) {
  check_worker(L);
  return send_wait_send(L);
}

static int worker_try_send (lua_State *L) {
  check_worker(L);
  return mail_send_try_send(L);
}

static int worker_sending (lua_State *L) {
  check_worker(L);
  return send_wait_sending(L);
}

static int worker_call (lua_State *L) {
  check_worker(L);
  return mail_call(L);
}

static int worker_monitor (lua_State *L) {
  check_worker(L);
  return monitor_push(L);
}

static int worker_close (lua_State *L) {
  class_check(L, 1, CLASS_WORKER);
  return mail_address_close(L);
}

/* worker:cancel([reason]): true unless it has ended or was cancelled before */
static int worker_cancel (lua_State *L) {
  struct worker *w = check_worker(L);
  const char *reason = NULL;
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TSTRING);
    reason = lua_tostring(L, 2);
  }
  if (worker_thread_cancel(w->t, reason)) {
    struct loop *loop = state_of(L)->loop;
    w->cancelled = loop_time(loop);
    waitq_wake_all(loop, &w->waitq.q.waiting);  /* its attendant: to report */
    lua_pushboolean(L, 1);
  }
  else lua_pushboolean(L, 0);
  return 1;
}

/* worker:address(): a new address of its inbox */
static int worker_address (lua_State *L) {
  struct worker *w = check_worker(L);
  struct mail_address *a = mail_address_new(L);
  refblock_retain(&w->t->inbox->block);
  mail_address_set(a, w->t->inbox);
  return 1;
}

/* worker:stats(): of its inbox */
static int worker_stats (lua_State *L) {
  return mailbox_push_stats(L, check_worker(L)->t->inbox);
}

/* worker:status(): "new", "running", "done", "failed", "cancelled" */
static int worker_status_lua (lua_State *L) {
  static const char *const kinds[] = { "done", "failed", "cancelled" };
  struct worker *w = check_worker(L);
  lua_settop(L, 1);
  if (worker_status(w->t) == WORKER_NEW) lua_pushliteral(L, "new");
  else if (!worker_reaped(w->t)) lua_pushliteral(L, "running");
  else {
    push_outcome(L, w);
    lua_pushstring(L, kinds[outcome_kind(L, 2) - OUTCOME_DONE]);
  }
  return 1;
}

/* worker.name, and the methods */
static int worker_index (lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL
      && lua_type(L, 2) == LUA_TSTRING
      && strcmp(lua_tostring(L, 2), "name") == 0) {
    const struct worker *w = class_check(L, 1, CLASS_WORKER);
    lua_pushstring(L, w->t ? w->t->name : NULL);
  }
  return 1;
}

static int worker_tostring (lua_State *L) {
  static const char *const names[] = { "new", "running", "ended" };
  const struct worker *w = class_check(L, 1, CLASS_WORKER);
  enum worker_status status = w->t ? worker_status(w->t) : WORKER_NEW;
  if (w->t && w->t->name)
    lua_pushfstring(L, "uring.Worker ('%s', %s)", w->t->name, names[status]);
  else lua_pushfstring(L, "uring.Worker (%s)", names[status]);
  return 1;
}

/* workers_left(): threads of this process that outlived their states */
static int worker_left (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)worker_threads_left());
  return 1;
}


static const luaL_Reg methods[] = {
  {"send", worker_send},
  {"try_send", worker_try_send},
  {"sending", worker_sending},
  {"call", worker_call},
  {"monitor", worker_monitor},
  {"close", worker_close},
  {"join", worker_join},
  {"joining", worker_joining},
  {"cancel", worker_cancel},
  {"address", worker_address},
  {"stats", worker_stats},
  {"status", worker_status_lua},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", worker_gc},
  {"__close", worker_close},
  {"__tostring", worker_tostring},
  {NULL, NULL}
};

static const luaL_Reg functions[] = {
  {"worker_new", worker_new},
  {"worker_start", worker_start},
  {"worker_attend", worker_attend},
  {"worker_outlast", worker_outlast},
  {"worker_tell", worker_tell},
  {"worker_phase", worker_phase},
  {"workers_left", worker_left},
  {NULL, NULL}
};

void worker_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}

void worker_open (lua_State *L) {
  ((struct state *)lua_touserdata(L, -1))->end_workers = end_workers;
  class_define(L, CLASS_WORKER, methods, meta, worker_index);
}
