/*
** uring_spec: states as a host has them: bare ones, and many at once. See
** helper.c.
*/

#include "helper.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void helper_bare (lua_State *L, lua_CFunction open) {
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  luaL_requiref(L, "uring", open, 1);
}

static int bare_protected (lua_State *L) {
  helper_bare(L, lua_tocfunction(L, 1));
  return 0;
}

/* A new bare state, with the function of the code on its stack; NULL: then
** its error was pushed onto L. */
static lua_State *new_guest (lua_State *L, lua_CFunction open,
                             const char *code) {
  lua_State *guest = luaL_newstate();
  if (guest == NULL) {
    lua_pushliteral(L, "no memory for a state");
    return NULL;
  }
  lua_pushcfunction(guest, bare_protected);
  lua_pushcfunction(guest, open);
  if (lua_pcall(guest, 1, 0, 0) == LUA_OK
      && luaL_loadstring(guest, code) == LUA_OK)
    return guest;
  lua_pushstring(L, lua_tostring(guest, -1));
  lua_close(guest);
  return NULL;
}

/* Call its function once: NULL, or an error that was pushed onto L. */
static const char *call_guest (lua_State *L, lua_State *guest, int i,
                               int round) {
  lua_pushvalue(guest, 1);
  lua_pushinteger(guest, i);
  lua_pushinteger(guest, round);
  if (lua_pcall(guest, 2, 0, 0) == LUA_OK)
    return NULL;
  lua_pushstring(L, lua_tostring(guest, -1));
  return lua_tostring(L, -1);
}

static void close_guests (lua_State **guests, int n) {
  for (int i = 0; i < n; i += 2) lua_close(guests[i]);
  for (int i = 1; i < n; i += 2) lua_close(guests[i]);
}

/* What waitpid tells of a forked child that closes them. */
static int close_in_child (lua_State **guests, int n) {
  int status = -1;
  pid_t pid = fork();
  if (pid == 0) {
    close_guests(guests, n);
    _exit(0);
  }
  if (pid > 0) waitpid(pid, &status, 0);
  return status;
}

/* states(luaopen_uring, code, n, rounds, fork): n bare states at once. In each
** round each of them calls the code with its number and the round's; they are
** closed in another order than they were made, with `fork` in a child first,
** which has to end well. Raises the first error. */
static int l_states (lua_State *L) {
  lua_CFunction open = lua_tocfunction(L, 1);
  const char *code = luaL_checkstring(L, 2), *error = NULL;
  int n = (int)luaL_checkinteger(L, 3), made = 0;
  int rounds = (int)luaL_checkinteger(L, 4);
  lua_State **guests = calloc((size_t)n, sizeof(*guests));
  if (guests == NULL) return luaL_error(L, "no memory");
  while (made < n && error == NULL) {
    guests[made] = new_guest(L, open, code);
    if (guests[made]) made++;
    else error = lua_tostring(L, -1);
  }
  for (int round = 1; round <= rounds && error == NULL; round++)
    for (int i = 0; i < n && error == NULL; i++)
      error = call_guest(L, guests[i], i + 1, round);
  if (lua_toboolean(L, 5) && error == NULL
      && close_in_child(guests, made) != 0)
    error = lua_pushliteral(L, "the child did not end well");
  close_guests(guests, made);
  free(guests);
  return error ? lua_error(L) : 0;
}

static const luaL_Reg functions[] = {
  {"states", l_states},
  {NULL, NULL}
};

void helper_states_open (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
