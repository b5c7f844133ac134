/*
** wait_chain: ring:await_chain, a chain of linked requests as one wait.
**
** The table of the results is made before the chain is queued, so that no
** result, such as a descriptor, is lost when memory is short.
*/

#include "compat.h"
#include "task/wait_chain.h"
#include "task/wait_await.h"

#include "base/clock.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/ring_object.h"
#include "api/ring_check.h"

#include <string.h>


/* Anchor the userdata of the chain at this stack index; 0: release it. */
static void keep_chain (lua_State *L, const struct task *t, int index) {
  state_shared(L, SHARED_CHAINS);
  if (index) lua_pushvalue(L, index);
  else lua_pushnil(L);
  lua_rawsetp(L, -2, t);
  lua_pop(L, 1);
}

int chain_push (lua_State *L, struct task *t, struct ring *r, struct chain *c,
                int index, const struct request *const *requests, unsigned n,
                struct op **ops) {
  int rc;
  keep_chain(L, t, index);
  rc = ring_push(r, requests, n, OP_LOOPED, ops);
  if (rc < 0) {
    keep_chain(L, t, 0);
    return rc;
  }
  memset(c, 0, chain_size(n));
  c->n = c->pending = n;
  for (unsigned i = 0; i < n; i++) {
    c->link[i].disposal = requests[i]->disposal;
    c->link[i].group = ops[i]->group;
    c->link[i].token = ops[i]->token;
    ops[i]->task = t;
  }
  t->ring = r;
  return 0;
}

void chain_ended (lua_State *L, struct task *t) {
  t->wait = WAIT_NOTHING;  /* guard: its results are taken, once */
  keep_chain(L, t, 0);
}

/* The stack: 1 ring, 2 sqes, 3 timeout, 4 the chain, 5 results. What this
** needs was allocated before the chain was queued. */
static int chain_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct chain *c = lua_touserdata(L, 4);
  bool timeout = false;
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, chain_resumed);
  chain_ended(L, t);
  for (unsigned i = 0; i < c->n; i++) {
    struct link *l = &c->link[i];
    if ((t->task_flags & TASKF_CANCELLED) || l->unreported)
      ring_dispose(t->ring, l->disposal, l->group, l->res, l->flags);
    if (wait_timed_out(t, l->res)) timeout = true;
  }
  loop_check(L, t);
  for (unsigned i = 0; i < c->n; i++) {
    lua_rawgeti(L, 5, (lua_Integer)i + 1);
    if (!c->link[i].unreported) {
      lua_pushinteger(L, c->link[i].res);
      lua_rawseti(L, -2, 1);
      lua_pushinteger(L, c->link[i].flags);
      lua_rawseti(L, -2, 2);
      lua_pushnil(L);
      lua_setfield(L, -2, "silent");
    }
    lua_pop(L, 1);
  }
  if (timeout) {
    fail_timeout(L);
    lua_pushvalue(L, 5);
    return 4;
  }
  lua_pushvalue(L, 5);
  return 1;
}

/* ring:await_chain({ sqe, … } [, timeout]): { { res, flags }, … } | nil,
** message, errno; timed out, with the results as fourth value */
static int ring_await_chain (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct task *t = loop_enter(L, state_of(L)->loop, "ring:await_chain");
  int64_t ns = arg_seconds(L, 3);
  const struct request **requests;
  struct chain *c;
  struct op **ops;
  lua_Integer n;
  bool all_silent = true;
  int rc;
  luaL_checktype(L, 2, LUA_TTABLE);
  n = luaL_len(L, 2);
  if (n < 1 || n > (lua_Integer)r->io.sq.ring_entries)
    return luaL_argerror(L, 2, lua_pushfstring(L,
             "array of 1 to %d sqes expected", (int)r->io.sq.ring_entries));
  lua_settop(L, 3);
  c = lua_newuserdatauv(L, chain_size(n), 0);
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_createtable(L, 2, 1);
    lua_pushboolean(L, 1);  /* a success that is not reported, until it is */
    lua_setfield(L, -2, "silent");
    lua_rawseti(L, 5, i);
  }
  requests = lua_newuserdatauv(L, (size_t)n * sizeof(*requests), 0);
  ops = lua_newuserdatauv(L, (size_t)n * sizeof(*ops), 0);
  stack_reserve(L, (int)n + 10, "too many sqes");
  for (lua_Integer i = 1; i <= n; i++)
    lua_geti(L, 2, i);
  ring_check(L, 1);  /* guard: a finalizer may have closed it, ... */
  loop_check(L, t);  /* guard: ... or cancelled this running task */
  ring_check_requests(L, r, 8, (int)n, requests, 2);
  for (lua_Integer i = 0; i < n; i++) {
    if (requests[i]->sqe.flags & IOSQE_IO_DRAIN)
      ring_check_drain(L, r, 2, true);
    if (!(requests[i]->req_flags & REQ_SILENT)) all_silent = false;
    if (requests[i]->req_flags & REQ_MULTI)
      return luaL_argerror(L, 2, "a request that completes more than once "
                           "cannot be awaited in a chain: queue it");
  }
  if (all_silent)
    return luaL_argerror(L, 2, "one of an awaited chain must complete "
                         "visibly, without CQE_SKIP_SUCCESS");
  if ((rc = wait_watch(L, state_of(L)->loop, r)) != 0)
    return rc;
  if (ns != CLOCK_NEVER) loop_reserve(L);
  rc = chain_push(L, t, r, c, 4, requests, (unsigned)n, ops);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  return loop_wait(L, t, WAIT_CHAIN, c, loop_deadline(state_of(L)->loop, ns),
                   0, chain_resumed);
}


static const luaL_Reg methods[] = {
  {"await_chain", ring_await_chain},
  {NULL, NULL}
};

void wait_chain_open (lua_State *L) {
  class_extend(L, CLASS_RING, methods);
}
