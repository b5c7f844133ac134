/*
** cancel_scope: the tree of cancel scopes, their tasks, and which tasks are
** cancelled.
**
** Memory is reserved, and all that may raise is done, before the first change
** of a scope: the counts and links here must agree at any error.
*/

#include "compat.h"
#include "task/cancel_scope.h"

#include "base/clock.h"
#include "task/wait.h"
#include "task/wait_cancel.h"

#include <stdlib.h>


/* (`loop` is NULL when the state closes) */
static struct cancel_scope *scope_at (const struct loop *loop, uint32_t id) {
  return loop && id > 0 && id <= loop->nscopes ? loop->scopes[id - 1].cs
                                                : NULL;
}

void cancel_scope_push (lua_State *L, const struct cancel_scope *cs) {
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_rawgeti(L, -1, cs->id);
  lua_remove(L, -2);
}

/* Push the table of a scope's tasks, and below it another table. */
#define TASKS_PUSHED 2
static void push_tasks (lua_State *L, const struct cancel_scope *cs) {
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_rawgeti(L, -1, -(lua_Integer)cs->id);
}

void cancel_scope_push_task (lua_State *L, const struct cancel_scope *cs,
                             uint32_t place) {
  push_tasks(L, cs);
  lua_rawgeti(L, -1, place);
  lua_replace(L, -1 - TASKS_PUSHED);
  lua_pop(L, TASKS_PUSHED - 1);
}

struct cancel_scope *cancel_scope_of_task (const struct loop *loop,
                                           const struct task *t) {
  struct cancel_scope *cs = scope_at(loop, t->timer.owner_id);
  return cs && cs->owner == t ? cs->owner_scope : cs;
}

struct cancel_scope *cancel_scope_to_spawn_in (const struct loop *loop,
                                               const struct task *t) {
  const struct cancel_scope *cs = scope_at(loop, t->timer.owner_id);
  return cs ? cs->scope : NULL;
}


/* ---- which tasks are cancelled ----------------------------------------- */

/* Which of the cancel scopes of its own, from `cs` outward, cancels the task;
** or NULL. And whether its cancel, if that was requested, reaches it there. */
static struct cancel_scope *find_cause (struct cancel_scope *cs,
                                        const struct task *t,
                                        bool *requested) {
  struct cancel_scope *cause = NULL;
  *requested = false;
  for (; cs && cs->owner == t; cs = cs->outer) {
    if (cs->cancelled && cause == NULL) cause = cs;
    if (cs->kind == CANCEL_SCOPE_SHIELD && !cs->expired)
      return cause;
  }
  *requested = t->task_flags & TASKF_CANCEL_REQUESTED;
  return cause;
}

struct cancel_scope *cancel_scope_cause (const struct loop *loop,
                                         const struct task *t) {
  bool requested;
  return find_cause(scope_at(loop, t->timer.owner_id), t, &requested);
}

bool cancel_scope_pending (const struct loop *loop, const struct task *t) {
  const struct cancel_scope *cs = scope_at(loop, t->timer.owner_id);
  for (; cs && cs->owner == t; cs = cs->outer)
    if (cs->cancelled)
      return true;
  return (t->task_flags & TASKF_CANCEL_REQUESTED) != 0;
}

void cancel_scope_update_task (struct loop *loop, struct task *t) {
  bool requested;
  const struct cancel_scope *cause = find_cause(
    scope_at(loop, t->timer.owner_id), t, &requested);
  t->asked = requested;
  if (cause == NULL && !requested) {
    if (t->task_flags & TASKF_CANCELLED) {
      t->task_flags &= (uint8_t)~TASKF_CANCELLED;
      if (!cancel_scope_pending(loop, t)) loop_clear_refusals(loop, t);
    }
  }
  else if (!(t->task_flags & TASKF_CANCELLED)) {
    t->task_flags |= TASKF_CANCELLED;
    if (t->state == TASK_WAITING) loop_cancel_wait(loop, t);
    else if (t->has_turn && t->state == TASK_READY && t->wait != WAIT_QUEUE)
      loop_end_turns(loop, t);  /* guard: the next takes the item at once */
  }
}

void task_request_cancel (struct loop *loop, struct task *t) {
  if (t->state < TASK_DONE && !(t->task_flags & TASKF_CANCEL_REQUESTED)) {
    t->task_flags |= TASKF_CANCEL_REQUESTED;
    if (t->task_flags & TASKF_DAEMON) cancel_scope_of_task(loop, t)->nlive--;
    cancel_scope_update_task(loop, t);
  }
}

/* Request the cancel of a scope's tasks that have one of these flags; 0: of
** all. */
static void request_cancel_of_all (lua_State *L, struct loop *loop,
                                   struct cancel_scope *cs, unsigned flags) {
  push_tasks(L, cs);
  for (uint32_t i = 1; i <= cs->nplaces; i++) {
    if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
      struct task *t = lua_touserdata(L, -1);
      if (flags == 0 || (t->task_flags & flags)) task_request_cancel(loop, t);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, TASKS_PUSHED);
}

void cancel_scope_reason (lua_State *L) {
  const struct cancel_scope *cs = lua_touserdata(L, -1);
  lua_getiuservalue(L, -1, SCOPE_REASON);
  if (cs->orphan && lua_touserdata(L, -1) == cs->orphan) {
    lua_pop(L, 1);
    lua_pushstring(L, cs->orphan);
  }
  lua_replace(L, -2);
}

void cancel_scope_cancel (lua_State *L, struct loop *loop,
                          struct cancel_scope *cs) {
  if (cs->id != 0 && !cs->cancelled) {
    cs->cancelled = true;
    cancel_scope_push(L, cs);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, SCOPE_REASON);
    request_cancel_of_all(L, loop, cs, 0);
    if (cs->owner) cancel_scope_update_task(loop, cs->owner);
  }
  lua_pop(L, 1);
}

/* Cancel this scope if its owner is cancelled outside of it. */
static void reach (lua_State *L, struct loop *loop, struct cancel_scope *cs) {
  bool requested = false, cancelled = cs->detached;
  if (cs->cancelled)
    return;
  if (cs->owner) {
    reach(L, loop, cancel_scope_of_task(loop, cs->owner));
    cancelled = find_cause(cs->outer, cs->owner, &requested) != NULL;
  }
  if (!cancelled && !requested)
    return;
  lua_pushvalue(L, -1);
  cancel_scope_cancel(L, loop, cs);
}

void cancel_scope_reach (lua_State *L, struct loop *loop, struct task *t) {
  luaL_checkstack(L, 10, NULL);
  reach(L, loop, cancel_scope_of_task(loop, t));
  lua_pop(L, 1);
}

void cancel_scope_cancel_daemons (lua_State *L, struct loop *loop,
                                  struct cancel_scope *cs) {
  cs->ending = true;
  if (cs->nlive > 0) request_cancel_of_all(L, loop, cs, TASKF_DAEMON);
}

void cancel_scope_expire (struct loop *loop, struct cancel_scope *cs) {
  cs->expired = true;
  if (cs->kind != CANCEL_SCOPE_SHIELD) cs->cancelled = true;
  cancel_scope_update_task(loop, cs->owner);
}


/* ---- tasks of a scope -------------------------------------------------- */

void cancel_scope_add_task (lua_State *L, struct loop *loop,
                            struct cancel_scope *cs, uint32_t id,
                            struct task *t) {
  uint32_t place;
  if (scope_at(loop, id) != cs)  /* guard: a finalizer can have closed it */
    luaL_error(L, "the scope has ended");
  place = cs->free_place ? cs->free_place : cs->nplaces + 1;
  push_tasks(L, cs);
  lua_rawgeti(L, -1, place);
  lua_pushvalue(L, -2 - TASKS_PUSHED);
  lua_rawseti(L, -3, place);  /* the last that may raise */
  if (cs->free_place) cs->free_place = (uint32_t)lua_tointeger(L, -1);
  else cs->nplaces = place;
  lua_pop(L, 1 + TASKS_PUSHED);
  t->place = place;
  t->timer.owner_id = cs->id;
  if (t->task_flags & TASKF_DAEMON) cs->ndaemons++;
  else {
    cs->ntasks++;
    cs->ending = false;
  }
  if (cs->cancelled || cs->ending)
    t->task_flags |= TASKF_CANCEL_REQUESTED | TASKF_CANCELLED;
  else if (t->task_flags & TASKF_DAEMON) cs->nlive++;
}

/* A detached scope has no tasks any more. */
static void end_detached (lua_State *L, struct loop *loop,
                          struct cancel_scope *cs) {
  if (cs == loop->steps_root) loop->steps_root = NULL;
  if (!cs->failed) {
    cancel_scope_end(L, loop, cs);
    return;
  }
  cs->next_failed = NULL;
  if (loop->failed) loop->last_failed->next_failed = cs;
  else loop->failed = cs;
  loop->last_failed = cs;
}

/* A task of the scope has ended. If none keeps it open any longer: wake its
** owner, cancel its daemons, or end it. */
static void check_scope_ended (lua_State *L, struct loop *loop,
                               struct cancel_scope *cs) {
  if (cs->ntasks > 0 || (cs->lasting && !cs->cancelled))
    return;
  if (cs->waiting)
    loop_wake(loop, cs->owner);
  else if (cs->owner == NULL && cs->ndaemons > 0)
    cancel_scope_cancel_daemons(L, loop, cs);
  else if (cs->detached)
    end_detached(L, loop, cs);
  else if (cs->orphan) {
    struct cancel_scope *outer = cs->outer;  /* (a scope: close_innermost) */
    cancel_scope_end(L, loop, cs);
    outer->ntasks--;
    check_scope_ended(L, loop, outer);
  }
}

void cancel_scope_remove_task (lua_State *L, struct loop *loop,
                               struct cancel_scope *cs, struct task *t,
                               int error) {
  if (error) {
    if (cs->last_failed) cs->last_failed->node.next = &t->node;
    else cs->first_failed = t;
    cs->last_failed = t;
    t->node.next = NULL;
    cs->failed = true;
    lua_pushvalue(L, error);
    cancel_scope_cancel(L, loop, cs);
  }
  else {
    push_tasks(L, cs);
    lua_pushinteger(L, cs->free_place);  /* a free place has the number of */
    lua_rawseti(L, -2, t->place);       /* the next free one */
    lua_pop(L, TASKS_PUSHED);
    cs->free_place = t->place;
  }
  if (t->task_flags & TASKF_DAEMON) {
    cs->ndaemons--;
    if (!(t->task_flags & TASKF_CANCEL_REQUESTED)) cs->nlive--;
  }
  else cs->ntasks--;
  check_scope_ended(L, loop, cs);
}

void cancel_scope_each_task (lua_State *L, struct loop *loop,
                             void (*f)(lua_State *L, struct loop *loop,
                                       struct task *t)) {
  for (uint32_t id = 1; id <= loop->nscopes; id++) {
    struct cancel_scope *cs = scope_at(loop, id);
    if (cs == NULL || cs->kind != CANCEL_SCOPE_TASKS) continue;
    push_tasks(L, cs);
    /* (f may end tasks, and so the scope) */
    for (uint32_t i = 1; scope_at(loop, id) == cs && i <= cs->nplaces; i++) {
      if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
        struct task *t = lua_touserdata(L, -1);
        if (t->state < TASK_DONE) f(L, loop, t);
      }
      lua_pop(L, 1);
    }
    lua_pop(L, TASKS_PUSHED);
  }
}

static void abandon_tasks (lua_State *L) {
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    struct task *t = lua_touserdata(L, -1);
    if (t == NULL || t->state >= TASK_DONE) continue;  /* (a free place) */
    t->state = TASK_CANCELLED;
    t->wait = WAIT_NOTHING;
    t->timer.owner_id = 0;
  }
}

/* (By the table, for a loop that has ended has no list of them.) */
void cancel_scope_abandon_all (lua_State *L, struct loop *loop) {
  state_shared(L, SHARED_CANCEL_SCOPES);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    struct cancel_scope *cs = lua_touserdata(L, -1);
    if (cs == NULL) {
      abandon_tasks(L);
      continue;
    }
    cs->id = 0;
    cs->owner = NULL;
  }
  lua_pop(L, 1);
  if (loop) loop->nscopes = loop->nopen = loop->free_scope = 0;
}


/* ---- open and close ---------------------------------------------------- */

/* A free number; `scopes` has the capacity for it. */
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
                                        struct task *owner,
                                        enum cancel_scope_kind kind,
                                        int64_t deadline) {
  enum class class = kind == CANCEL_SCOPE_TASKS ? CLASS_SCOPE
                                                : CLASS_CANCEL_SCOPE;
  struct cancel_scope *cs = class_new(L, class, sizeof(*cs), SCOPE_VALUES);
  uint32_t id;
  if (kind == CANCEL_SCOPE_TASKS) {
    lua_newtable(L);
    lua_setiuservalue(L, -2, SCOPE_TASKS);
  }
  if (!heap_reserve(&loop->heap, 1))
    luaL_error(L, "not enough memory for a deadline");
  id = number_scope(L, loop);  /* (no finalizer runs from here on, which
                                  could take the number) */
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_getiuservalue(L, -2, SCOPE_TASKS);
  lua_rawseti(L, -2, -(lua_Integer)id);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, id);  /* the last that may raise */
  lua_pop(L, 1);
  if (id > loop->nscopes) loop->nscopes = id;
  else loop->free_scope = loop->scopes[id - 1].next_free;
  loop->scopes[id - 1].cs = cs;
  loop->nopen++;
  cs->id = id;
  cs->kind = (uint8_t)kind;
  cs->owner = owner;
  if (owner) {
    struct cancel_scope *outer = scope_at(loop, owner->timer.owner_id);
    cs->outer = outer;
    cs->owner_scope = outer->owner == owner ? outer->owner_scope : outer;
    cs->scope = outer->scope;
    owner->timer.owner_id = id;
  }
  if (kind == CANCEL_SCOPE_TASKS) cs->scope = cs;
  if (deadline != CLOCK_NEVER) heap_add(&loop->heap, &cs->timer, deadline);
  return cs;
}

void cancel_scope_end (lua_State *L, struct loop *loop,
                       struct cancel_scope *cs) {
  state_shared(L, SHARED_CANCEL_SCOPES);
  lua_pushnil(L);
  lua_rawseti(L, -2, cs->id);
  lua_pushnil(L);
  lua_rawseti(L, -2, -(lua_Integer)cs->id);
  lua_pop(L, 1);
  loop->scopes[cs->id - 1] = (struct scope_slot){ NULL, loop->free_scope };
  loop->free_scope = cs->id;
  if (--loop->nopen == 0)  /* (so a run's own scope is always number 1) */
    loop->nscopes = loop->free_scope = 0;
  cs->id = 0;
  cs->owner = NULL;
}

static void close_innermost (lua_State *L, struct loop *loop,
                       struct cancel_scope *cs) {
  struct cancel_scope *outer;
  cs->owner->timer.owner_id = cs->outer->id;
  heap_remove(&loop->heap, &cs->timer);
  if (cs->waiting) {  /* guard: closed from outside, its owner waits no more */
    cs->waiting = false;
    loop_wake(loop, cs->owner);
  }
  if (cs->ntasks + cs->ndaemons == 0) {
    cancel_scope_end(L, loop, cs);
    return;
  }
  /* guard: its owner cannot wait for its tasks: the enclosing scope does */
  cs->outer = outer = cs->outer->scope;
  cs->owner = NULL;
  /* (a coroutine that a script closes is not the one that runs) */
  cs->orphan = loop->co == L ? "it was closed before its tasks had ended"
                            : "the scope's own task was closed";
  outer->ntasks++;
  /* guard: a string may find no memory, and leave the task half ended */
  lua_pushlightuserdata(L, (void *)(uintptr_t)cs->orphan);
  cancel_scope_cancel(L, loop, cs);
}

void cancel_scope_close_all (lua_State *L, struct loop *loop, struct task *t) {
  struct cancel_scope *cs;
  while ((cs = scope_at(loop, t->timer.owner_id)) != NULL && cs->owner == t)
    close_innermost(L, loop, cs);
}

void cancel_scope_close (lua_State *L, struct loop *loop,
                         struct cancel_scope *cs) {
  struct task *t = cs->owner;
  if (t == NULL)
    return;  /* it is closed, or an orphan */
  while (cs->id != 0 && cs->owner == t)
    close_innermost(L, loop, scope_at(loop, t->timer.owner_id));
  cancel_scope_update_task(loop, t);
}
