/*
** worker_state: see the header. What must not break: an error anywhere is the
** worker's outcome, and nothing runs outside of a protected call.
*/

#include "compat.h"

#include <lua.h>
#include <lualib.h>

#include "worker/worker_state.h"

#include "base/clock.h"
#include "lua/errors.h"
#include "task/cancel_scope.h"
#include "task/ring_watch.h"
#include "task/turn.h"
#include "worker/decode.h"
#include "worker/encode.h"
#include "worker/mail_send.h"
#include "worker/mailbox.h"
#include "worker/worker_join.h"
#include "worker/worker_thread.h"

#include "compat.h"  /* again: now with Lua's headers before it */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Instructions between two looks at the flag: few, for one of them may be the
** call of a function of C that takes milliseconds. (That there is a hook
** halves the speed of Lua; that it is called so often costs 2 % of that.) */
#define HOOK_COUNT 1000


/* A warning, in the pieces that Lua gives; what does not fit is cut off. */
struct worker_warning {
  struct worker_thread *t;
  size_t len;
  bool begun, off;
  char text[1000];
};


/* ---- the state's own functions ----------------------------------------- */

/* Refund `n` bytes, which may be none. */
static void allocate_less (struct worker_thread *t, size_t n) {
  if (n > 0) account_refund(t->account, n);
}

/* Is there room for `n` bytes more: within `memory`, and within the bound of
** the parent? If so they are charged. */
static bool allocate_more (struct worker_thread *t, size_t n) {
  bool within = t->memory == 0 || n <= t->memory - t->used;
  if (n == 0)
    return true;
  if (within && account_charge(t->account, n))
    return true;
  atomic_store_explicit(&t->at_limit, !within, memory_order_relaxed);
  return false;
}

/* lua_Alloc */
static void *allocate (void *ud, void *p, size_t had, size_t size) {
  struct worker_thread *t = ud;
  size_t old = p ? had : 0, more = size > old ? size - old : 0;
  void *q;
  if (size == 0) {
    free(p);
    t->used -= old;
    allocate_less(t, old);
    return NULL;
  }
  if (!allocate_more(t, more))
    return NULL;
  q = realloc(p, size);
  if (q == NULL) {
    allocate_less(t, more);
    return NULL;
  }
  t->used = t->used - old + size;
  allocate_less(t, old + more - size);
  return q;
}


/* ---- warnings ---------------------------------------------------------- */

/* lua_WarnFunction: they are the parent's to tell. "@off" and "@on", of this
** state, stop that and go on. */
static void warn_parent (void *ud, const char *text, int more) {
  struct worker_warning *w = ud;
  size_t len = strlen(text), room = sizeof(w->text) - w->len;
  if (w->len == 0 && !w->begun && !more && *text == '@') {
    if (strcmp(text, "@off") == 0) w->off = true;
    else if (strcmp(text, "@on") == 0) w->off = false;
    return;
  }
  if (len > room) len = room;
  memcpy(w->text + w->len, text, len);
  w->len += len;
  w->begun = more;
  if (more)
    return;
  if (!w->off) worker_thread_warn(w->t, w->text, w->len);
  w->len = 0;
}


/* ---- its life ---------------------------------------------------------- */

const char *worker_state_lacks (void) {
  return compat_has_openlibs() ? NULL : COMPAT_OPENLIBS_NAME;
}

/* Post what was encoded, and charge it: 0 or -errno. That a worker has failed
** is told whatever the limit. */
static int post_outcome (lua_State *L, struct worker_thread *t,
                         struct encoded *e) {
  size_t size = e->message->size;
  int rc;
  if (lua_tointeger(L, 1) != OUTCOME_DONE) account_count(t->account, size);
  else if (!account_charge(t->account, size))
    return -ENOMEM;
  t->posted = size;  /* (before its parent may see it) */
  rc = mail_send_post(L, t->results, e);
  if (rc < 0) worker_thread_took(t);
  return rc;
}

/* post(kind, ...): post the outcome. Raises for what cannot travel. */
static int worker_post (lua_State *L) {
  struct worker_thread *t = state_of(L)->worker;
  struct encoded e;
  int rc = encode_values(L, 1, lua_gettop(L), t->results, &e);
  if (rc == 0) rc = post_outcome(L, t, &e);
  if (rc == 0) encode_free(&e);
  else encode_withdraw(L, &e);
  if (rc == -EMSGSIZE)
    return luaL_error(L, "the results count as more than %I bytes: send them "
                      "to a mailbox, in parts",
                      (LUAI_UACINT)t->results->limits.bytes);
  if (rc < 0)
    luaL_error(L, "not enough memory for the results%s", state_memory_note(L));
  return 0;
}

/* start_worker(): call the function of Lua with what the parent has sent. (A
** closure: the state is its upvalue.) */
static int start_worker (lua_State *L) {
  struct worker_thread *t = state_of(L)->worker;
  size_t size;
  int n;
  mailbox_push(L, t->inbox);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_INBOX);
  state_shared(L, SHARED_BOOT);
  n = decode_message(L, t->start);
  if (n < 0) return luaL_error(L, "not enough memory");
  size = t->start->size;
  message_free(t->start);
  worker_thread_began(t, size);
  lua_call(L, n, 0);
  return 0;
}

/* begin_state(record) */
static int begin_state (lua_State *L) {
  struct worker_thread *t = lua_touserdata(L, 1);
  lua_gc(L, LUA_GCSTOP);  /* (nothing of what is made here is garbage) */
  compat_openlibs(L);
  luaL_requiref(L, "uring", t->open, 0);
  lua_gc(L, LUA_GCRESTART);
  lua_settop(L, 0);
  state_get(L)->worker = t;
  if (t->account) account_join(state_get(L)->account, t->account);
  state_push(L);
  lua_pushcclosure(L, start_worker, 1);
  lua_call(L, 0, 0);
  return 0;
}

/* The outcome of a state that was not made whole: post(message) */
static int post_failure (lua_State *L) {
  struct worker_thread *t = lua_touserdata(L, 2);
  struct state *s = state_get(L);
  lua_settop(L, 1);
  luaL_tolstring(L, 1, NULL);
  lua_replace(L, 1);
  lua_pushinteger(L, OUTCOME_FAILED);
  lua_insert(L, 1);
  if (s == NULL || (s->worker = t) == NULL)
    return 0;
  state_push(L);
  lua_pushcclosure(L, worker_post, 1);
  lua_insert(L, 1);
  lua_call(L, 2, 0);
  return 0;
}

void worker_state_run (struct worker_thread *t) {
  struct worker_warning warning = { .t = t };
  unsigned seed = 0;
  lua_State *L;
  if (getrandom(&seed, sizeof(seed), 0) < 0) seed = (unsigned)clock_now();
  L = compat_newstate(allocate, t, seed);
  if (L == NULL)
    return;
  lua_setwarnf(L, warn_parent, &warning);
  lua_pushcfunction(L, begin_state);
  lua_pushlightuserdata(L, t);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    lua_pushcfunction(L, post_failure);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, t);
    lua_pcall(L, 2, 0, 0);
  }
  worker_thread_unlisten(t);  /* (its loop goes) */
  lua_close(L);
}


/* ---- cancelling -------------------------------------------------------- */

static void push_cancel_reason (lua_State *L,
                                const struct worker_thread *t) {
  if (t->reason) lua_pushlstring(L, t->reason, t->reason_len);
  else lua_pushnil(L);
}

/* Cancel all that uring.run runs. The caller has the state as upvalue. */
static void cancel_root (lua_State *L, struct loop *loop) {
  if (loop->root == NULL || loop->root->cancelled)
    return;
  push_cancel_reason(L, loop->state->worker);
  cancel_scope_cancel(L, loop, loop->root);
}

void worker_state_cancel (struct worker_thread *t, struct loop *loop) {
  (void)t;
  loop->interrupt = cancel_root;
}

/* stop_worker(): called by the hook: raise uring.cancelled in the task that
** runs, unless a shield is there. */
static int stop_worker (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop ? loop->current : NULL;
  if (t == NULL)
    return 0;
  turn_expire(loop, loop_time(loop), UINT_MAX);  /* guard: a shield may be
                                                    over */
  cancel_root(L, loop);
  push_cancel_reason(L, loop->state->worker);
  cancel_scope_reach(L, loop, t);  /* guard: their owners may never run */
  if (!t->asked || t->told)
    return 0;
  t->told = true;  /* guard: <close> variables run undisturbed */
  state_shared(L, SHARED_CANCELLED);
  return lua_error(L);
}

static void cancel_hook (lua_State *L, lua_Debug *ar) {
  struct state *s = state_get(L);
  (void)ar;
  if (s == NULL || s->worker == NULL || !worker_cancelled(s->worker))
    return;
  state_push(L);
  lua_getiuservalue(L, -1, SHARED_STOP);
  lua_call(L, 0, 0);
  lua_pop(L, 1);
}

/* listen(): from now on a cancel reaches the state: the hook, in coroutines
** that are made from now on; and the loop */
static int worker_listen (lua_State *L) {
  struct state *s = state_of(L);
  struct doorbell *doorbell = loop_doorbell(s->loop);
  if (doorbell == NULL) {
    fail(L, errno, "worker: no doorbell for its loop");
    lua_pop(L, 1);
    return raise_here(L);
  }
  worker_thread_listen(s->worker, doorbell);
  if (s->worker->hook)
    lua_sethook(L, cancel_hook, LUA_MASKCOUNT, HOOK_COUNT);
  return 0;
}

/* hook(): before the first task is made: tasks inherit it */
static int worker_hook (lua_State *L) {
  if (state_of(L)->worker->hook)
    lua_sethook(L, cancel_hook, LUA_MASKCOUNT, HOOK_COUNT);
  return 0;
}


/* ---- what it is called with -------------------------------------------- */

/* May it be a module? (Not the `true` of one that returns nothing.) */
static bool is_module (lua_State *L, int value) {
  return lua_istable(L, value) || lua_isfunction(L, value)
         || lua_type(L, value) == LUA_TUSERDATA;
}

/* Push a name by which the value on top is loaded; else nil. */
static void push_module_name (lua_State *L) {
  int value = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushnil(L);
  while (is_module(L, value) && lua_next(L, value + 1)) {
    bool found = lua_rawequal(L, -1, value)
                 && lua_type(L, -2) == LUA_TSTRING;
    lua_pop(L, 1);
    if (found) {
      lua_replace(L, value + 1);
      lua_settop(L, value + 1);
      return;
    }
  }
  lua_settop(L, value);
  lua_pushnil(L);
}

struct code { luaL_Buffer buffer; bool begun, ended; };

/* Lua 5.5 ends with a call for NULL, and then takes from the stack what was
** pushed meanwhile, the buffer's memory too: so the result is at 1 by then. */
static int append_code (lua_State *L, const void *p, size_t size, void *ud) {
  struct code *c = ud;
  if (!c->begun) luaL_buffinit(L, &c->buffer);  /* (above the function) */
  c->begun = true;
  if (p) luaL_addlstring(&c->buffer, p, size);
  else {
    luaL_pushresult(&c->buffer);
    lua_replace(L, 1);
    c->ended = true;
  }
  return 0;
}

/* Is the value on top the global table; or, as _ENV, one that looks up what it
** lacks, in a way that only its metatable knows? */
static bool is_globals (lua_State *L, const char *name) {
  bool same;
  lua_pushglobaltable(L);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 1);
  if (same || strcmp(name, "_ENV") != 0)
    return same;
  if (luaL_getmetafield(L, -1, "__index") == LUA_TNIL)
    return false;
  lua_pop(L, 1);
  return true;
}

/* upvalues(f): an array that has for each upvalue the name of the module that
** it is, or true for the global table; or nil, and the name of another and its
** type */
static int worker_upvalues (lua_State *L) {
  const char *name;
  lua_settop(L, 1);
  lua_newtable(L);
  for (int i = 1; (name = lua_getupvalue(L, 1, i)) != NULL; i++) {
    if (is_globals(L, name)) lua_pushboolean(L, 1);
    else push_module_name(L);
    if (lua_isnil(L, -1)) {
      lua_pushstring(L, name);
      lua_pushstring(L, luaL_typename(L, 3));
      return 3;
    }
    lua_rawseti(L, 2, i);
    lua_settop(L, 2);
  }
  return 1;
}

/* dump(f): its code; or nil: it is a function of C */
static int worker_dump (lua_State *L) {
  struct code c = { .begun = false };
  lua_settop(L, 1);
  lua_pushnil(L);
  lua_insert(L, 1);
  if (lua_iscfunction(L, 2) || lua_dump(L, append_code, &c, 0) != 0)
    lua_pushnil(L);
  else if (c.ended) lua_pushvalue(L, 1);
  else luaL_pushresult(&c.buffer);
  return 1;
}

/* inherit(): package.path, package.cpath and the realm of names, false where
** there is none; and the seconds that the loop may spin */
static int worker_inherit (lua_State *L) {
  static const char *const names[] = { "path", "cpath" };
  const struct loop *loop = state_of(L)->loop;
  lua_settop(L, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, 1, LUA_LOADLIBNAME) != LUA_TTABLE) lua_newtable(L);
  for (int i = 0; i < 2; i++) {
    lua_pushstring(L, names[i]);
    if (lua_rawget(L, lua_istable(L, 2) ? 2 : 3) != LUA_TSTRING) {
      lua_pop(L, 1);
      lua_pushboolean(L, 0);
    }
  }
  state_shared(L, SHARED_REALM);
  if (lua_isnil(L, -1)) {
    lua_pushliteral(L, "");
    lua_replace(L, -2);
  }
  lua_pushnumber(L, loop ? (lua_Number)loop->spin.longest * 1e-9 : 0);
  return 4;
}

/* set_paths(path, cpath) */
static int worker_set_paths (lua_State *L) {
  static const char *const names[] = { "path", "cpath" };
  lua_settop(L, 2);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, 3, LUA_LOADLIBNAME);
  for (int i = 0; i < 2; i++)
    if (lua_type(L, i + 1) == LUA_TSTRING) {
      lua_pushvalue(L, i + 1);
      lua_setfield(L, 4, names[i]);
    }
  return 0;
}

/* Push what require(name) gives. */
static void push_module (lua_State *L, const char *name) {
  lua_getglobal(L, "require");
  lua_pushstring(L, name);
  lua_call(L, 1, 1);
}

/* load_code(code, upvalues): the function that was dumped */
static int worker_load_code (lua_State *L) {
  size_t n;
  const char *code = luaL_checklstring(L, 1, &n);
  if (luaL_loadbufferx(L, code, n, "=worker", "b") != LUA_OK)
    return lua_error(L);
  for (int i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
    if (lua_type(L, -1) == LUA_TSTRING) push_module(L, lua_tostring(L, -1));
    else lua_pushglobaltable(L);
    lua_setupvalue(L, 3, i);
    lua_settop(L, 3);
  }
  lua_settop(L, 3);
  return 1;
}

/* load_file(path), load_module(name): what to call */
static int worker_load_file (lua_State *L) {
  if (luaL_loadfilex(L, luaL_checkstring(L, 1), NULL) != LUA_OK)
    return lua_error(L);
  return 1;
}

static int worker_load_module (lua_State *L) {
  push_module(L, luaL_checkstring(L, 1));
  if (lua_istable(L, -1)) lua_getfield(L, -1, "main");
  if (!lua_isfunction(L, -1))
    return luaL_error(L, "module '%s' is neither a function nor a table with "
                      "a function 'main'", lua_tostring(L, 1));
  return 1;
}

/* set_boot(f): what a worker's state calls */
static int worker_set_boot (lua_State *L) {
  lua_settop(L, 1);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_BOOT);
  return 0;
}

int worker_inbox (lua_State *L) {
  state_shared(L, SHARED_INBOX);
  if (lua_isnil(L, -1))
    return luaL_error(L, "uring.inbox: only a worker has an inbox; elsewhere "
                      "make a uring.mailbox");
  return 1;
}


static const luaL_Reg functions[] = {
  {"worker_post", worker_post},
  {"worker_listen", worker_listen},
  {"worker_hook", worker_hook},
  {"worker_upvalues", worker_upvalues},
  {"worker_dump", worker_dump},
  {"worker_inherit", worker_inherit},
  {"worker_set_paths", worker_set_paths},
  {"worker_load_code", worker_load_code},
  {"worker_load_file", worker_load_file},
  {"worker_load_module", worker_load_module},
  {"worker_set_boot", worker_set_boot},
  {NULL, NULL}
};

void worker_state_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}

void worker_state_open (lua_State *L) {
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, stop_worker, 1);
  lua_setiuservalue(L, -2, SHARED_STOP);
}
