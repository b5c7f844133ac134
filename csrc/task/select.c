/*
** select: the events of a select, on the stack of its call, and their tries.
** Events of the program are functions of Lua: a try may run anything.
**
** Invariant: the pairs on the stack stay, in whatever order, until the call
** returns: each event is tried once.
*/

#include "compat.h"
#include "task/select.h"

#include "lua/args.h"
#include "lua/errors.h"
#include "task/loop.h"

/* The stack of a call. Those that were not tried yet come first. */
#define EVENTS  1        /* the table */
#define TIMEOUT 2
#define COUNT   3        /* of the pairs */
#define WAITER  4        /* what each try is given, or nil */
#define WRAPPED 5        /* the metatable of events by event:wrap; or nil */
#define FIRST   6        /* a key, its event, the next key... */

/* Upvalues of uring.select: of select.lua. */
#define REFUSE   lua_upvalueindex(2)
#define WRAPPERS lua_upvalueindex(3)
#define WAIT     lua_upvalueindex(4)

#define PAIR(i) (FIRST + 2 * (int)(i))

/* What a try, or a wait, needs above the pairs. */
#define ROOM 8

#define SOME 16          /* pairs for which there is space at once */


/* ---- the events -------------------------------------------------------- */

/* Raise unless the value at this index is an event. The key is below it. */
static void check_event (lua_State *L, const struct state *s, int at) {
  bool known = class_at(L, s, at, CLASS_EVENT) != NULL;
  if (!known && (lua_istable(L, at) || lua_type(L, at) == LUA_TUSERDATA)) {
    lua_getfield(L, at, "is_event");
    known = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  if (known) return;
  lua_pushvalue(L, REFUSE);
  lua_pushvalue(L, EVENTS);
  lua_pushvalue(L, at - 1);
  lua_pushvalue(L, at);
  lua_call(L, 3, 0);
}

/* Push the keys and the events of the table. Returns how many. */
static int push_pairs (lua_State *L, const struct state *s) {
  lua_pushnil(L);
  for (int n = 0;; n++) {
    if (n % SOME == 0)
      stack_reserve(L, 2 * SOME + ROOM, "too many events");
    if (!lua_next(L, EVENTS))
      return n;
    check_event(L, s, PAIR(n) + 1);
    lua_pushvalue(L, PAIR(n));
  }
}

static void swap_pairs (lua_State *L, int i, int j) {
  lua_pushvalue(L, PAIR(i));
  lua_copy(L, PAIR(j), PAIR(i));
  lua_replace(L, PAIR(j));
  lua_pushvalue(L, PAIR(i) + 1);
  lua_copy(L, PAIR(j) + 1, PAIR(i) + 1);
  lua_replace(L, PAIR(j) + 1);
}

/* Numbers come first, then strings. Other keys have no order. */
static bool key_precedes (lua_State *L, int a, int b) {
  int i = lua_type(L, a), j = lua_type(L, b);
  if (i != j)
    return i == LUA_TNUMBER || (i == LUA_TSTRING && j != LUA_TNUMBER);
  return (i == LUA_TNUMBER || i == LUA_TSTRING)
         && lua_compare(L, a, b, LUA_OPLT);
}

/* A table's own order of names is another one in each state. Where the time is
** a host's two runs of a script must be the same. (A shell sort.) */
static void sort_pairs (lua_State *L, int n) {
  for (int gap = n / 2; gap > 0; gap /= 2)
    for (int i = gap; i < n; i++)
      for (int j = i - gap;
           j >= 0 && key_precedes(L, PAIR(j + gap), PAIR(j)); j -= gap)
        swap_pairs(L, j, j + gap);
}


/* ---- trying ------------------------------------------------------------ */

/* xorshift; math.random belongs to the program. */
static int random_below (struct state *s, int n) {
  s->random ^= s->random << 13;
  s->random ^= s->random >> 7;
  s->random ^= s->random << 17;
  return (int)((s->random >> 1) % (unsigned)n);
}

/* The index below what the tries push. */
static int base_of (lua_State *L) {
  return PAIR(lua_tointeger(L, COUNT)) - 1;
}

/* Push the function that the values of the event at this index are for, if it
** was made by event:wrap; or nil. (Here, since there may be no room above the
** values.) */
static void push_after (lua_State *L, int at) {
  if (lua_istable(L, at) && lua_getmetatable(L, at)) {
    bool wrapped = lua_rawequal(L, -1, WRAPPED);
    lua_pop(L, 1);
    if (wrapped) {
      lua_getfield(L, at, "after");
      return;
    }
  }
  lua_pushnil(L);
}

/* Of the first `n` pairs this one was tried. If it was ready its values are
** above the function for them, or nil, the event, and the key. Else the first
** n - 1 are left. */
static bool was_ready (lua_State *L, int n, int tried) {
  int base = base_of(L);
  if (!lua_toboolean(L, base + 3)) {
    lua_settop(L, base);
    if (tried < n - 1) swap_pairs(L, tried, n - 1);
    return false;
  }
  lua_copy(L, PAIR(tried), base + 3);
  return true;
}

/* Try the first `n` events in random order until one is ready. `k` continues
** by try_the_rest. */
static bool try_events (lua_State *L, int n, lua_KFunction k) {
  struct state *s = state_of(L);
  for (; n > 0; n--) {
    int i = n > 1 ? random_below(s, n) : 0;
    push_after(L, PAIR(i) + 1);
    lua_pushvalue(L, PAIR(i) + 1);
    lua_getfield(L, -1, "try");
    lua_pushvalue(L, PAIR(i) + 1);
    lua_pushvalue(L, WAITER);
    lua_callk(L, 2, LUA_MULTRET, (lua_KContext)i << 32 | n, k);
    if (was_ready(L, n, i))
      return true;
  }
  return false;
}

static bool try_the_rest (lua_State *L, lua_KContext ctx, lua_KFunction k) {
  int n = (int)(uint32_t)ctx;
  return was_ready(L, n, (int)(ctx >> 32)) || try_events(L, n - 1, k);
}

static int attempt_tried (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return try_the_rest(L, ctx, attempt_tried)
         ? lua_gettop(L) - base_of(L) - 1 : 0;
}

/* attempt(keys, list, n, waiter): of the events in `list` one that is ready,
** its key, and its values; or nothing */
static int select_attempt (lua_State *L) {
  int n = (int)lua_tointeger(L, COUNT);
  lua_settop(L, WAITER);
  lua_pushnil(L);
  stack_reserve(L, 2 * n + ROOM, "too many events");
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    lua_rawgeti(L, 2, i);
  }
  return try_events(L, n, attempt_tried)
         ? lua_gettop(L) - base_of(L) - 1 : 0;
}


/* ---- uring.select ------------------------------------------------------ */

static int returned (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L) - base_of(L) - 1;
}

/* The key, and the values that are above the function for them, or nil, the
** event, and the key. */
static int return_values (lua_State *L) {
  int base = base_of(L);
  if (lua_isnil(L, base + 1))
    return lua_gettop(L) - base - 2;
  lua_copy(L, base + 3, base + 2);
  lua_copy(L, base + 1, base + 3);
  lua_callk(L, lua_gettop(L) - base - 3, LUA_MULTRET, 0, returned);
  return returned(L, LUA_OK, 0);
}

static int waited (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return return_values(L);
}

/* wait(events, keys, list, n, timeout): as return_values has them */
static int wait_for_events (lua_State *L) {
  int n = (int)lua_tointeger(L, COUNT);
  lua_pushvalue(L, WAIT);
  lua_pushvalue(L, EVENTS);
  for (int part = 0; part < 2; part++) {  /* keys, events */
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
      lua_pushvalue(L, PAIR(i) + part);
      lua_rawseti(L, -2, i + 1);
    }
  }
  lua_pushvalue(L, COUNT);
  lua_pushvalue(L, TIMEOUT);
  lua_callk(L, 5, LUA_MULTRET, 0, waited);
  return return_values(L);
}

static int select_tried (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return try_the_rest(L, ctx, select_tried) ? return_values(L)
                                            : wait_for_events(L);
}

static int choose (lua_State *L, struct loop *loop) {
  int n;
  lua_pushinteger(L, 0);
  lua_pushnil(L);
  lua_pushvalue(L, WRAPPERS);
  n = push_pairs(L, loop->state);
  if (n == 0) {
    lua_pushvalue(L, REFUSE);  /* (it may be an event itself) */
    lua_pushvalue(L, EVENTS);
    lua_call(L, 1, 0);
  }
  if (loop->host_time) sort_pairs(L, n);
  lua_pushinteger(L, n);
  lua_replace(L, COUNT);
  return try_events(L, n, select_tried) ? return_values(L)
                                        : wait_for_events(L);
}

static int choose_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, choose_resumed);
  loop_check(L, t);
  lua_settop(L, TIMEOUT);  /* guard: a script may resume it with values */
  return choose(L, state_of(L)->loop);
}

/* uring.select(events [, timeout]): the key of an event, and its values; or
** nil, message, errno */
static int select_events (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t;
  lua_settop(L, TIMEOUT);
  if (!lua_istable(L, EVENTS)) {
    lua_pushvalue(L, REFUSE);
    lua_pushvalue(L, EVENTS);
    lua_call(L, 1, 0);
  }
  arg_seconds(L, TIMEOUT);
  t = loop_enter(L, loop, "uring.select");
  return loop_unfair(t) ? loop_wait(L, t, WAIT_YIELD, NULL, CLOCK_NEVER, 0,
                                    choose_resumed)
                        : choose(L, loop);
}

/* new_select(refuse, wrapped, wait): uring.select. refuse(events [, key,
** event]) raises unless the event is one; without it, unless `events` may be
** a table of them. */
static int new_select (lua_State *L) {
  lua_settop(L, 3);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_pushcclosure(L, select_events, 4);
  return 1;
}

static const luaL_Reg functions[] = {
  {"attempt", select_attempt},
  {"new_select", new_select},
  {NULL, NULL}
};

void select_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}
