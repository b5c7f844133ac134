/*
** ring_check: the checks before each use of a ring. A ring used after a fork,
** or by a second thread, would corrupt the owner's queues.
*/

#include "compat.h"
#include "api/ring_check.h"

#include "base/fork_id.h"
#include "base/thread_id.h"


static void check_process (lua_State *L, const struct ring *r, int arg) {
  if (r->fork_id != fork_id())  /* guard: fork */
    luaL_argerror(L, arg, "this ring belongs to another process: it was "
                  "made before a fork");
}

static void check_thread (lua_State *L, struct ring *r, int arg) {
  ring_bind_loop(r);
  if ((r->io.flags & IORING_SETUP_SINGLE_ISSUER) && r->enabled
      && r->owner != thread_id())  /* guard: threads */
    luaL_argerror(L, arg, "this ring belongs to another thread: it was made "
                  "with SINGLE_ISSUER; other threads send to its ref()");
}

static void check_hand (lua_State *L, const struct ring *r, int arg) {
  if (r->held > 0 || r->driven)  /* guard: a task's CQEs */
    luaL_argerror(L, arg, "this ring is driven by the loop: a task waits on "
                  "it, and would lose what is taken by hand");
}

/* The ring whose class was checked last, if this is its object. The address
** alone does not prove it: without a finalizer, which may be lost, the object
** goes and another may lie there. That one does not have the ring's memory. */
static struct ring *recent_at (lua_State *L, const struct state *s,
                               int index) {
  void *object = lua_touserdata(L, index);
  struct ring *r;
  if (object == NULL || object != s->recent_object
      || lua_rawlen(L, index) < sizeof(r))
    return NULL;
  r = class_memory(CLASS_RING, object);
  return r == s->recent_ring ? r : NULL;  /* guard: a lost finalizer */
}

struct ring *ring_check_open (lua_State *L, int index, int arg) {
  struct state *s = state_of(L);
  struct ring *r = recent_at(L, s, index);
  if (r == NULL) {
    r = class_at(L, s, index, CLASS_RING);
    if (r == NULL)
      luaL_typeerror(L, arg, class_name(CLASS_RING));
    if (!r->open)  /* guard: a closed ring raises */
      luaL_argerror(L, arg, "attempt to use a closed ring");
    s->recent_object = lua_touserdata(L, index);
    s->recent_ring = r;
  }
  check_process(L, r, arg);
  ring_look_at_number(r);
  return r;
}

struct ring *ring_check (lua_State *L, int arg) {
  return ring_check_in(L, arg, arg);
}

struct ring *ring_check_in (lua_State *L, int index, int arg) {
  struct ring *r = ring_check_open(L, index, arg);
  check_thread(L, r, arg);
  return r;
}

struct ring *ring_check_by_hand (lua_State *L, int arg) {
  struct ring *r = ring_check(L, arg);
  check_hand(L, r, arg);
  return r;
}

void ring_check_again (lua_State *L, struct ring *r, int arg) {
  check_process(L, r, arg);
  check_thread(L, r, arg);
  check_hand(L, r, arg);
}

void ring_check_drain (lua_State *L, const struct ring *r, int arg,
                       bool awaited) {
  if (awaited || r->is_loop_ring || r->held > 0)  /* guard: delays timeouts */
    luaL_argerror(L, arg, "IO_DRAIN makes every later request wait, cancels "
                  "and timeouts too: use a ring driven by hand");
}

void ring_interrupted (lua_State *L) {
  if (lua_gethookmask(L)) {
    state_shared(L, SHARED_NOTHING);
    lua_call(L, 0, 0);
  }
}
