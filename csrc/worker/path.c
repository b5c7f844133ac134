/*
** path: writes keys as text, for the message of an error. A long key is cut
** off. What must not break: nothing is pushed, and no metamethod runs.
*/

#include "compat.h"
#include "worker/path.h"

#include <stdbool.h>
#include <stdio.h>


static bool is_identifier (const char *s, size_t len) {
  if (len == 0 || len > 30 || (*s >= '0' && *s <= '9'))
    return false;
  for (size_t i = 0; i < len; i++)
    if (!(s[i] == '_' || (s[i] >= '0' && s[i] <= '9')
          || (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z')))
      return false;
  return true;
}

void path_step (lua_State *L, int key, lua_Integer item, char *to,
                size_t size) {
  if (key == 0) snprintf(to, size, "[%lld]", (long long)item);
  else if (lua_isinteger(L, key))
    snprintf(to, size, "[%lld]", (long long)lua_tointeger(L, key));
  else if (lua_type(L, key) == LUA_TNUMBER)
    snprintf(to, size, "[%.14g]", (double)lua_tonumber(L, key));
  else if (lua_type(L, key) == LUA_TBOOLEAN)
    snprintf(to, size, "[%s]", lua_toboolean(L, key) ? "true" : "false");
  else if (lua_type(L, key) != LUA_TSTRING)
    snprintf(to, size, "[a %s]", lua_typename(L, lua_type(L, key)));
  else {
    size_t len;
    const char *s = lua_tolstring(L, key, &len);
    if (is_identifier(s, len)) snprintf(to, size, ".%s", s);
    else snprintf(to, size, "[\"%.20s\"%s]", s, len > 20 ? "..." : "");
  }
}
