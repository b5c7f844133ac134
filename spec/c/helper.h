/*
** helper.h: what the parts of uring_spec have from each other. See helper.c.
*/

#ifndef uring_spec_helper_h
#define uring_spec_helper_h

#include "compat.h"

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define THREAD "uring_spec.thread"
#define VALUES 16

enum { INTEGER = 100 };

/* A value that has left its state: its type is Lua's, or INTEGER. */
struct value {
  int type;
  union {
    lua_Integer integer;
    lua_Number number;
    struct handle *ref;
    struct { char *at; size_t len; } string;
  } as;
};

/* A thread, and what it has been given and gives. */
struct thread {
  pthread_t id;
  bool running;
  char *code, *path, *cpath;
  size_t len;
  struct value value[VALUES];  /* arguments, then results */
  int n;
  bool ok;
  lua_State *borrowed;         /* in_thread */
  lua_CFunction open;          /* a bare state: it opens the library there */
  lua_State *left;             /* outlived: its state */
  bool leave;
};

/* What is pushed of a call's result: true; of a negative one nil, message,
** errno. */
static inline int result (lua_State *L, int rc) {
  if (rc < 0) {
    luaL_pushfail(L);
    lua_pushstring(L, strerror(-rc));
    lua_pushinteger(L, -rc);
    return 3;
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* A descriptor as an argument: any int at all. */
static inline int check_fd (lua_State *L, int arg) {
  return (int)luaL_checkinteger(L, arg);
}

/* Sleeps for as long, whatever signals come. */
static inline void sleep_for (double seconds) {
  struct timespec ts;
  ts.tv_sec = (time_t)seconds;
  ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
  while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {}
}

/* A class of this name, whose objects are ended by `gc`: its metatable. */
void helper_class (lua_State *L, const char *name, lua_CFunction gc);

/* Starts a thread; `t` is the beginning of the userdata that joins it. */
void helper_start (lua_State *L, struct thread *t, void *(*f)(void *));

/* A state with the base library, and in the global `uring` what `open` gives:
** no package, no string, no other library. To be called protected. */
void helper_bare (lua_State *L, lua_CFunction open);

/* Each part's functions go into the table on the top. */
void helper_threads_open (lua_State *L);
void helper_messages_open (lua_State *L);
void helper_states_open (lua_State *L);
void helper_poll_open (lua_State *L);

#endif
