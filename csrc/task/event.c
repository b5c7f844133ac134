/*
** event: parks and wakes tasks for lua/uring, and makes events of wait kinds.
**
** A select waiter holds its object as a user value: the queue that the node
** is in must not be freed before the node has left it.
*/

#include "compat.h"
#include "task/event.h"

#include "base/clock.h"
#include "lua/errors.h"
#include "task/task.h"


/* ---- parking ----------------------------------------------------------- */

static int enter_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, enter_resumed);
  loop_check(L, t);
  return 0;
}

/* enter(what): the begin of every function that waits; lets other tasks run if
** it is their turn */
static int event_enter (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, lua_tostring(L, 1));
  if (!loop_unfair(t))
    return 0;
  return loop_wait(L, t, WAIT_YIELD, NULL, CLOCK_NEVER, 0, enter_resumed);
}

/* Push whether the task is cancelled, and whether it was notified; and the
** number of the event that another task has chosen for it, if any, which must
** be tried next. Does not raise: that event may have been completed. */
static int push_wake_flags (lua_State *L, struct task *t) {
  lua_pushboolean(L, (t->task_flags & TASKF_CANCELLED) != 0);
  lua_pushboolean(L, (t->task_flags & TASKF_NOTIFIED) != 0);
  t->task_flags &= (uint8_t)~TASKF_NOTIFIED;
  if (t->task_flags & TASKF_CHOSEN) {
    lua_pushinteger(L, (lua_Integer)t->chosen->index + 1);
    return 3;
  }
  return 2;
}

static int park_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, park_resumed);
  return push_wake_flags(L, t);
}

/* turn(): wait for one turn of the loop */
static int event_turn (lua_State *L) {
  struct task *t = loop_enter_unchecked(L, state_of(L)->loop, "uring.select");
  if (t->task_flags & TASKF_CANCELLED)
    return push_wake_flags(L, t);
  return loop_wait(L, t, WAIT_YIELD, NULL, CLOCK_NEVER, 0, park_resumed);
}

/* park(what, object, at, inside): wait until the task is woken, or until
** uring.now() is `at`. `what` and `object` are for descriptions. `inside`:
** true, only tasks of this state can wake it; "mailbox", the doorbell too. */
static int event_park (lua_State *L) {
  struct task *t = loop_enter_unchecked(L, state_of(L)->loop, "uring.select");
  int64_t deadline = CLOCK_NEVER;
  /* guard: of a wait that has raised: the next waiter may be its own event */
  if (t->has_turn && !(t->task_flags & TASKF_CHOSEN))
    loop_end_turns(state_of(L)->loop, t);
  /* (since it last tried its events) */
  if (t->task_flags & (TASKF_NOTIFIED | TASKF_CANCELLED))
    return push_wake_flags(L, t);
  lua_settop(L, 4);
  if (!lua_isnil(L, 3)) {
    deadline = clock_from_seconds(lua_tonumber(L, 3));
    loop_reserve(L);
  }
  t->rung = lua_type(L, 4) == LUA_TSTRING;
  if (lua_toboolean(L, 4) && !t->rung) t->task_flags |= TASKF_LOCAL_WAIT;
  else t->task_flags &= (uint8_t)~TASKF_LOCAL_WAIT;
  return loop_wait(L, t, WAIT_PARK, NULL, deadline, 0, park_resumed);
}

/* wake(task): notify it, unless it has ended, is of the parent process, or the
** state closes. */
static int event_wake (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = class_check(L, 1, CLASS_TASK);
  if (loop_has(loop, t)) loop_notify(loop, t);
  return 0;
}

/* decline(): the event that was chosen is not ready when it is tried. (So it
** is the program's own, around one of the library's.) */
static int event_decline (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop->current;
  if (t->task_flags & TASKF_CHOSEN) {
    struct select_waiter *e = t->chosen;
    if (t->has_turn) loop_end_turns(loop, t);
    select_waiter_clear_chosen(e);
  }
  return 0;
}

/* raise_at_caller(message): with the position of the library's caller */
static int event_raise_at_caller (lua_State *L) {
  return loop_raise_at_caller(L, "%s", luaL_checkstring(L, 1));
}

/* uring.now(): seconds of CLOCK_MONOTONIC, or the host's time */
int event_now (lua_State *L) {
  const struct loop *loop = loop_here(L);
  int64_t now = loop ? loop_time(loop) : clock_now();
  lua_pushnumber(L, (lua_Number)now / 1e9);
  return 1;
}


/* ---- events of C objects ----------------------------------------------- */

/* User values of a select waiter. */
#define SELECT_WAITER_OBJECT  1
#define SELECT_WAITER_RESULTS 2  /* what a block gave that did not wait */


struct event {
  const struct wait_kind *kind;
  int n;                   /* user values: the object and the arguments */
};

int event_push (lua_State *L, const struct wait_kind *kind) {
  int n = lua_gettop(L);
  struct event *v = class_new(L, CLASS_EVENT, sizeof(*v), n);
  v->kind = kind;
  v->n = n;
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, i);
  }
  return 1;
}

int event_push_kept (lua_State *L, const struct wait_kind *kind, int kept) {
  lua_settop(L, 1);
  if (lua_getiuservalue(L, 1, kept) == LUA_TNIL) {
    lua_pop(L, 1);
    event_push(L, kind);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, kept);
  }
  return 1;
}

/* Insert true below the `n` results of a successful try. */
static int chosen_with (lua_State *L, int n) {
  lua_pushboolean(L, 1);
  lua_insert(L, -1 - n);
  return n + 1;
}

/* From event:f(waiter), the stack becomes object, arguments, event, waiter,
** and the waiter's select waiter for this event. The functions of the kinds
** push above that: the select waiter stays there, whatever a finalizer does to
** the table `waiter`. */
static struct event *push_event_args (lua_State *L,
                                      struct select_waiter **e) {
  struct event *v = class_check(L, 1, CLASS_EVENT);
  lua_settop(L, 2);
  stack_reserve(L, v->n + 20, NULL);
  for (int i = 1; i <= v->n; i++) lua_getiuservalue(L, 1, i);
  lua_rotate(L, 1, v->n);
  *e = NULL;  /* (not blocked) */
  if (lua_istable(L, v->n + 2)) {
    lua_pushvalue(L, v->n + 1);
    lua_rawget(L, v->n + 2);
    *e = class_test(L, v->n + 3, CLASS_SELECT_WAITER);
    /* guard: the program may have put another event's there, which does not
       keep this queue's memory */
    if (*e && ((*e)->kind != v->kind || (*e)->object != lua_topointer(L, 1)))
      *e = NULL;
  }
  else
    lua_pushnil(L);
  return v;
}

/* Pop the select waiter of the waiter for this event, or nil, and store it. */
static void set_select_waiter (lua_State *L, const struct event *v) {
  lua_pushvalue(L, v->n + 1);
  lua_insert(L, -2);
  lua_rawset(L, v->n + 2);
}

static struct task *check_current_task (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop ? loop->current : NULL;
  if (t == NULL)
    luaL_error(L, "an event is for uring.select, in a task");
  return t;
}

/* event:try(waiter). If a woken waiter finds nothing, because a call outside
** the queue has taken it, it joins the queue again. */
static int event_try (lua_State *L) {
  struct select_waiter *e;
  struct event *v = push_event_args(L, &e);
  struct task *t = check_current_task(L);
  int n;
  if (e && e->nresults > 0) {
    lua_getiuservalue(L, v->n + 3, SELECT_WAITER_RESULTS);
    for (n = 1; n <= e->nresults; n++) lua_rawgeti(L, v->n + 4, n);
    return chosen_with(L, e->nresults);
  }
  /* guard: another event was completed, and is to be returned */
  if ((t->task_flags & TASKF_CHOSEN) && t->chosen != e)
    return 0;
  n = v->kind->try(L, t, e ? &e->node : NULL);
  if (n > 0 && e) select_waiter_clear_chosen(e);
  if (n == 0 && e && e->woken) {
    struct blocking b = { &e->node, WAIT_NOTHING, NULL, CLOCK_NEVER };
    lua_settop(L, v->n + 3);  /* (as it was) */
    n = v->kind->block(L, t, &b);
  }
  return n > 0 ? chosen_with(L, n) : 0;
}

/* event:block(waiter): nil, and what makes it ready: true, only tasks of this
** state; "mailbox", messages as well; or false */
static int event_block (lua_State *L) {
  struct select_waiter *e;
  struct event *v = push_event_args(L, &e);
  struct task *t = check_current_task(L);
  int n = 0;
  luaL_argexpected(L, lua_istable(L, v->n + 2), v->n + 2, "waiter");
  if (e == NULL) {  /* (else another event has blocked on this) */
    struct blocking b = { NULL, WAIT_NOTHING, NULL, CLOCK_NEVER };
    e = class_new(L, CLASS_SELECT_WAITER, sizeof(*e), 2);
    task_push(L, t);
    class_keep(L, -2);
    e->task = t;
    e->kind = v->kind;
    lua_getfield(L, v->n + 2, "n");
    e->index = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    b.node = &e->node;
    e->object = lua_topointer(L, 1);
    lua_pushvalue(L, 1);
    /* guard: it has the queue's memory */
    lua_setiuservalue(L, -2, SELECT_WAITER_OBJECT);
    lua_replace(L, v->n + 3);
    lua_pushvalue(L, v->n + 3);
    set_select_waiter(L, v);
    n = v->kind->block(L, t, &b);
  }
  if (n > 0) {  /* it failed, or need not wait: the next try returns that */
    lua_createtable(L, n, 0);
    lua_insert(L, -1 - n);
    e->nresults = (uint8_t)n;
    for (; n > 0; n--) lua_rawseti(L, -1 - n, n);
    lua_setiuservalue(L, v->n + 3, SELECT_WAITER_RESULTS);
    loop_notify(state_of(L)->loop, t);
  }
  lua_pushnil(L);
  if (v->kind->within == WAITS_RUNG) lua_pushliteral(L, "mailbox");
  else lua_pushboolean(L, v->kind->within == WAITS_LOCAL);
  return 2;
}

/* event:cancel(waiter): the select waiter, as an event that is ready when the
** operation that block has started has ended; or nothing */
static int event_cancel (lua_State *L) {
  struct select_waiter *e;
  struct event *v = push_event_args(L, &e);
  if (e == NULL)
    return 0;
  select_waiter_leave(e);
  v->kind->cancel(L, e->task, &e->node);
  e->woken = false;
  e->turnq = NULL;
  lua_pushnil(L);
  set_select_waiter(L, v);
  lua_settop(L, v->n + 3);
  return e->token ? 1 : 0;
}

static int event_tostring (lua_State *L) {
  struct event *v = class_check(L, 1, CLASS_EVENT);
  lua_getiuservalue(L, 1, 1);
  lua_pushfstring(L, "uring.Event (%s of %s", v->kind->name,
                  luaL_tolstring(L, -1, NULL));
  if (v->kind->describe) {
    lua_getiuservalue(L, 1, v->n);
    v->kind->describe(L, lua_gettop(L));
    lua_pushfstring(L, "%s: %s)", lua_tostring(L, -3), lua_tostring(L, -1));
  }
  else lua_pushfstring(L, "%s)", lua_tostring(L, -1));
  return 1;
}

static struct ring *select_waiter_ring (lua_State *L) {
  lua_getiuservalue(L, 1, SELECT_WAITER_OBJECT);
  return class_check(L, -1, CLASS_RING);
}

/* Collected without a cancel, or before the end of its operation. */
static int select_waiter_gc (lua_State *L) {
  struct select_waiter *e = class_check(L, 1, CLASS_SELECT_WAITER);
  bool waits = e->turnq || e->queue;
  select_waiter_leave(e);
  if (e->token) select_waiter_drop(e, select_waiter_ring(L), false);
  lua_settop(L, 1);
  if (waits) {  /* guard: no wakeup is lost */
    lua_getiuservalue(L, 1, SELECT_WAITER_OBJECT);
    lua_insert(L, 1);
    e->kind->cancel(L, e->task, &e->node);
  }
  e->woken = false;  /* guard: a finalizer's try would join the queue again */
  return 0;
}

/* select_waiter:try(): has its cancelled operation ended? That wakes its task,
** so block and cancel have nothing to do. */
static int select_waiter_try (lua_State *L) {
  const struct select_waiter *e = class_check(L, 1, CLASS_SELECT_WAITER);
  if (e->token && select_waiter_op(e, select_waiter_ring(L)))
    return 0;
  lua_pushboolean(L, 1);
  return 1;
}

static int select_waiter_nop (lua_State *L) {
  (void)L;
  return 0;
}

static int select_waiter_tostring (lua_State *L) {
  lua_pushliteral(L, "uring.Event (end of a cancelled operation)");
  return 1;
}


static const luaL_Reg functions[] = {
  {"enter", event_enter},
  {"turn", event_turn},
  {"park", event_park},
  {"wake", event_wake},
  {"decline", event_decline},
  {"raise_at_caller", event_raise_at_caller},
  {NULL, NULL}
};

static const luaL_Reg methods[] = {
  {"try", event_try},
  {"block", event_block},
  {"cancel", event_cancel},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__tostring", event_tostring},
  {NULL, NULL}
};

static const luaL_Reg select_waiter_methods[] = {
  {"try", select_waiter_try},
  {"block", select_waiter_nop},
  {"cancel", select_waiter_nop},
  {NULL, NULL}
};

static const luaL_Reg select_waiter_meta[] = {
  {"__gc", select_waiter_gc},
  {"__tostring", select_waiter_tostring},
  {NULL, NULL}
};

void event_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
  lua_getiuservalue(L, -2, CLASS_EVENT + 1);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "Event");  /* its methods; event.lua adds to them */
  lua_pop(L, 1);
}

void event_open (lua_State *L) {
  class_define(L, CLASS_EVENT, methods, meta, NULL);
  class_define(L, CLASS_SELECT_WAITER, select_waiter_methods,
               select_waiter_meta, NULL);
}
