/*
** state: make the state's userdata and the classes. An object must be zeroed
** before it gets its metatable: from then on its finalizer may run.
*/

#include "lua/state.h"

#include "base/clock.h"

#include <string.h>

static const char *const names[CLASSES] = {
  "uring.Worker",
  "uring.Ring", "uring.Sqe", "uring.Operation", "uring.Buffer", "uring.Fd",
  "uring.Ref", "uring.Task", "uring.Loop", "uring.Sockaddr", "uring.Msghdr",
  "uring.BufRing", "uring.Lease", "uring.Socket", "uring.Reader",
  "uring.CancelScope", "uring.Scope", "uring.SelectWaiter", "uring.Event",
  "uring.Wrapped", "uring.Channel", "uring.Semaphore", "uring.Mailbox",
  "uring.Address", "uring.WaitingSend", "uring.Sending",
  "uring.Calling", "uring.ServedCall", "uring.Monitor", "uring.NameWait",
  "uring.Stream", "uring.Child", "uring.Listener", "uring.JobWait",
  "uring.WallTimer"
};

#define CLOSE_BOUND  100000000  /* ns */

static const char key = 0;  /* its address names the state in the registry */


bool state_push (lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TUSERDATA)
    return true;
  lua_pop(L, 1);
  return false;
}

/* It is the last finalizer of the library's, as the first to be set. Only
** finalizers of others can call it after that. */
static int state_gc (lua_State *L) {
  struct state *s = lua_touserdata(L, 1);
  if (s->end_workers) s->end_workers(L, s);  /* guard: nor any thread */
  if (s->end_orphans) s->end_orphans(s);  /* guard: no child is left behind */
  account_end(s->account);
  s->account = NULL;
  return 0;
}

int64_t state_close_left (struct state *s) {
  int64_t now = clock_now();
  int64_t left = s->close_left + (now - s->closed_at);
  s->closed_at = now;
  s->close_left = left > s->close_bound ? s->close_bound : left;
  return s->close_left;
}

void state_close_ended (struct state *s) {
  int64_t now = clock_now();
  int64_t left = s->close_left - (now - s->closed_at);
  s->closed_at = now;
  s->close_left = left > 0 ? left : 0;
}

void state_new (lua_State *L) {
  struct state *s = lua_newuserdatauv(L, sizeof(*s), SHARED_END);
  memset(s, 0, sizeof(*s));
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  s->close_bound = CLOSE_BOUND;
  s->account = account_new();
  if (s->account == NULL) luaL_error(L, "not enough memory");
}

const char *state_memory_note (lua_State *L) {
  return account_limit(state_of(L)->account) == SIZE_MAX ? ""
         : ": the state has reached its limit, uring.loop{ memory }";
}

void state_keep (lua_State *L) {
  if (state_push(L)) {  /* guard: objects must be of one state */
    lua_remove(L, -2);
    return;
  }
  for (int c = 0; c < CLASSES; c++) {  /* (for luaL_testudata elsewhere) */
    lua_getiuservalue(L, -1, c + 1);
    lua_setfield(L, LUA_REGISTRYINDEX, names[c]);
  }
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}


struct state *state_get (lua_State *L) {
  struct state *s = lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TUSERDATA
                    ? lua_touserdata(L, -1) : NULL;
  lua_pop(L, 1);
  return s;
}

const char *class_name (enum class c) {
  return names[c];
}

void class_define (lua_State *L, enum class c, const luaL_Reg *methods,
                   const luaL_Reg *meta, lua_CFunction index) {
  int state = lua_gettop(L);
  struct state *s = lua_touserdata(L, state);
  lua_newtable(L);
  lua_pushstring(L, names[c]);
  lua_setfield(L, -2, "__name");
  s->meta[c] = lua_topointer(L, -1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, state, (int)c + 1);
  lua_pushvalue(L, state);
  luaL_setfuncs(L, meta, 1);
  lua_newtable(L);
  lua_pushvalue(L, state);
  luaL_setfuncs(L, methods, 1);
  if (index) {
    lua_pushvalue(L, state);
    lua_insert(L, -2);
    lua_pushcclosure(L, index, 2);  /* upvalue 2: the methods */
  }
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, names[c]);
  lua_setfield(L, -2, "__metatable");  /* keeps __gc out of scripts' hands */
  lua_settop(L, state);
}

void class_push_methods (lua_State *L, int state, enum class c) {
  lua_getiuservalue(L, state, (int)c + 1);
  lua_getfield(L, -1, "__index");
  if (lua_iscfunction(L, -1)) lua_getupvalue(L, -1, 2);
}

void class_names (lua_State *L) {
  int state = lua_gettop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (int c = 0; c < CLASSES; c++) {
    class_push_methods(L, state, (enum class)c);
    lua_setfield(L, state + 1, names[c]);
    lua_settop(L, state + 1);
  }
  lua_settop(L, state);
}

void class_extend (lua_State *L, enum class c, const luaL_Reg *methods) {
  int state = lua_gettop(L);
  class_push_methods(L, state, c);
  lua_pushvalue(L, state);
  luaL_setfuncs(L, methods, 1);
  lua_settop(L, state);
}

void *class_new (lua_State *L, enum class c, size_t size, int uservalues) {
  void *p = lua_newuserdatauv(L, size, uservalues);
  memset(p, 0, size);  /* guard: before it has a metatable */
  lua_getiuservalue(L, lua_upvalueindex(1), (int)c + 1);
  lua_setmetatable(L, -2);
  return p;
}

void *class_test (lua_State *L, int arg, enum class c) {
  return class_at(L, state_of(L), arg, c);
}

void *class_check (lua_State *L, int arg, enum class c) {
  void *p = class_test(L, arg, c);
  if (p == NULL)
    luaL_typeerror(L, arg, names[c]);
  return p;
}
