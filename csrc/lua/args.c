/*
** args: argument checks. A value out of bounds must raise here: callers cast
** the result to narrower types.
*/

#include "lua/args.h"

#include "base/clock.h"

#include <string.h>

#define isinside(n, min, max)  ((n) >= (min) && (n) <= (max))


const char *arg_typename (lua_State *L, int index) {
  int type = luaL_getmetafield(L, index, "__name");
  if (type == LUA_TSTRING)
    return lua_tostring(L, -1);
  if (type != LUA_TNIL) lua_pop(L, 1);
  return luaL_typename(L, index);
}

static lua_Integer bad_integer (lua_State *L, int arg, lua_Integer min,
                                lua_Integer max) {
  const char *got = lua_type(L, arg) == LUA_TNUMBER
                    ? luaL_tolstring(L, arg, NULL) : arg_typename(L, arg);
  return luaL_argerror(L, arg, lua_pushfstring(L,
           "integer from %I to %I expected, got %s", (LUAI_UACINT)min,
           (LUAI_UACINT)max, got));
}

lua_Integer arg_integer (lua_State *L, int arg, lua_Integer min,
                         lua_Integer max) {
  int ok = 0;
  lua_Integer n = 0;
  if (lua_type(L, arg) == LUA_TNUMBER)
    n = lua_tointegerx(L, arg, &ok);
  if (!ok || !isinside(n, min, max))
    return bad_integer(L, arg, min, max);
  return n;
}

lua_Integer arg_optional (lua_State *L, int arg, lua_Integer otherwise,
                          lua_Integer min, lua_Integer max) {
  return lua_isnoneornil(L, arg) ? otherwise
                                 : arg_integer(L, arg, min, max);
}

uint32_t arg_flags (lua_State *L, int arg) {
  return (uint32_t)arg_optional(L, arg, 0, 0, UINT32_MAX);
}

unsigned arg_slot (lua_State *L, int arg) {
  lua_Integer n = arg_integer(L, arg, 0, UINT32_MAX);
  if (n > INT32_MAX && n != (lua_Integer)IORING_FILE_INDEX_ALLOC)
    luaL_argerror(L, arg, "file slot expected: 0 to 2147483647, or "
                  "IORING_FILE_INDEX_ALLOC");
  return (unsigned)n;
}

/* What is wrong with these seconds, pushed; or NULL. */
static const char *seconds_problem (lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TNUMBER)
    return lua_pushfstring(L, "seconds expected, got %s",
                           arg_typename(L, index));
  if (!(lua_tonumber(L, index) >= 0))  /* (NaN too) */
    return lua_pushfstring(L, "seconds must be 0 or more, got %s",
                           luaL_tolstring(L, index, NULL));
  return NULL;
}

int64_t arg_duration (lua_State *L, int arg) {
  const char *problem = seconds_problem(L, arg);
  lua_Number s;
  if (problem)
    luaL_argerror(L, arg, problem);
  s = lua_tonumber(L, arg);
  if (s >= 9.2e9)  /* beyond what nanoseconds can count */
    return CLOCK_NEVER;
  return (int64_t)(s * 1e9);
}

size_t arg_count (lua_State *L, int arg, const char *expected) {
  int is_integer = 0;
  lua_Integer n = lua_type(L, arg) == LUA_TNUMBER
                  ? lua_tointegerx(L, arg, &is_integer) : 0;
  luaL_argcheck(L, is_integer && n >= 0 && n < (lua_Integer)1 << 31, arg,
                expected);
  return (size_t)n;
}

int64_t arg_seconds (lua_State *L, int arg) {
  return lua_isnoneornil(L, arg) ? CLOCK_NEVER : arg_duration(L, arg);
}


/* ---- for the functions of lua/uring ------------------------------------ */

/* Each is called as f(value, n, name) by the function `name`, whose argument n
** the value is, and raises with the line of that function's caller. */

static int bad_argument (lua_State *L, const char *problem) {
  luaL_where(L, 2);
  lua_pushfstring(L, "bad argument #%d to '%s' (%s)",
                  (int)lua_tointeger(L, 2), lua_tostring(L, 3), problem);
  lua_concat(L, 2);
  return lua_error(L);
}

static int check_seconds (lua_State *L) {
  const char *problem = seconds_problem(L, 1);
  return problem ? bad_argument(L, problem) : 0;
}

static int check_timeout (lua_State *L) {
  return lua_isnil(L, 1) ? 0 : check_seconds(L);
}

/* A point in time may be negative. */
static int check_time (lua_State *L) {
  lua_Number n = lua_tonumber(L, 1);
  if (lua_type(L, 1) != LUA_TNUMBER)
    return check_seconds(L);
  return n < 0 || n >= 0 ? 0 : bad_argument(L, "seconds expected, got NaN");
}

static int check_function (lua_State *L) {
  if (lua_isfunction(L, 1))
    return 0;
  return bad_argument(L, lua_pushfstring(L, "function expected, got %s",
    lua_isnil(L, 1) ? "no value" : arg_typename(L, 1)));
}

/* A function, or what has a __call. */
static int is_callable (lua_State *L) {
  lua_pushboolean(L, lua_isfunction(L, 1)
    || luaL_getmetafield(L, 1, "__call") != LUA_TNIL);
  return 1;
}

/* check_path(value, n, name) */
static int check_path (lua_State *L) {
  size_t len;
  const char *s;
  if (lua_type(L, 1) != LUA_TSTRING)
    return bad_argument(L, lua_pushfstring(L, "path expected, got %s",
                                           arg_typename(L, 1)));
  s = lua_tolstring(L, 1, &len);
  return memchr(s, '\0', len) == NULL ? 0
         : bad_argument(L, "path expected, without zero bytes");
}

static int type_name (lua_State *L) {
  lua_pushstring(L, arg_typename(L, 1));
  return 1;
}

void args_functions (lua_State *L) {
  static const luaL_Reg checks[] = {
    {"check_seconds", check_seconds},
    {"check_timeout", check_timeout},
    {"check_time", check_time},
    {"check_function", check_function},
    {"is_callable", is_callable},
    {"check_path", check_path},
    {"typename", type_name},
    {NULL, NULL}
  };
  luaL_setfuncs(L, checks, 0);
}
