/*
** path: a step of the path to a value in tables, as text: ".name", "[3]".
*/

#ifndef uring_path_h
#define uring_path_h

#include <lua.h>

#include <stddef.h>

/* The key at stack index `key`; if that is 0, the integer `item`. Nothing is
** pushed. */
void path_step (lua_State *L, int key, lua_Integer item, char *to,
                size_t size);

#endif
