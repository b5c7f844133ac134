/*
** embedded: run the library's Lua files from the module. What must not break:
** until the last file has run no table of the state knows of any, so that a
** failure leaves nothing half loaded.
*/

#include "compat.h"
#include "lua/embedded.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Not every program has these: liblua.a gives it only what it names itself.
** The module must be loaded all the same. */
#pragma weak luaopen_string
#pragma weak luaopen_table
#pragma weak luaopen_math

/* Upvalues of embedded_require. */
enum { MODULES = 1, ENVIRONMENT };


/* ---- the environment --------------------------------------------------- */

static void copy_base (lua_State *L, int env) {
  static const char *const names[] = {
    "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall",
    "rawequal", "rawget", "rawlen", "rawset", "select", "setmetatable",
    "tonumber", "tostring", "type", "xpcall", NULL
  };
  lua_pushglobaltable(L);
  for (int i = 0; names[i]; i++) {
    lua_pushstring(L, names[i]);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);  /* (a strict table of globals raises) */
    if (!lua_isfunction(L, -1))
      luaL_error(L, "uring needs the function '%s' of the base library, which "
                 "this state lacks: call luaL_requiref(L, \"_G\", "
                 "luaopen_base, 1) first", names[i]);
    lua_rawset(L, env);
  }
  lua_pop(L, 1);
}

/* Push the table that `open` makes. luaopen_string also gives strings
** a metatable, so the state's own is put back. */
static void push_fresh (lua_State *L, lua_CFunction open) {
  int status;
  lua_pushliteral(L, "");
  if (!lua_getmetatable(L, -1)) lua_pushnil(L);
  lua_pushcfunction(L, open);
  status = lua_pcall(L, 0, 1, 0);
  lua_insert(L, -3);
  lua_setmetatable(L, -2);  /* guard: a sandbox may have taken it away */
  lua_pop(L, 1);
  if (status != LUA_OK) lua_error(L);
}

static void set_library (lua_State *L, int env, const char *name,
                         lua_CFunction open) {
  lua_pushstring(L, name);
  if (open) push_fresh(L, open);
  else {
    lua_pushglobaltable(L);
    lua_pushvalue(L, -2);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (!lua_istable(L, -1))
      luaL_error(L, "uring needs luaopen_%s, which this program was linked "
                 "without: link it with -Wl,-u,luaopen_%s, or open that "
                 "library first", name, name);
  }
  lua_rawset(L, env);
}


/* ---- the files --------------------------------------------------------- */

static const struct embedded_file *find_file (const char *name) {
  const struct embedded_file *f = embedded_files;
  while (f->name && strcmp(f->name, name) != 0) f++;
  return f->name ? f : NULL;
}

/*
** To compile all files takes four times as long as all the rest of a state. So
** the first state of the process that has compiled one keeps its code for the
** others, workers above all. Without memory for that they compile it anew.
*/
struct compiled {
  size_t size, room;
  unsigned char code[];
};

#define COMPILED_MOST 64
static struct compiled *_Atomic compiled[COMPILED_MOST];

static int append_compiled (lua_State *L, const void *p, size_t size,
                            void *ud) {
  struct compiled **c = ud, *more = *c;
  (void)L;
  if (more->size + size > more->room) {
    size_t room = (more->size + size) * 2;
    more = realloc(more, sizeof(*more) + room);
    if (more == NULL)
      return 1;
    more->room = room;
    *c = more;
  }
  memcpy(more->code + more->size, p, size);
  more->size += size;
  return 0;
}

/* Keep the code of the function on top. */
static void keep_code (lua_State *L, size_t i) {
  struct compiled *none = NULL, *c = calloc(1, sizeof(*c));
  if (c == NULL || lua_dump(L, append_compiled, &c, 0) != 0
      || !atomic_compare_exchange_strong(&compiled[i], &none, c))
    free(c);
}

/* Push the function of a file: a status of Lua's. */
static int load_embedded (lua_State *L, const struct embedded_file *f) {
  size_t i = (size_t)(f - embedded_files);
  struct compiled *c = i < COMPILED_MOST ? atomic_load(&compiled[i]) : NULL;
  int status;
  if (c)
    return luaL_loadbufferx(L, (const char *)c->code, c->size, f->chunk, "b");
  status = luaL_loadbufferx(L, (const char *)f->text, f->size, f->chunk, "t");
  if (status == LUA_OK && i < COMPILED_MOST) keep_code(L, i);
  return status;
}

/* require(name), for the embedded files */
static int embedded_require (lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct embedded_file *f;
  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, lua_upvalueindex(MODULES)) != LUA_TNIL)
    return 1;
  if ((f = find_file(name)) == NULL)
    return luaL_error(L, "no module '%s' is embedded", name);
  if (load_embedded(L, f) != LUA_OK)
    return lua_error(L);
  lua_pushvalue(L, lua_upvalueindex(ENVIRONMENT));
  lua_setupvalue(L, -2, 1);
  lua_call(L, 0, 1);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, lua_upvalueindex(MODULES));
  return 1;
}

void embedded_open (lua_State *L) {
  int core = lua_gettop(L), modules = core + 1, env = core + 2;
  lua_newtable(L);
  lua_pushliteral(L, "uring.core");
  lua_pushvalue(L, core);
  lua_rawset(L, modules);
  lua_newtable(L);
  copy_base(L, env);
  set_library(L, env, "string", luaopen_string);
  set_library(L, env, "table", luaopen_table);
  set_library(L, env, "math", luaopen_math);
  lua_pushvalue(L, modules);
  lua_pushvalue(L, env);
  lua_pushcclosure(L, embedded_require, 2);
  lua_pushliteral(L, "require");
  lua_pushvalue(L, -2);
  lua_rawset(L, env);
  lua_replace(L, core);
  lua_settop(L, core);
  lua_pushliteral(L, "uring");
  lua_call(L, 1, 1);
}
