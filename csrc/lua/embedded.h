/*
** embedded: the library's Lua files, as they are in the module.
**
** `require "uring"` by the installed files needs `package` and a file system.
** A host whose states have neither calls luaopen_uring, which runs the same
** files from here. tools/embed.sh makes the table from lua/ in every build, so
** the two cannot differ.
**
** The files run in an environment of their own: the functions of the base
** library that the state has at that time, fresh tables of the functions of
** string, table and math, and a `require` for one another. It is in no table
** that a script can reach. So nothing that a script does to its globals,
** before or after, changes what the library calls; and a state needs no
** library but the base.
**
** The code of a file that one state has compiled is kept for the next ones.
*/

#ifndef uring_embedded_h
#define uring_embedded_h

#include <lua.h>

#include <stddef.h>

/* How the names of the embedded chunks begin: no file has such a name. */
#define EMBEDDED  "=[uring]"

struct embedded_file {
  const char *name, *chunk;    /* "uring.scope", "=[uring]/scope.lua" */
  const unsigned char *text;
  size_t size;
};

extern const struct embedded_file embedded_files[];  /* name NULL: the end */

/* Replace the table of uring.core, on the top, by what lua/uring.lua returns.
** Nothing else of the state changes; if it raises, nothing does. */
void embedded_open (lua_State *L);

#endif
