/*
** host: a program with a Lua state of its own, which spec/hosts_spec.lua
** builds in several ways. It runs a script, closes the state, and says
** "closed".
**
**   -DARCHIVE   it is linked with build/liburing_lua.a, and preloads it
**   -DCHOSEN    it opens each library that it wants, and so is linked without
**               luaL_openlibs, if its Lua is static
**   -DPLUGIN    it is a shared object, whose function the loader calls:
**   -DLOADER    the program that loads that one, RTLD_LOCAL. With
**               -DPROMOTE=\"liblua5.4.so.0\" the plugin makes the names of
**               its liblua known to all first.
*/

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include <dlfcn.h>
#include <stdio.h>

int host_run (const char *script);
int luaopen_uring (lua_State *L);

#ifdef LOADER

int main (int argc, char **argv) {
  void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  int (*run) (const char *) = NULL;
  if (plugin) *(void **)&run = dlsym(plugin, "host_run");
  if (argc < 3 || run == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  return run(argv[2]);
}

#else

static void open_libraries (lua_State *L) {
#ifdef CHOSEN
  static const luaL_Reg chosen[] = {
    {LUA_GNAME, luaopen_base}, {LUA_LOADLIBNAME, luaopen_package},
    {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table},
    {LUA_IOLIBNAME, luaopen_io}, {LUA_STRLIBNAME, luaopen_string},
    {LUA_MATHLIBNAME, luaopen_math},
  };
  for (size_t i = 0; i < sizeof(chosen) / sizeof(*chosen); i++) {
    luaL_requiref(L, chosen[i].name, chosen[i].func, 1);
    lua_pop(L, 1);
  }
#else
  luaL_openlibs(L);
#endif
}

int host_run (const char *script) {
  lua_State *L;
  int status;
#ifdef PROMOTE
  if (dlopen(PROMOTE, RTLD_NOLOAD | RTLD_GLOBAL | RTLD_NOW) == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
#endif
  if ((L = luaL_newstate()) == NULL)
    return 2;
  open_libraries(L);
#ifdef ARCHIVE
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_uring);
  lua_setfield(L, -2, "uring");
  lua_pop(L, 1);
#endif
  status = luaL_loadfile(L, script);
  if (status == LUA_OK) status = lua_pcall(L, 0, 0, 0);
  if (status != LUA_OK)
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  puts("closed");
  return status == LUA_OK ? 0 : 1;
}

#ifndef PLUGIN
int main (int argc, char **argv) {
  return argc == 2 ? host_run(argv[1]) : 2;
}
#endif

#endif
