#include "compat.h"
#include "task/cancel_scope.h"

#include "base/clock.h"
#include "task/wait.h"
#include "task/wait_cancel.h"

#include <stdlib.h>


/* (without a loop, as the state closes, there is none) */
static struct cancel_scope *scope_at (const struct loop *loop, uint32_t id) {
  return loop && id > 0 && id <= loop->nscopes ? loop->scopes[id - 1].cs
                                                : NULL;
}

void cancel_scope_push (lua_State *L, const struct cancel_scope *r) {
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_rawgeti(L, -1, r->id);
  lua_remove(L, -2);
}

/* The table of a scope's tasks; to be popped with the one below it. */
#define TASKS_PUSHED 2
static void push_tasks (lua_State *L, const struct cancel_scope *r) {
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_rawgeti(L, -1, -(lua_Integer)r->id);
}

void cancel_scope_push_task (lua_State *L, const struct cancel_scope *r,
                             uint32_t place) {
  push_tasks(L, r);
  lua_rawgeti(L, -1, place);
  lua_replace(L, -1 - TASKS_PUSHED);
  lua_pop(L, TASKS_PUSHED - 1);
}

struct cancel_scope *cancel_scope_of_task (const struct loop *loop,
                                           const struct task *t) {
  struct cancel_scope *r = scope_at(loop, t->timer.owner_id);
  return r && r->owner == t ? r->owner_scope : r;
}

struct cancel_scope *cancel_scope_to_spawn_in (const struct loop *loop,
                                               const struct task *t) {
  const struct cancel_scope *r = scope_at(loop, t->timer.owner_id);
  return r ? r->scope : NULL;
}


/* ---- who is cancelled -------------------------------------------------- */

/* What cancels the task, if anything does; `cancel_requested` if no region of
** its own is that. */
static struct cancel_scope *find_cause (const struct loop *loop,
                                   const struct task *t,
                             bool *cancel_requested) {
  struct cancel_scope *r = scope_at(loop, t->timer.owner_id);
  *cancel_requested = false;
  for (; r && r->owner == t; r = r->outer) {
    if (r->cancelled)
      return r;
    if (r->kind == CANCEL_SCOPE_SHIELD && !r->expired)
      return NULL;
  }
  *cancel_requested = t->task_flags & TASKF_CANCEL_REQUESTED;
  return NULL;
}

struct cancel_scope *cancel_scope_cause (const struct loop *loop,
                                         const struct task *t) {
  bool cancel_requested;
  return find_cause(loop, t, &cancel_requested);
}

bool cancel_scope_pending (const struct loop *loop, const struct task *t) {
  const struct cancel_scope *r = scope_at(loop, t->timer.owner_id);
  for (; r && r->owner == t; r = r->outer)
    if (r->cancelled)
      return true;
  return (t->task_flags & TASKF_CANCEL_REQUESTED) != 0;
}

void cancel_scope_update_task (struct loop *loop, struct task *t) {
  bool cancel_requested;
  if (find_cause(loop, t, &cancel_requested) == NULL && !cancel_requested) {
    if (t->task_flags & TASKF_CANCELLED) {
      loop_unrevoke(loop, t);
      t->task_flags &= (uint8_t)~TASKF_CANCELLED;
      if (!cancel_scope_pending(loop, t)) loop_clear_refusals(loop, t);
    }
  }
  else if (!(t->task_flags & TASKF_CANCELLED)) {
    t->task_flags |= TASKF_CANCELLED;
    if (t->state == TASK_WAITING) loop_cancel_wait(loop, t);
    else if (t->task_flags & TASKF_DELIVERED)
      loop_revoke(loop, t);  /* guard: it will not receive it */
    else if (t->has_turn && t->state == TASK_READY && t->wait == WAIT_MESSAGE)
      loop_end_turns(loop, t);  /* nor the message that it was woken for */
  }
}

void task_request_cancel (struct loop *loop, struct task *t) {
  if (t->state < TASK_DONE && !(t->task_flags & TASKF_CANCEL_REQUESTED)) {
    t->task_flags |= TASKF_CANCEL_REQUESTED;
    if (t->task_flags & TASKF_DAEMON) cancel_scope_of_task(loop, t)->nlive--;
    cancel_scope_update_task(loop, t);
  }
}

/* Doom the tasks of a scope that have one of these flags; all for 0. */
static void request_cancel_of_all (lua_State *L, struct loop *loop,
                                   struct cancel_scope *r,
                      unsigned flags) {
  push_tasks(L, r);
  for (uint32_t i = 1; i <= r->nplaces; i++) {
    if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
      struct task *t = lua_touserdata(L, -1);
      if (flags == 0 || (t->task_flags & flags)) task_request_cancel(loop, t);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, TASKS_PUSHED);
}

void cancel_scope_reason (lua_State *L) {
  const struct cancel_scope *r = lua_touserdata(L, -1);
  lua_getiuservalue(L, -1, SCOPE_REASON);
  if (r->orphan && lua_touserdata(L, -1) == r->orphan) {
    lua_pop(L, 1);
    lua_pushstring(L, r->orphan);
  }
  lua_replace(L, -2);
}

void cancel_scope_cancel (lua_State *L, struct loop *loop,
                          struct cancel_scope *r) {
  if (r->id != 0 && !r->cancelled) {
    r->cancelled = true;
    cancel_scope_push(L, r);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, SCOPE_REASON);
    request_cancel_of_all(L, loop, r, 0);
    if (r->owner) cancel_scope_update_task(loop, r->owner);
  }
  lua_pop(L, 1);
}

void cancel_scope_cancel_daemons (lua_State *L, struct loop *loop,
                            struct cancel_scope *r) {
  r->ending = true;
  if (r->nlive > 0) request_cancel_of_all(L, loop, r, TASKF_DAEMON);
}

void cancel_scope_expire (struct loop *loop, struct cancel_scope *r) {
  r->expired = true;
  if (r->kind == CANCEL_SCOPE_TIMEOUT) r->cancelled = true;
  cancel_scope_update_task(loop, r->owner);
}


/* ---- tasks of a scope -------------------------------------------------- */

void cancel_scope_add_task (lua_State *L, struct loop *loop,
                            struct cancel_scope *r,
                  uint32_t id, struct task *t) {
  uint32_t place;
  if (scope_at(loop, id) != r)  /* guard: a finalizer can have closed it */
    luaL_error(L, "the scope has ended");
  place = r->free_place ? r->free_place : r->nplaces + 1;
  push_tasks(L, r);
  lua_rawgeti(L, -1, place);
  lua_pushvalue(L, -2 - TASKS_PUSHED);
  lua_rawseti(L, -3, place);  /* the last that may raise */
  if (r->free_place) r->free_place = (uint32_t)lua_tointeger(L, -1);
  else r->nplaces = place;
  lua_pop(L, 1 + TASKS_PUSHED);
  t->place = place;
  t->timer.owner_id = r->id;
  if (t->task_flags & TASKF_DAEMON) r->ndaemons++;
  else {
    r->ntasks++;
    r->ending = false;
  }
  if (r->cancelled || r->ending) t->task_flags |=
      TASKF_CANCEL_REQUESTED | TASKF_CANCELLED;
  else if (t->task_flags & TASKF_DAEMON) r->nlive++;
}

/* One thing less that keeps the scope open. */
static void check_scope_ended (lua_State *L, struct loop *loop, struct cancel_scope *r) {
  if (r->ntasks > 0)
    return;
  if (r->waiting)
    loop_wake(loop, r->owner);
  else if (r->owner == NULL && r->ndaemons > 0)
    cancel_scope_cancel_daemons(L, loop, r);
  else if (r->orphan) {
    struct cancel_scope *outer = r->outer;  /* (a scope: see close_one) */
    cancel_scope_end(L, loop, r);
    outer->ntasks--;
    check_scope_ended(L, loop, outer);
  }
}

void cancel_scope_remove_task (lua_State *L, struct loop *loop,
                               struct cancel_scope *r,
                  struct task *t, int error) {
  if (error) {
    if (r->last_failed) r->last_failed->node.next = &t->node;
    else r->first_failed = t;
    r->last_failed = t;
    t->node.next = NULL;
    r->failed = true;
    lua_pushvalue(L, error);
    cancel_scope_cancel(L, loop, r);
  }
  else {
    push_tasks(L, r);
    lua_pushinteger(L, r->free_place);  /* its place is free, and says */
    lua_rawseti(L, -2, t->place);       /* which is the next free one */
    lua_pop(L, TASKS_PUSHED);
    r->free_place = t->place;
  }
  if (t->task_flags & TASKF_DAEMON) {
    r->ndaemons--;
    if (!(t->task_flags & TASKF_CANCEL_REQUESTED)) r->nlive--;
  }
  else r->ntasks--;
  check_scope_ended(L, loop, r);
}

void cancel_scope_each_task (lua_State *L, struct loop *loop,
                  void (*f)(lua_State *L, struct loop *loop,
                            struct task *t)) {
  for (uint32_t id = 1; id <= loop->nscopes; id++) {
    struct cancel_scope *r = scope_at(loop, id);
    if (r == NULL || r->kind != CANCEL_SCOPE_TASKS) continue;
    push_tasks(L, r);
    /* (f may end tasks, and so the scope) */
    for (uint32_t i = 1; scope_at(loop, id) == r && i <= r->nplaces; i++) {
      if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
        struct task *t = lua_touserdata(L, -1);
        if (t->state < TASK_DONE) f(L, loop, t);
      }
      lua_pop(L, 1);
    }
    lua_pop(L, TASKS_PUSHED);
  }
}

static void mark_abandoned (lua_State *L, struct loop *loop, struct task *t) {
  (void)L; (void)loop;
  t->state = TASK_CANCELLED;
  t->wait = WAIT_NOTHING;
  t->timer.owner_id = 0;
}

void cancel_scope_abandon_all (lua_State *L, struct loop *loop) {
  cancel_scope_each_task(L, loop, mark_abandoned);
  for (uint32_t i = 0; i < loop->nscopes; i++) {
    struct cancel_scope *r = loop->scopes[i].cs;
    if (r) {
      r->id = 0;
      r->owner = NULL;
    }
  }
  loop->nscopes = loop->nopen = loop->free_scope = 0;
}


/* ---- open and close ---------------------------------------------------- */

/* A number that is free, with room for it. */
static uint32_t number_scope (lua_State *L, struct loop *loop) {
  if (loop->free_scope)
    return loop->free_scope;
  if (loop->nscopes == loop->capacity) {
    uint32_t capacity = loop->capacity ? loop->capacity * 2 : 16;
    struct scope_slot *more = realloc(loop->scopes, capacity * sizeof(*more));
    if (more == NULL)
      luaL_error(L, "not enough memory for a scope");
    loop->scopes = more;
    loop->capacity = capacity;
  }
  return loop->nscopes + 1;
}

struct cancel_scope *cancel_scope_open (lua_State *L, struct loop *loop,
                            struct task *owner, enum cancel_scope_kind kind,
                            int64_t deadline) {
  enum class class = kind == CANCEL_SCOPE_TASKS ? CLASS_SCOPE
      : CLASS_CANCEL_SCOPE;
  struct cancel_scope *r = class_new(L, class, sizeof(*r), SCOPE_VALUES);
  uint32_t id;
  if (kind == CANCEL_SCOPE_TASKS) {
    lua_newtable(L);
    lua_setiuservalue(L, -2, SCOPE_TASKS);
  }
  if (!heap_reserve(&loop->heap, 1))
    luaL_error(L, "not enough memory for a deadline");
  id = number_scope(L, loop);  /* (from here on no finalizer runs,
                                   and takes it) */
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_getiuservalue(L, -2, SCOPE_TASKS);
  lua_rawseti(L, -2, -(lua_Integer)id);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, id);  /* the last that may raise */
  lua_pop(L, 1);
  if (id > loop->nscopes) loop->nscopes = id;
  else loop->free_scope = loop->scopes[id - 1].next_free;
  loop->scopes[id - 1].cs = r;
  loop->nopen++;
  r->id = id;
  r->kind = (uint8_t)kind;
  r->owner = owner;
  if (owner) {
    struct cancel_scope *outer = scope_at(loop, owner->timer.owner_id);
    r->outer = outer;
    r->owner_scope = outer->owner == owner ? outer->owner_scope : outer;
    r->scope = outer->scope;
    owner->timer.owner_id = id;
  }
  if (kind == CANCEL_SCOPE_TASKS) r->scope = r;
  if (deadline != CLOCK_NEVER) heap_add(&loop->heap, &r->timer, deadline);
  return r;
}

/* It is no more. */
void cancel_scope_end (lua_State *L, struct loop *loop,
                       struct cancel_scope *r) {
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_pushnil(L);
  lua_rawseti(L, -2, r->id);
  lua_pushnil(L);
  lua_rawseti(L, -2, -(lua_Integer)r->id);
  lua_pop(L, 1);
  loop->scopes[r->id - 1] = (struct scope_slot){ NULL, loop->free_scope };
  loop->free_scope = r->id;
  if (--loop->nopen == 0)  /* (so the first one of a run is always number 1) */
    loop->nscopes = loop->free_scope = 0;
  r->id = 0;
  r->owner = NULL;
}

static void close_innermost (lua_State *L, struct loop *loop,
                       struct cancel_scope *r) {
  struct cancel_scope *outer;
  r->owner->timer.owner_id = r->outer->id;
  heap_remove(&loop->heap, &r->timer);
  if (r->waiting) {  /* guard: others have closed it, and it must not wait */
    r->waiting = false;
    loop_wake(loop, r->owner);
  }
  if (r->ntasks + r->ndaemons == 0) {
    cancel_scope_end(L, loop, r);
    return;
  }
  /* guard: nobody is left to wait for its tasks, so the scope around does */
  r->outer = outer = r->outer->scope;
  r->owner = NULL;
  /* (where others close a coroutine it is that one which runs) */
  r->orphan = loop->co == L ? "it was closed before its tasks had ended"
                            : "the scope's own task was closed";
  outer->ntasks++;
  /* guard: a string's want of memory would leave the task half ended */
  lua_pushlightuserdata(L, (void *)(uintptr_t)r->orphan);
  cancel_scope_cancel(L, loop, r);
}

void cancel_scope_close_all (lua_State *L, struct loop *loop, struct task *t) {
  struct cancel_scope *r;
  while ((r = scope_at(loop, t->timer.owner_id)) != NULL && r->owner == t)
    close_innermost(L, loop, r);
}

void cancel_scope_close (lua_State *L, struct loop *loop,
                         struct cancel_scope *r) {
  struct task *t = r->owner;
  if (t == NULL)
    return;  /* it is closed already, or an orphan */
  while (r->id != 0 && r->owner == t)
    close_innermost(L, loop, scope_at(loop, t->timer.owner_id));
  cancel_scope_update_task(loop, t);
}
