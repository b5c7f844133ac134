#include "compat.h"
#include "task/region.h"

#include "base/clock.h"
#include "task/handover.h"
#include "task/leave.h"

#include <stdlib.h>


/* (without a loop, as the state closes, there is none) */
static struct region *at (const struct loop *loop, uint32_t id) {
  return loop && id > 0 && id <= loop->nregions ? loop->regions[id - 1].region
                                                : NULL;
}

void region_push (lua_State *L, const struct region *r) {
  state_shared(L, SHARED_REGIONS);
  lua_rawgeti(L, -1, r->id);
  lua_remove(L, -2);
}

/* The table of a scope's tasks; to be popped with the one below it. */
#define TASKS_PUSHED 2
static void push_tasks (lua_State *L, const struct region *r) {
  state_shared(L, SHARED_REGIONS);
  lua_rawgeti(L, -1, -(lua_Integer)r->id);
}

void region_push_task (lua_State *L, const struct region *r, uint32_t place) {
  push_tasks(L, r);
  lua_rawgeti(L, -1, place);
  lua_replace(L, -1 - TASKS_PUSHED);
  lua_pop(L, TASKS_PUSHED - 1);
}

struct region *region_home (const struct loop *loop, const struct task *t) {
  struct region *r = at(loop, t->timer.word);
  return r && r->owner == t ? r->home : r;
}

struct region *region_scope (const struct loop *loop, const struct task *t) {
  const struct region *r = at(loop, t->timer.word);
  return r ? r->scope : NULL;
}


/* ---- who is cancelled -------------------------------------------------- */

/* What cancels the task, if anything does; `doomed` if no region of its own
** is that. */
static struct region *cause (const struct loop *loop, const struct task *t,
                             bool *doomed) {
  struct region *r = at(loop, t->timer.word);
  *doomed = false;
  for (; r && r->owner == t; r = r->outer) {
    if (r->cancelled)
      return r;
    if (r->kind == REGION_SHIELD && !r->expired)
      return NULL;
  }
  *doomed = t->marks & MARK_DOOMED;
  return NULL;
}

struct region *region_cause (const struct loop *loop, const struct task *t) {
  bool doomed;
  return cause(loop, t, &doomed);
}

bool region_condemns (const struct loop *loop, const struct task *t) {
  const struct region *r = at(loop, t->timer.word);
  for (; r && r->owner == t; r = r->outer)
    if (r->cancelled)
      return true;
  return (t->marks & MARK_DOOMED) != 0;
}

void region_look (struct loop *loop, struct task *t) {
  bool doomed;
  if (cause(loop, t, &doomed) == NULL && !doomed) {
    if (t->marks & MARK_CANCELLED) {
      loop_unrevoke(loop, t);
      t->marks &= (uint8_t)~MARK_CANCELLED;
      if (!region_condemns(loop, t)) loop_pardon(loop, t);
    }
  }
  else if (!(t->marks & MARK_CANCELLED)) {
    t->marks |= MARK_CANCELLED;
    if (t->state == TASK_WAITING) loop_leave(loop, t);
    else if (t->marks & MARK_HANDED)
      loop_revoke(loop, t);  /* guard: it will not receive it */
  }
}

void region_doom (struct loop *loop, struct task *t) {
  if (t->state < TASK_DONE && !(t->marks & MARK_DOOMED)) {
    t->marks |= MARK_DOOMED;
    if (t->marks & MARK_DAEMON) region_home(loop, t)->nlive--;
    region_look(loop, t);
  }
}

/* Doom the tasks of a scope that have one of these marks; all for 0. */
static void doom_all (lua_State *L, struct loop *loop, struct region *r,
                      unsigned marks) {
  push_tasks(L, r);
  for (uint32_t i = 1; i <= r->nplaces; i++) {
    if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
      struct task *t = lua_touserdata(L, -1);
      if (marks == 0 || (t->marks & marks)) region_doom(loop, t);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, TASKS_PUSHED);
}

void region_reason (lua_State *L) {
  const struct region *r = lua_touserdata(L, -1);
  lua_getiuservalue(L, -1, REGION_REASON);
  if (r->orphan && lua_touserdata(L, -1) == r->orphan) {
    lua_pop(L, 1);
    lua_pushstring(L, r->orphan);
  }
  lua_replace(L, -2);
}

void region_cancel (lua_State *L, struct loop *loop, struct region *r) {
  if (r->id != 0 && !r->cancelled) {
    r->cancelled = true;
    region_push(L, r);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, REGION_REASON);
    doom_all(L, loop, r, 0);
    if (r->owner) region_look(loop, r->owner);
  }
  lua_pop(L, 1);
}

void region_cancel_daemons (lua_State *L, struct loop *loop,
                            struct region *r) {
  r->ending = true;
  if (r->nlive > 0) doom_all(L, loop, r, MARK_DAEMON);
}

void region_expire (struct loop *loop, struct region *r) {
  r->expired = true;
  if (r->kind == REGION_TIMEOUT) r->cancelled = true;
  region_look(loop, r->owner);
}


/* ---- tasks of a scope -------------------------------------------------- */

void region_join (lua_State *L, struct loop *loop, struct region *r,
                  uint32_t id, struct task *t) {
  uint32_t place;
  if (at(loop, id) != r)  /* guard: a finalizer can have closed it */
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
  t->timer.word = r->id;
  if (t->marks & MARK_DAEMON) r->ndaemons++;
  else {
    r->ntasks++;
    r->ending = false;
  }
  if (r->cancelled || r->ending) t->marks |= MARK_DOOMED | MARK_CANCELLED;
  else if (t->marks & MARK_DAEMON) r->nlive++;
}

/* One thing less that keeps the scope open. */
static void less (lua_State *L, struct loop *loop, struct region *r) {
  if (r->ntasks > 0)
    return;
  if (r->waiting)
    loop_wake(loop, r->owner);
  else if (r->owner == NULL && r->ndaemons > 0)
    region_cancel_daemons(L, loop, r);
  else if (r->orphan) {
    struct region *outer = r->outer;  /* (a scope: see close_one) */
    region_forget(L, loop, r);
    outer->ntasks--;
    less(L, loop, outer);
  }
}

void region_part (lua_State *L, struct loop *loop, struct region *r,
                  struct task *t, int error) {
  if (error) {
    if (r->last_failed) r->last_failed->seat.next = &t->seat;
    else r->first_failed = t;
    r->last_failed = t;
    t->seat.next = NULL;
    r->failed = true;
    lua_pushvalue(L, error);
    region_cancel(L, loop, r);
  }
  else {
    push_tasks(L, r);
    lua_pushinteger(L, r->free_place);  /* its place is free, and says */
    lua_rawseti(L, -2, t->place);       /* which is the next free one */
    lua_pop(L, TASKS_PUSHED);
    r->free_place = t->place;
  }
  if (t->marks & MARK_DAEMON) {
    r->ndaemons--;
    if (!(t->marks & MARK_DOOMED)) r->nlive--;
  }
  else r->ntasks--;
  less(L, loop, r);
}

void region_each (lua_State *L, struct loop *loop,
                  void (*f)(lua_State *L, struct loop *loop,
                            struct task *t)) {
  for (uint32_t id = 1; id <= loop->nregions; id++) {
    struct region *r = at(loop, id);
    if (r == NULL || r->kind != REGION_SCOPE) continue;
    push_tasks(L, r);
    /* (f may end tasks, and so the scope) */
    for (uint32_t i = 1; at(loop, id) == r && i <= r->nplaces; i++) {
      if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
        struct task *t = lua_touserdata(L, -1);
        if (t->state < TASK_DONE) f(L, loop, t);
      }
      lua_pop(L, 1);
    }
    lua_pop(L, TASKS_PUSHED);
  }
}

static void disown_one (lua_State *L, struct loop *loop, struct task *t) {
  (void)L; (void)loop;
  t->state = TASK_CANCELLED;
  t->wait = WAIT_NOTHING;
  t->timer.word = 0;
}

void region_disown (lua_State *L, struct loop *loop) {
  region_each(L, loop, disown_one);
  for (uint32_t i = 0; i < loop->nregions; i++) {
    struct region *r = loop->regions[i].region;
    if (r) {
      r->id = 0;
      r->owner = NULL;
    }
  }
  loop->nregions = loop->nopen = loop->free_region = 0;
}


/* ---- open and close ---------------------------------------------------- */

/* A number that is free, with room for it. */
static uint32_t number (lua_State *L, struct loop *loop) {
  if (loop->free_region)
    return loop->free_region;
  if (loop->nregions == loop->room) {
    uint32_t room = loop->room ? loop->room * 2 : 16;
    struct region_slot *more = realloc(loop->regions, room * sizeof(*more));
    if (more == NULL)
      luaL_error(L, "not enough memory for a scope");
    loop->regions = more;
    loop->room = room;
  }
  return loop->nregions + 1;
}

struct region *region_open (lua_State *L, struct loop *loop,
                            struct task *owner, enum region_kind kind,
                            int64_t deadline) {
  enum class class = kind == REGION_SCOPE ? CLASS_SCOPE : CLASS_REGION;
  struct region *r = class_new(L, class, sizeof(*r), REGION_VALUES);
  uint32_t id;
  if (kind == REGION_SCOPE) {
    lua_newtable(L);
    lua_setiuservalue(L, -2, REGION_TASKS);
  }
  if (!heap_reserve(&loop->heap, 1))
    luaL_error(L, "not enough memory for a deadline");
  id = number(L, loop);  /* (from here on no finalizer runs, and takes it) */
  state_shared(L, SHARED_REGIONS);
  lua_getiuservalue(L, -2, REGION_TASKS);
  lua_rawseti(L, -2, -(lua_Integer)id);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, id);  /* the last that may raise */
  lua_pop(L, 1);
  if (id > loop->nregions) loop->nregions = id;
  else loop->free_region = loop->regions[id - 1].next_free;
  loop->regions[id - 1].region = r;
  loop->nopen++;
  r->id = id;
  r->kind = (uint8_t)kind;
  r->owner = owner;
  if (owner) {
    struct region *outer = at(loop, owner->timer.word);
    r->outer = outer;
    r->home = outer->owner == owner ? outer->home : outer;
    r->scope = outer->scope;
    owner->timer.word = id;
  }
  if (kind == REGION_SCOPE) r->scope = r;
  if (deadline != CLOCK_NEVER) heap_add(&loop->heap, &r->timer, deadline);
  return r;
}

/* It is no more. */
void region_forget (lua_State *L, struct loop *loop, struct region *r) {
  state_shared(L, SHARED_REGIONS);
  lua_pushnil(L);
  lua_rawseti(L, -2, r->id);
  lua_pushnil(L);
  lua_rawseti(L, -2, -(lua_Integer)r->id);
  lua_pop(L, 1);
  loop->regions[r->id - 1] = (struct region_slot){ NULL, loop->free_region };
  loop->free_region = r->id;
  if (--loop->nopen == 0)  /* (so the first one of a run is always number 1) */
    loop->nregions = loop->free_region = 0;
  r->id = 0;
  r->owner = NULL;
}

static void close_one (lua_State *L, struct loop *loop, struct region *r) {
  struct region *outer;
  r->owner->timer.word = r->outer->id;
  heap_remove(&loop->heap, &r->timer);
  if (r->waiting) {  /* guard: others have closed it, and it must not wait */
    r->waiting = false;
    loop_wake(loop, r->owner);
  }
  if (r->ntasks + r->ndaemons == 0) {
    region_forget(L, loop, r);
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
  region_cancel(L, loop, r);
}

void region_close_all (lua_State *L, struct loop *loop, struct task *t) {
  struct region *r;
  while ((r = at(loop, t->timer.word)) != NULL && r->owner == t)
    close_one(L, loop, r);
}

void region_close (lua_State *L, struct loop *loop, struct region *r) {
  struct task *t = r->owner;
  if (t == NULL)
    return;  /* it is closed already, or an orphan */
  while (r->id != 0 && r->owner == t)
    close_one(L, loop, at(loop, t->timer.word));
  region_look(loop, t);
}
