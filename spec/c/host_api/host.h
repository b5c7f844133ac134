/*
** host: what the tests of include/uring_lua.h share. Each file of this folder
** has some, in a table that host.c goes through.
*/

#ifndef host_h
#define host_h

#include <uring_lua.h>

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include <stdatomic.h>
#include <stdbool.h>

struct test { const char *name; void (*f) (void); };

/* Each ends with a test without a name. */
extern const struct test values_tests[], steps_tests[], memory_tests[],
                         threads_tests[], calls_tests[], closing_tests[];

extern const struct uring_api *uring;  /* of the state that was made last */
extern _Atomic unsigned broken;        /* checks */
extern _Atomic unsigned released;      /* blocks */

#define CHECK(what) \
  check_one((what) ? true : false, #what, __FILE__, __LINE__)

bool check_one (bool ok, const char *what, const char *file, int line);

/* The functions, as a host finds them; or NULL. */
const struct uring_api *fetch (lua_State *L);

/* Run this code, or end the process. */
int must_run (lua_State *L, const char *code);

/* A state that has loaded uring, but has no loop; and one that has. */
lua_State *new_state_only (void);
lua_State *new_state (void);

/* The box of what the global of this name is; and the other way round. */
uring_box *box_of (lua_State *L, const char *global);
void set_address (lua_State *L, const char *global, uring_box *box);

struct uring_step usual_step (void);

/* Step until there is nothing to do. The error of a task is shown. */
void step (lua_State *L);

lua_Integer global_integer (lua_State *L, const char *name);
bool readable (int fd, int ms);

uring_value integer (int64_t i);
uring_value string (const char *s);

/* A block, which counts when it is released; and how. */
uring_value block (const char *s);
void on_release (void *ud, const void *p, size_t len);

#endif
