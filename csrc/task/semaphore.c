/*
** semaphore: units are taken by a wait kind (wait.h), and put back without
** one. What can fail or raise comes before a unit is taken.
*/

#include "compat.h"
#include "task/semaphore.h"

#include "lua/args.h"
#include "task/event.h"
#include "task/wait.h"


static struct items *check_semaphore (lua_State *L) {
  struct items *units = class_check(L, 1, CLASS_SEMAPHORE);
  if (units->ended)  /* guard: a finalizer may run after its own */
    luaL_argerror(L, 1, "this semaphore was collected");
  items_check_fork(units, NULL);
  return units;
}


/* ---- acquiring --------------------------------------------------------- */

static int acquire_try (lua_State *L, struct task *t,
                        struct wait_node *node) {
  struct items *units = check_semaphore(L);
  (void)t;
  if (!items_may_take(loop_here(L), units, node))
    return 0;
  units->count--;
  items_end_turn(units, node);
  lua_pushvalue(L, 1);
  return 1;
}

static int acquire_block (lua_State *L, struct task *t, struct blocking *b) {
  (void)t;
  items_join(b, check_semaphore(L));
  return 0;
}

static void acquire_cancel (lua_State *L, struct task *t,
                            struct wait_node *node) {
  (void)t;
  items_cancel(loop_here(L), check_semaphore(L), node);
}

static const struct wait_kind acquire_kind = {
  "acquiring", acquire_try, acquire_block, acquire_cancel, WAITS_LOCAL, NULL
};

static int acquire_resumed (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &acquire_kind, (int64_t)ctx, acquire_resumed);
}

/* semaphore:acquire([timeout]): the semaphore, so that the end of a block can
** release it: local _ <close> = semaphore:acquire() */
static int semaphore_acquire (lua_State *L) {
  int64_t ns;
  struct task *t;
  check_semaphore(L);
  ns = arg_seconds(L, 2);
  t = loop_enter(L, state_of(L)->loop, "semaphore:acquire");
  return wait_perform(L, t, &acquire_kind,
                      loop_deadline(state_of(L)->loop, ns), acquire_resumed);
}

static int semaphore_try_acquire (lua_State *L) {
  if (acquire_try(L, NULL, NULL))
    return 1;
  return fail_text(L, EAGAIN, "acquire: the semaphore is taken");
}

static int semaphore_acquiring (lua_State *L) {
  check_semaphore(L);
  return event_push_kept(L, &acquire_kind, 1);
}


/* ---- the class --------------------------------------------------------- */

static int semaphore_release (lua_State *L) {
  struct items *units = check_semaphore(L);
  units->count++;
  items_wake(loop_here(L), units);
  return 0;
}

/* #semaphore: the free units */
static int semaphore_len (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)items_free(check_semaphore(L)));
  return 1;
}

static int semaphore_tostring (lua_State *L) {
  lua_pushfstring(L, "uring.Semaphore (%I)",
                  (LUAI_UACINT)items_free(check_semaphore(L)));
  return 1;
}

static int semaphore_gc (lua_State *L) {
  items_end(state_of(L)->loop, class_check(L, 1, CLASS_SEMAPHORE));
  return 0;
}

int semaphore_new (lua_State *L) {
  size_t n = arg_count(L, 1, "integer expected, 0 or more");
  items_open(class_new(L, CLASS_SEMAPHORE, sizeof(struct items), 1), n);
  return 1;
}


static const luaL_Reg methods[] = {
  {"acquire", semaphore_acquire},
  {"try_acquire", semaphore_try_acquire},
  {"acquiring", semaphore_acquiring},
  {"release", semaphore_release},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", semaphore_gc},
  {"__close", semaphore_release},
  {"__len", semaphore_len},
  {"__tostring", semaphore_tostring},
  {NULL, NULL}
};

void semaphore_open (lua_State *L) {
  class_define(L, CLASS_SEMAPHORE, methods, meta, NULL);
}
