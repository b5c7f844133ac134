/*
** served_call: see the header. What must not break: the object clears `owner`
** of the call's record before it is freed, and keeps alive the scope that it
** may cancel.
*/

#include "compat.h"
#include "worker/served_call.h"

#include "task/cancel_scope.h"
#include "task/ring_watch.h"


struct served_call {       /* the userdata */
  struct call_handle handle;  /* first */
  struct cancel_scope *scope;  /* its handler's: the user value; or NULL */
};

#define SERVED_SCOPE 1     /* user value */


struct call_handle *served_call_new (lua_State *L) {
  struct served_call *s = class_new(L, CLASS_SERVED_CALL, sizeof(*s), 1);
  return &s->handle;
}

static void caller_has_gone (void *owner, struct loop *loop) {
  const struct served_call *s = owner;
  if (s->scope && s->scope->id != 0)
    cancel_scope_expire(loop, s->scope);
}

/* attend(): a cancel scope for the handler; nil: the caller has gone */
static int served_call_attend (lua_State *L) {
  struct served_call *s = class_check(L, 1, CLASS_SERVED_CALL);
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, "mailbox:serve");
  struct doorbell *doorbell = loop_doorbell(loop);
  struct call *c = s->handle.call;
  if (doorbell == NULL)
    return luaL_error(L, "mailbox:serve: no doorbell for the loop");
  c->server.owner = s;
  c->server.woken = caller_has_gone;
  if (call_watch(c, &c->server, doorbell) == CALL_LEFT)
    return 0;
  lua_settop(L, 1);
  lua_pushliteral(L, "its caller has gone");
  s->scope = cancel_scope_open(L, loop, t, CANCEL_SCOPE_CALL, CLOCK_NEVER);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, SERVED_SCOPE);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, SCOPE_REASON);
  return 1;
}

static int served_call_close (lua_State *L) {
  struct served_call *s = class_check(L, 1, CLASS_SERVED_CALL);
  struct call *c = s->handle.call;
  if (c == NULL)
    return 0;
  s->handle.call = NULL;
  c->server.owner = NULL;  /* guard: it may be in the ready list */
  call_lose(c);
  return 0;
}


static const luaL_Reg methods[] = {
  {"attend", served_call_attend},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", served_call_close},
  {"__close", served_call_close},
  {NULL, NULL}
};

void served_call_open (lua_State *L) {
  class_define(L, CLASS_SERVED_CALL, methods, meta, NULL);
}
