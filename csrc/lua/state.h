/*
** state: what the library keeps for one Lua state.
**
** One userdata, anchored in the registry and upvalue 1 of every function of
** the library. It has the addresses of the class metatables, so that an
** object's class is checked by comparing a pointer; the rings of this state;
** and its loop. Lua values that all functions share are its user values.
** Nothing of it is shared between states: two of them in one process know
** nothing of each other.
*/

#ifndef uring_state_h
#define uring_state_h

#include "compat.h"
#include "base/handle.h"
#include "lua/pressure.h"

#include <lua.h>
#include <lauxlib.h>

#include <stdbool.h>
#include <stdint.h>

enum class {
  CLASS_RING, CLASS_SQE, CLASS_OPERATION, CLASS_BUFFER, CLASS_FD, CLASS_REF,
  CLASS_TASK, CLASS_LOOP, CLASS_SOCKADDR, CLASS_MSGHDR, CLASS_BUF_RING,
  CLASS_LEASE, CLASS_SOCKET, CLASS_READER, CLASS_CANCEL_SCOPE, CLASS_SCOPE,
  CLASS_EAR, CLASS_EVENT, CLASS_WRAPPED,
  CLASSES
};

/* The user values: a metatable a class, and then these. */
enum shared {
  SHARED_CANCELLED = CLASSES + 1,  /* the value uring.cancelled */
  SHARED_CANCEL_SCOPES,     /* all scopes that are open: region.h */
  SHARED_NAMES,       /* weak: task -> its name */
  SHARED_REASONS,     /* weak: task -> why it was cancelled by itself */
  SHARED_BODY,        /* the function under every task's own */
  SHARED_NOTER,       /* its message handler, and that of scopes */
  SHARED_NOTES,       /* weak: coroutine -> its last error: task.c */
  SHARED_NOTHING,     /* a function that a pending debug hook runs in */
  SHARED_START,       /* the functions that uring.run protects */
  SHARED_RUN,
  SHARED_YIELDED,     /* outcomes of tasks that cannot make their own */
  SHARED_BROKEN,
  SHARED_STARVED,
  SHARED_SAID,        /* what Lua says where it must not allocate: run.c */
  SHARED_EXPLAIN,     /* what makes better ones, if there is memory */
  SHARED_CHAINS,      /* task's address -> the chain that it waits for */
  SHARED_COMPLETION,  /* what wait_cqe calls what it has taken */
  SHARED_MESSAGE,
  SHARED_HOME,        /* where the library's Lua files are */
  SHARED_ON_SLOW,     /* the watchdog's function */
  SHARED_USUAL_ON_SLOW,  /* the same, of runs that say nothing */
  SHARED_REPORT,      /* what calls it */
  SHARED_LOOP,        /* the loop object, which keeps the loop's ring */
  SHARED_POOLS,       /* size -> the buffers that the loop's sockets share */
  SHARED_END
};

struct loop;
struct ring;
struct ring_callbacks;
struct socket_waitq;

struct state {
  const void *meta[CLASSES];
  struct ring *rings;
  const struct ring_callbacks *callbacks;  /* the loop's */
  struct loop *loop;
  struct socket_waitq *waitqs;
  struct handles handles;          /* whose number is whose */
  int64_t close_left, closed_at;   /* for rings that are collected */
  struct pressure pressure;
};

/* Only in functions of the library. */
#define state_of(L) \
  ((struct state *)lua_touserdata((L), lua_upvalueindex(1)))
#define state_shared(L, which) \
  ((void)lua_getiuservalue((L), lua_upvalueindex(1), (which)))

/* The state in functions that do not have it as upvalue; or NULL. */
struct state *state_get (lua_State *L);

/* Push the state's userdata; or false and nothing: it has none yet. */
bool state_push (lua_State *L);

/* Push a new one, which becomes the state's when all of it is made; if that
** has got one meanwhile, by a finalizer, it takes this one's place on the
** stack. */
void state_new (lua_State *L);
void state_keep (lua_State *L);

/* Make a class: methods, metamethods, its name for messages. Functions get
** the state, which is on top of the stack, as their upvalue. If `index` is
** given it is called for what is not a method. */
void class_define (lua_State *L, enum class c, const luaL_Reg *methods,
                   const luaL_Reg *meta, lua_CFunction index);

/* Give the class on more methods: those of a higher room. */
void class_extend (lua_State *L, enum class c, const luaL_Reg *methods);

/* Put the methods of all classes under their class's name into the table of
** loaded modules. There lauxlib looks for the name of a function that was not
** called by one, as pcall and uring.spawn do: "uring.Socket.accept". */
void class_names (lua_State *L);

/* A new object of class `c`, zeroed, on top; `uservalues` of them. Its
** finalizer may run from now on: an all-zero object must be a closed one. */
void *class_new (lua_State *L, enum class c, size_t size, int uservalues);

/* The object of class `c` at `arg`, or NULL for anything else. */
static inline void *class_at (lua_State *L, const struct state *s, int arg,
                              enum class c) {
  const void *meta;
  if (lua_type(L, arg) != LUA_TUSERDATA || !lua_getmetatable(L, arg))
    return NULL;
  meta = lua_topointer(L, -1);
  lua_pop(L, 1);
  return meta == s->meta[c] ? lua_touserdata(L, arg) : NULL;
}

void *class_test (lua_State *L, int arg, enum class c);
void *class_check (lua_State *L, int arg, enum class c);
const char *class_name (enum class c);

#endif
