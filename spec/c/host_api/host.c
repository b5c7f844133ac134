/*
** host_api: a host in C that uses include/uring_lua.h: spec/c_api_spec.lua
** builds it, and runs it once for each test. It says "passed", or what was
** wrong.
*/

#include "host.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Atomic unsigned broken;

bool check_one (bool ok, const char *what, const char *file, int line) {
  if (!ok) {
    atomic_fetch_add(&broken, 1);
    printf("%s:%d: false: %s\n", file, line, what);
  }
  return ok;
}

const struct uring_api *uring;


/* ---- states ------------------------------------------------------------ */

const struct uring_api *fetch (lua_State *L) {
  const struct uring_api *api;
  lua_getfield(L, LUA_REGISTRYINDEX, URING_LUA_KEY);
  api = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return api;
}

int must_run (lua_State *L, const char *code) {
  if (luaL_loadstring(L, code) != LUA_OK || lua_pcall(L, 0, 0, 0) != LUA_OK) {
    printf("%s\n", lua_tostring(L, -1));
    exit(1);
  }
  return 0;
}

/* A state that has loaded uring, but has no loop. */
lua_State *new_state_only (void) {
  lua_State *L = luaL_newstate();
  if (!CHECK(L != NULL)) exit(1);
  luaL_openlibs(L);
  must_run(L, "uring = require 'uring'");
  uring = fetch(L);
  if (!CHECK(uring != NULL && uring->size == sizeof(*uring)
             && uring->version == URING_LUA_VERSION)) exit(1);
  return L;
}

lua_State *new_state (void) {
  lua_State *L = new_state_only();
  if (!CHECK(uring->open(L, NULL) == 0)) exit(1);
  return L;
}

/* The box of what the global of this name is. */
uring_box *box_of (lua_State *L, const char *global) {
  uring_box *box = NULL;
  lua_getglobal(L, global);
  if (!CHECK(uring->to_box(L, -1, &box) == 0)) exit(1);
  lua_pop(L, 1);
  return box;
}

void set_address (lua_State *L, const char *global, uring_box *box) {
  if (!CHECK(uring->push_address(L, box) == 0)) exit(1);
  lua_setglobal(L, global);
}

struct uring_step usual_step (void) {
  struct uring_step s = { .size = sizeof(s), .now = NAN };
  return s;
}

/* Step until there is nothing to do. The error of a task is shown. */
void step (lua_State *L) {
  struct uring_step s = usual_step();
  do {
    int rc = uring->step(L, &s);
    if (!CHECK(rc == 0)) exit(1);
    if (!CHECK(!s.failed)) {
      printf("%s\n", lua_tostring(L, -1));
      exit(1);
    }
  } while (s.more);
}

lua_Integer global_integer (lua_State *L, const char *name) {
  lua_Integer i;
  lua_getglobal(L, name);
  i = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return i;
}

bool readable (int fd, int ms) {
  struct pollfd p = { .fd = fd, .events = POLLIN };
  return poll(&p, 1, ms) == 1;
}


/* ---- values ------------------------------------------------------------ */

uring_value integer (int64_t i) {
  uring_value v = { .type = URING_INTEGER, .u.i = i };
  return v;
}

uring_value string (const char *s) {
  uring_value v = { .type = URING_STRING };
  v.u.s.p = s;
  v.u.s.len = strlen(s);
  return v;
}

_Atomic unsigned released;

void on_release (void *ud, const void *p, size_t len) {
  CHECK(p != NULL && len > 0 && ud == &released);
  atomic_fetch_add(&released, 1);
}

uring_value block (const char *s) {
  uring_value v = string(s);
  v.type = URING_BLOCK;
  v.release = on_release;
  v.ud = &released;
  return v;
}

/* ---- the tests --------------------------------------------------------- */

static const struct test *const all[] = {
  values_tests, steps_tests, memory_tests, threads_tests, calls_tests,
  closing_tests
};

int main (int argc, char **argv) {
  for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
    for (const struct test *t = all[i]; t->name; t++) {
      if (argc == 1)
        puts(t->name);
      else if (strcmp(argv[1], t->name) == 0) {
        t->f();
        if (broken == 0) puts("passed");
        return broken > 0;
      }
    }
  return argc > 1 ? 2 : 0;
}
