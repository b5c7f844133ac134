/*
** options: check and read option tables, by raw access: an option table's
** metamethods must not run between the checks and the reads.
*/

#include "lua/options.h"

#include "base/nearest.h"
#include "lua/args.h"

#include <string.h>


/* Each of these is told what is wrong: a text, pushed; or NULL. */

static const char *unknown_option (lua_State *L, const char *key,
                                   const char *const *names) {
  struct nearest near;
  luaL_Buffer b;
  nearest_begin(&near, key);
  for (const char *const *n = names; *n; n++) nearest_offer(&near, *n);
  if (near.name)
    return lua_pushfstring(L, "unknown option '%s': did you mean '%s'?", key,
                           near.name);
  luaL_buffinit(L, &b);
  for (const char *const *n = names; *n; n++) {
    if (n != names) luaL_addstring(&b, ", ");
    luaL_addstring(&b, *n);
  }
  luaL_pushresult(&b);
  return lua_pushfstring(L, "unknown option '%s': the options are %s", key,
                         lua_tostring(L, -1));
}

/* Of the key on top, in a table that has `array` values beside its options. */
static const char *key_problem (lua_State *L, const char *const *names,
                                lua_Integer array) {
  const char *key;
  lua_Integer i = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
  if (i >= 1 && i <= array)
    return NULL;
  if (array > 0 && lua_type(L, -1) == LUA_TNUMBER)
    return lua_pushfstring(L, "an array of %I has no '%s'",
                           (LUAI_UACINT)array, luaL_tolstring(L, -1, NULL));
  if (lua_type(L, -1) != LUA_TSTRING)
    return lua_pushfstring(L, "options have names, this has a key that is a "
                           "%s", luaL_typename(L, -1));
  key = lua_tostring(L, -1);
  for (const char *const *n = names; *n; n++)
    if (strcmp(*n, key) == 0 && strlen(*n) == lua_rawlen(L, -1))
      return NULL;
  return unknown_option(L, key, names);
}

static const char *names_problem (lua_State *L, int arg,
                                  const char *const *names,
                                  lua_Integer array) {
  lua_pushnil(L);
  while (lua_next(L, arg)) {
    const char *problem;
    lua_pop(L, 1);
    if ((problem = key_problem(L, names, array)) != NULL)
      return problem;
  }
  return NULL;
}

/* The value on top is the option's, and not nil. */

const char *options_got (lua_State *L) {
  return lua_type(L, -1) == LUA_TNUMBER ? luaL_tolstring(L, -1, NULL)
                                        : arg_typename(L, -1);
}

static const char *type_problem (lua_State *L, const char *name,
                                 const char *type) {
  if (strcmp(luaL_typename(L, -1), type) == 0)
    return NULL;
  return lua_pushfstring(L, "option '%s' must be a %s, got %s", name, type,
                         arg_typename(L, -1));
}

static const char *integer_problem (lua_State *L, const char *name,
                                    lua_Integer min, lua_Integer max,
                                    lua_Integer *n) {
  int ok = 0;
  if (lua_type(L, -1) == LUA_TNUMBER) *n = lua_tointegerx(L, -1, &ok);
  if (ok && *n >= min && *n <= max)
    return NULL;
  return lua_pushfstring(L, "option '%s' must be an integer from %I to %I, "
           "got %s", name, (LUAI_UACINT)min, (LUAI_UACINT)max, options_got(L));
}

static const char *time_problem (lua_State *L, const char *name) {
  if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) >= 0)
    return NULL;
  return lua_pushfstring(L, "option '%s' must be seconds, a number from 0, "
                         "got %s", name, options_got(L));
}


/* ---- for C ------------------------------------------------------------- */

bool options_open (lua_State *L, int arg, const char *const *names) {
  const char *problem;
  if (lua_isnoneornil(L, arg))
    return false;
  luaL_checktype(L, arg, LUA_TTABLE);
  if ((problem = names_problem(L, arg, names, 0)) != NULL)
    luaL_argerror(L, arg, problem);
  return true;
}

int options_push (lua_State *L, int arg, const char *name) {
  if (!lua_istable(L, arg)) {
    lua_pushnil(L);
    return LUA_TNIL;
  }
  lua_pushstring(L, name);
  return lua_rawget(L, arg);
}

bool options_given (lua_State *L, int arg, const char *name) {
  bool given = options_push(L, arg, name) != LUA_TNIL;
  lua_pop(L, 1);
  return given;
}

bool options_boolean (lua_State *L, int arg, const char *name) {
  bool value;
  const char *problem;
  if (options_push(L, arg, name) != LUA_TNIL
      && (problem = type_problem(L, name, "boolean")) != NULL)
    luaL_argerror(L, arg, problem);
  value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

lua_Integer options_integer (lua_State *L, int arg, const char *name,
                             lua_Integer otherwise, lua_Integer min,
                             lua_Integer max) {
  lua_Integer n = otherwise;
  const char *problem;
  if (options_push(L, arg, name) != LUA_TNIL
      && (problem = integer_problem(L, name, min, max, &n)) != NULL)
    luaL_argerror(L, arg, problem);
  lua_pop(L, 1);
  return n;
}

int64_t options_seconds (lua_State *L, int arg, const char *name) {
  int64_t ns;
  const char *problem;
  if (options_push(L, arg, name) != LUA_TNIL
      && (problem = time_problem(L, name)) != NULL)
    luaL_argerror(L, arg, problem);
  ns = arg_seconds(L, lua_gettop(L));
  lua_pop(L, 1);
  return ns;
}


/* ---- for the functions of lua/uring ------------------------------------ */

#define OPTIONS 1
#define FIELDS 2           /* see lua/uring/argument.lua */
#define NAMES 3
#define COPY 4

static lua_Integer bound (lua_State *L, int field, int i) {
  lua_Integer n;
  lua_rawgeti(L, field, i);
  n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

/* Copy the value of a field, { name, type [, least, most] }, the last on the
** stack. What is wrong with it; or NULL. */
static const char *copy_option (lua_State *L, const char *name) {
  int field = lua_gettop(L);
  lua_Integer n;
  const char *type, *problem = NULL;
  lua_rawgeti(L, field, 2);
  type = lua_tostring(L, -1);
  if (options_push(L, OPTIONS, name) == LUA_TNIL)
    return NULL;
  if (strcmp(type, "integer") == 0) {
    problem = integer_problem(L, name, bound(L, field, 3), bound(L, field, 4),
                              &n);
    if (problem == NULL) lua_pushinteger(L, n);
  }
  else if (strcmp(type, "seconds") == 0) problem = time_problem(L, name);
  else if (strcmp(type, "any") != 0) problem = type_problem(L, name, type);
  if (problem == NULL) lua_setfield(L, COPY, name);
  return problem;
}

/* The names of the fields, which keep them. */
static const char *const *push_names (lua_State *L, int n) {
  const char **names = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof(*names),
                                         0);
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, FIELDS, i + 1);
    lua_rawgeti(L, -1, 1);
    names[i] = lua_tostring(L, -1);
    lua_pop(L, 2);
  }
  names[n] = NULL;
  return names;
}

static const char *copy_options (lua_State *L, const char *const *names,
                                 lua_Integer array) {
  const char *problem = names_problem(L, OPTIONS, names, array);
  for (int i = 0; names[i] && problem == NULL; i++) {
    lua_settop(L, COPY);
    lua_rawgeti(L, FIELDS, i + 1);
    problem = copy_option(L, names[i]);
  }
  for (lua_Integer i = 1; i <= array && problem == NULL; i++) {
    lua_rawgeti(L, OPTIONS, i);
    lua_rawseti(L, COPY, i);
  }
  return problem;
}

/* read_options(options, fields): a plain table of them; or nil, and what is
** wrong with them */
static int read_plain (lua_State *L) {
  const char *const *names;
  const char *problem = NULL;
  int n;
  lua_settop(L, FIELDS);
  n = (int)lua_rawlen(L, FIELDS);
  names = push_names(L, n);
  lua_createtable(L, 0, n);
  lua_pushliteral(L, "array");
  if (lua_istable(L, OPTIONS))
    problem = copy_options(L, names, lua_rawget(L, FIELDS) == LUA_TNIL ? 0
                           : (lua_Integer)lua_rawlen(L, OPTIONS));
  else if (!lua_isnil(L, OPTIONS))
    problem = lua_pushfstring(L, "table expected, got %s",
                              arg_typename(L, OPTIONS));
  if (problem) {
    lua_pushnil(L);
    lua_pushstring(L, problem);
    return 2;
  }
  lua_settop(L, COPY);
  return 1;
}

void options_functions (lua_State *L) {
  lua_pushcfunction(L, read_plain);
  lua_setfield(L, -2, "read_options");
}
