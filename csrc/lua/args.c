/*
** args: argument checks. A value out of bounds must raise here: callers cast
** the result to narrower types.
*/

#include "lua/args.h"

#include "base/clock.h"

#define isinside(n, min, max)  ((n) >= (min) && (n) <= (max))


static lua_Integer bad_integer (lua_State *L, int arg, lua_Integer min,
                                lua_Integer max) {
  const char *got = lua_type(L, arg) == LUA_TNUMBER
                    ? luaL_tolstring(L, arg, NULL) : luaL_typename(L, arg);
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

uint64_t arg_bits64 (lua_State *L, int arg) {
  return (uint64_t)arg_optional(L, arg, 0, LUA_MININTEGER, LUA_MAXINTEGER);
}

uint32_t arg_len32 (lua_State *L, int arg) {
  return (uint32_t)arg_integer(L, arg, INT32_MIN, UINT32_MAX);
}

unsigned arg_slot (lua_State *L, int arg) {
  lua_Integer n = arg_integer(L, arg, 0, UINT32_MAX);
  if (n > INT32_MAX && n != (lua_Integer)IORING_FILE_INDEX_ALLOC)
    luaL_argerror(L, arg, "file slot expected: 0 to 2147483647, or "
                  "IORING_FILE_INDEX_ALLOC");
  return (unsigned)n;
}

int64_t arg_duration (lua_State *L, int arg) {
  lua_Number s = 0;
  if (lua_type(L, arg) != LUA_TNUMBER)
    luaL_argerror(L, arg, lua_pushfstring(L,
      "seconds expected, got %s", luaL_typename(L, arg)));
  s = lua_tonumber(L, arg);
  if (!(s >= 0))  /* (NaN too) */
    luaL_argerror(L, arg, lua_pushfstring(L,
      "seconds must be 0 or more, got %f", (LUAI_UACNUMBER)s));
  if (s >= 9.2e9)  /* more than 64 bits of nanoseconds */
    return CLOCK_NEVER;
  return (int64_t)(s * 1e9);
}

int64_t arg_seconds (lua_State *L, int arg) {
  return lua_isnoneornil(L, arg) ? CLOCK_NEVER : arg_duration(L, arg);
}
