/*
** worker: see the header. What must not break: the record's `owner` is cleared
** before its object goes.
*/

#include "compat.h"
#include "worker/worker.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "lua/errors.h"
#include "ring/ring_submit.h"
#include "task/ring_watch.h"
#include "worker/encode.h"
#include "worker/mail_address.h"
#include "worker/mail_call.h"
#include "worker/mail_send.h"
#include "worker/mailbox.h"
#include "worker/monitor.h"
#include "worker/send_wait.h"
#include "worker/sending.h"
#include "worker/worker_state.h"
#include "worker/worker_thread.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY   (256 << 10)     /* what one is told to the collector as */
#define CLOSE_NS 1000000000      /* how long a state that closes waits for all
                                    its workers */


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

bool worker_reaped (struct worker_thread *t) {
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

void worker_tell_warnings (lua_State *L, struct worker_thread *t) {
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
  static const char why[] = "the state that started it closes";
  struct worker_thread *t = s->workers, *next;
  int64_t deadline = clock_after(CLOSE_NS > s->close_bound ? CLOSE_NS
                                                           : s->close_bound);
  for (; t; t = t->next) worker_thread_cancel(t, why, sizeof(why) - 1);
  for (t = s->workers; t; t = next) {
    next = t->next;
    if (!worker_thread_join(t, deadline)) {
      lua_warning(L, "uring: worker '", 1);
      lua_warning(L, t->name ? t->name : "?", 1);
      lua_warning(L, "' did not end in time when the state that had started "
                  "it was closed: its thread is left to itself", 0);
      worker_thread_leave(t);
    }
    worker_tell_warnings(L, t);
    list_remove(t);
  }
}


/* ---- the object -------------------------------------------------------- */

struct worker *worker_check (lua_State *L) {
  struct worker *w = class_check(L, 1, CLASS_WORKER);
  if (w->t == NULL)
    luaL_argerror(L, 1, "this worker was not started");
  if (w->t->fork_id != fork_id())
    luaL_argerror(L, 1, "this worker belongs to another process: a forked "
                  "child has none of its threads");
  return w;
}

static int worker_gc (lua_State *L) {
  static const char why[] = "it was collected";
  struct worker *w = class_check(L, 1, CLASS_WORKER);
  struct worker_thread *t = w->t;
  mail_address_drop(&w->address);
  if (t == NULL)
    return 0;
  pressure_collected(&state_of(L)->pressure, MEMORY, 1);
  pressure_drop(&state_of(L)->pressure, MEMORY, 1);
  t->owner = NULL;  /* guard: its end may still be told */
  worker_thread_cancel(t, why, sizeof(why) - 1);
  w->t = NULL;
  refblock_release(&t->block);
  return 0;
}

static void describe_end (lua_State *L, const struct object_waitq *waitq,
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
  struct worker *w = worker_check(L);
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
  if (rc == -EMSGSIZE)
    return fail(L, EMSGSIZE, "worker: its arguments count as more than %llu "
                "bytes: send them to its inbox, in parts",
                (unsigned long long)t->results->limits.bytes);
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


/* worker_phase(worker): enum worker_status; without memory */
static int worker_phase (lua_State *L) {
  const struct worker *w = class_check(L, 1, CLASS_WORKER);
  enum worker_status s = w->t ? worker_status(w->t) : WORKER_NEW;
  if (w->t && w->t->fork_id != fork_id()) s = WORKER_ENDED;
  lua_pushinteger(L, s);
  return 1;
}

/* ---- the rest ---------------------------------------------------------- */

/* worker:send(...) and so on: the address's, of a worker alone */
static int worker_send (lua_State *L) {
  worker_check(L);
  return send_wait_send(L);
}

static int worker_try_send (lua_State *L) {
  worker_check(L);
  return mail_send_try_send(L);
}

static int worker_sending (lua_State *L) {
  worker_check(L);
  return sending_new(L);
}

static int worker_call (lua_State *L) {
  worker_check(L);
  return mail_call(L);
}

static int worker_monitor (lua_State *L) {
  worker_check(L);
  return monitor_push(L);
}

static int worker_close (lua_State *L) {
  class_check(L, 1, CLASS_WORKER);
  return mail_address_close(L);
}

/* worker:cancel([reason]): true unless it has ended or was cancelled before */
static int worker_cancel (lua_State *L) {
  struct worker *w = worker_check(L);
  const char *reason = NULL;
  size_t len = 0;
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TSTRING);
    reason = lua_tolstring(L, 2, &len);
  }
  if (worker_thread_cancel(w->t, reason, len)) {
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
  struct worker *w = worker_check(L);
  struct mail_address *a = mail_address_new(L);
  refblock_retain(&w->t->inbox->block);
  mail_address_set(a, w->t->inbox);
  return 1;
}

/* worker:stats(): of its inbox */
static int worker_stats (lua_State *L) {
  return mailbox_push_stats(L, worker_check(L)->t->inbox);
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
  {"cancel", worker_cancel},
  {"address", worker_address},
  {"stats", worker_stats},
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
