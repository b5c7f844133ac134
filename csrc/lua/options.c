/*
** options: check and read option tables, by raw access: an option table's
** metamethods must not run between the checks and the reads.
*/

#include "lua/options.h"

#include "base/clock.h"
#include "lua/args.h"

#include "base/nearest.h"

#include <string.h>


static int unknown_option (lua_State *L, int arg, const char *key,
                           const char *const *names) {
  struct nearest near;
  luaL_Buffer b;
  nearest_begin(&near, key);
  for (const char *const *n = names; *n; n++) nearest_offer(&near, *n);
  if (near.name)
    return luaL_argerror(L, arg, lua_pushfstring(L,
             "unknown option '%s': did you mean '%s'?", key, near.name));
  luaL_buffinit(L, &b);
  for (const char *const *n = names; *n; n++) {
    if (n != names) luaL_addstring(&b, ", ");
    luaL_addstring(&b, *n);
  }
  luaL_pushresult(&b);
  return luaL_argerror(L, arg, lua_pushfstring(L,
           "unknown option '%s': the options are %s", key,
           lua_tostring(L, -1)));
}

bool options_open (lua_State *L, int arg, const char *const *names) {
  if (lua_isnoneornil(L, arg))
    return false;
  luaL_checktype(L, arg, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, arg)) {
    const char *const *n = names;
    const char *key;
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING) {
      luaL_argerror(L, arg, lua_pushfstring(L,
        "options have names, this has a key that is a %s",
        luaL_typename(L, -1)));
    }
    key = lua_tostring(L, -1);
    while (*n && (strcmp(*n, key) != 0 || strlen(*n) != lua_rawlen(L, -1)))
      n++;
    if (*n == NULL)
      unknown_option(L, arg, key, names);
  }
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
  if (options_push(L, arg, name) != LUA_TNIL && !lua_isboolean(L, -1))
    luaL_argerror(L, arg, lua_pushfstring(L,
      "option '%s' must be a boolean, got %s", name, luaL_typename(L, -1)));
  value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

lua_Integer options_integer (lua_State *L, int arg, const char *name,
                             lua_Integer otherwise, lua_Integer min,
                             lua_Integer max) {
  lua_Integer n = otherwise;
  int ok = 1;
  if (options_push(L, arg, name) != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TNUMBER) ok = 0;
    else n = lua_tointegerx(L, -1, &ok);
    if (!ok || n < min || n > max) {
      luaL_argerror(L, arg, lua_pushfstring(L,
        "option '%s' must be an integer from %I to %I, got %s", name,
        (LUAI_UACINT)min, (LUAI_UACINT)max, luaL_tolstring(L, -1, NULL)));
    }
  }
  lua_pop(L, 1);
  return n;
}

int64_t options_seconds (lua_State *L, int arg, const char *name) {
  int64_t ns;
  if (!lua_istable(L, arg))
    return CLOCK_NEVER;
  lua_pushstring(L, name);
  if (lua_rawget(L, arg) != LUA_TNIL
      && (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0)))
    luaL_argerror(L, arg, lua_pushfstring(L,
      "option '%s' must be seconds, a number from 0, got %s", name,
      luaL_tolstring(L, -1, NULL)));
  ns = arg_seconds(L, lua_gettop(L));
  lua_pop(L, 1);
  return ns;
}
