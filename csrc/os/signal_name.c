/*
** signal_name: the names are the C library's, which has none for real-time
** signals. A name is compared whole: a 0 byte in it ends nothing.
*/

#include "os/signal_name.h"

#include "base/nearest.h"
#include "lua/args.h"

#include <signal.h>
#include <string.h>

const char *signal_name (int number) {
  return sigabbrev_np(number);
}

static int unknown_signal (lua_State *L, int arg, const char *name) {
  struct nearest near;
  nearest_begin(&near, name);
  for (int n = 1; n < NSIG; n++)
    if (signal_name(n)) nearest_offer(&near, signal_name(n));
  if (near.name)
    return luaL_argerror(L, arg, lua_pushfstring(L,
             "no signal '%s': did you mean '%s'?", name, near.name));
  return luaL_argerror(L, arg, lua_pushfstring(L,
           "name of a signal expected, such as \"TERM\", got '%s'", name));
}

int signal_name_check (lua_State *L, int arg) {
  const char *name;
  if (lua_type(L, arg) != LUA_TSTRING)
    return luaL_argerror(L, arg, lua_pushfstring(L,
             "name of a signal expected, such as \"TERM\", got %s",
             arg_typename(L, arg)));
  name = lua_tostring(L, arg);
  if (strncmp(name, "SIG", 3) == 0)
    return luaL_argerror(L, arg, lua_pushfstring(L,
             "no signal '%s': names are without SIG, as '%s'", name,
             name + 3));
  for (int n = 1; n < NSIG; n++) {
    const char *known = signal_name(n);
    if (known && strcmp(known, name) == 0
        && strlen(known) == lua_rawlen(L, arg))
      return n;
  }
  return unknown_signal(L, arg, name);
}
