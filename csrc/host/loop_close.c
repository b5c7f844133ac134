/*
** loop_close: cancels, turns the loop until no task is left, and closes.
**
** From the first moment on the loop counts as closed, so that nothing new can
** begin on it.
*/

#include "compat.h"
#include "host/loop_close.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/ring_object.h"
#include "task/cancel_scope.h"
#include "task/detached.h"
#include "task/loop_object.h"
#include "task/resume.h"
#include "task/ring_watch.h"
#include "task/run.h"
#include "task/turn.h"

#define USUAL_NS 1000000000   /* that it may take */
#define RING_NS   100000000   /* for the ring alone, if no time is left */


/* Cancel the scopes that no task has opened: all others are in them. */
static void cancel_all (lua_State *L, struct loop *loop) {
  for (uint32_t i = 0; i < loop->nscopes; i++) {
    struct cancel_scope *cs = loop->scopes[i].cs;
    if (cs && cs->kind == CANCEL_SCOPE_TASKS && cs->owner == NULL
        && cs->orphan == NULL) {
      lua_pushliteral(L, "the loop was closed");
      cancel_scope_cancel(L, loop, cs);
    }
  }
}

/* end(deadline): called protected */
static int end_tasks (lua_State *L) {
  int64_t deadline = *(const int64_t *)lua_touserdata(L, 1);
  struct loop *loop = state_of(L)->loop;
  lua_settop(L, 0);
  cancel_all(L, loop);
  while (loop->ntasks > 0 && clock_left(deadline) != 0) {
    task_resume_all(L, loop);
    if (loop->failed) detached_report(L, loop);
    if (loop->ntasks > 0) turn_wait(L, loop, clock_left(deadline));
  }
  if (loop->failed) detached_report(L, loop);
  return 0;
}

static void close_ring (lua_State *L, struct loop *loop, int64_t deadline) {
  struct ring *r = loop->ring;
  int64_t ns = clock_left(deadline);
  ring_watch_stop_all(loop);
  loop_close_fds(loop);
  r->watch = NULL;
  ring_object_end(L, r, ns > RING_NS ? ns : RING_NS);
}

/* loop:close([seconds]): true; or nil, message, ETIME */
int loop_close_lua (lua_State *L) {
  struct loop *loop = class_check(L, 1, CLASS_LOOP);
  int64_t deadline = lua_isnoneornil(L, 2) ? USUAL_NS : arg_duration(L, 2);
  unsigned remaining;
  int status;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, end_tasks, 1);  /* (it may raise, so it is first) */
  if (!loop->closed) {
    loop_check_object(L);
    if (loop->running)
      return luaL_error(L, "loop:close inside a %s: ask the host to close the "
                        "loop after it", loop->stepping ? "step" : "run");
    loop_bind(L, loop);
    deadline = clock_after(deadline);
    loop->closed = loop->running = loop->ring->driven = true;
    loop->quiet = false;
    lua_pushlightuserdata(L, &deadline);
    status = lua_pcall(L, 1, 0, 0);
    remaining = loop->ntasks;
    if (remaining > 0) run_abandon_all(L, loop);
    loop->running = loop->ring->driven = false;
    close_ring(L, loop, deadline);
    if (status != LUA_OK)
      return raise_again(L);
    detached_raise(L, loop);
    if (remaining > 0)
      return fail(L, ETIME, "the loop is closed, but %u of its tasks did not "
                  "end in time: they were closed where they waited",
                  remaining);
  }
  lua_pushboolean(L, 1);
  return 1;
}


static const luaL_Reg methods[] = {
  {"close", loop_close_lua},
  {NULL, NULL}
};

void loop_close_open (lua_State *L) {
  class_extend(L, CLASS_LOOP, methods);
}
