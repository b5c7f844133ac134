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

#define LINKED_VALUE  1      /* user values of a linked object's memory: */
#define LINKED_CLASS  2

/* Of what is lost other user values were needed to end it. */
#define CLASSES_ENDED (CLASSES_LINKED & ~(1ull << CLASS_SELECT_WAITER \
                                          | 1ull << CLASS_WAITING_SEND))

/* The memory on top is of an object whose finalizer was never called: call it
** now, with another object. */
static void end_lost (lua_State *L, int state) {
  void *p = lua_touserdata(L, -1), **object;
  lua_Integer c;
  lua_getiuservalue(L, -1, LINKED_CLASS);
  c = lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (!(CLASSES_ENDED >> c & 1))
    return;
  object = lua_newuserdatauv(L, sizeof(*object), 0);
  *object = p;
  lua_getiuservalue(L, state, (int)c + 1);
  lua_getfield(L, -1, "__gc");
  lua_insert(L, -3);
  lua_setmetatable(L, -2);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
}

/* end_all_lost(state) */
static int end_all_lost (lua_State *L) {
  lua_getiuservalue(L, 1, SHARED_LINKED);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) end_lost(L, 1);
  return 0;
}

/* It is the last finalizer of the library's, as the first to be set. Only
** finalizers of others can call it after that. */
static int state_gc (lua_State *L) {
  struct state *s = lua_touserdata(L, 1);
  if (s->end_loop) s->end_loop(s);  /* guard: one that a finalizer has made */
  lua_pushcfunction(L, end_all_lost);
  lua_pushvalue(L, 1);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  if (s->end_workers) s->end_workers(L, s);  /* guard: nor any thread */
  if (s->end_orphans) s->end_orphans(s);  /* guard: no child is left behind */
  handles_end(&s->handles);
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
  lua_newtable(L);  /* guard: there may be no memory, and the finalizer needs
                       it */
  lua_setiuservalue(L, -2, SHARED_LINKED);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  s->close_bound = CLOSE_BOUND;
  s->random = 88172645463325252u;
  s->account = account_new();
  if (s->account == NULL) luaL_error(L, "not enough memory");
}

const char *state_memory_note (lua_State *L) {
  const struct account *a = state_of(L)->account;
  if (account_limit(a) == SIZE_MAX)
    return "";
  if (a->parent)
    return ": the state, or the one that started it, has reached its limit, "
           "uring.loop{ memory }";
  return ": the state has reached its limit, uring.loop{ memory }";
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

/* The finalizer of a linked object: upvalue 2 is its class's own. */
static int linked_gc (lua_State *L) {
  lua_CFunction finalize = lua_tocfunction(L, lua_upvalueindex(2));
  void *p = lua_isuserdata(L, 1) && lua_rawlen(L, 1) >= sizeof(p)
            ? *(void **)lua_touserdata(L, 1) : NULL;
  finalize(L);  /* (raises for what is no such object) */
  lua_settop(L, 0);
  state_shared(L, SHARED_LINKED);
  lua_pushnil(L);
  lua_rawsetp(L, 1, p);
  return 0;
}

/* Of the metatable on top; the state is at that index. */
static void link_finalizer (lua_State *L, int state) {
  lua_pushvalue(L, state);
  lua_getfield(L, -2, "__gc");
  lua_pushcclosure(L, linked_gc, 2);
  lua_setfield(L, -2, "__gc");
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
  if (class_is_linked(c)) link_finalizer(L, state);
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

/* Push an object, and its memory is kept: the last of its user values. */
static void *push_linked (lua_State *L, enum class c, size_t size,
                          int uservalues) {
  void *p = lua_newuserdatauv(L, size, 2), **object;
  lua_pushinteger(L, (lua_Integer)c);
  lua_setiuservalue(L, -2, LINKED_CLASS);
  object = lua_newuserdatauv(L, sizeof(*object), uservalues + 1);
  *object = p;
  state_shared(L, SHARED_LINKED);
  lua_pushvalue(L, -3);
  lua_rawsetp(L, -2, p);  /* guard: the last that may raise */
  lua_pop(L, 1);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, uservalues + 1);
  return p;
}

void *class_new (lua_State *L, enum class c, size_t size, int uservalues) {
  void *p = class_is_linked(c) ? push_linked(L, c, size, uservalues)
            : lua_newuserdatauv(L, size, uservalues);
  memset(p, 0, size);  /* guard: before it has a metatable */
  lua_getiuservalue(L, lua_upvalueindex(1), (int)c + 1);
  lua_setmetatable(L, -2);
  return p;
}

void class_keep (lua_State *L, int index) {
  index = lua_absindex(L, index);
  state_shared(L, SHARED_LINKED);
  lua_rawgetp(L, -1, *(void **)lua_touserdata(L, index));
  lua_pushvalue(L, -3);
  lua_setiuservalue(L, -2, LINKED_VALUE);
  lua_pop(L, 3);
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
