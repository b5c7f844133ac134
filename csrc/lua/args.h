/*
** args: read arguments of common kinds. Each function raises with the
** argument's number and with what was expected. A string of digits is not
** accepted as a number.
*/

#ifndef uring_args_h
#define uring_args_h

#include "compat.h"

#include <lua.h>
#include <lauxlib.h>

/* What an error says of a value that it did not expect: the name of its class,
** or of its type. It may be pushed. */
const char *arg_typename (lua_State *L, int index);

/* An integer within bounds; `otherwise` if the optional one is nil or none. */
lua_Integer arg_integer (lua_State *L, int arg, lua_Integer min,
                         lua_Integer max);
lua_Integer arg_optional (lua_State *L, int arg, lua_Integer otherwise,
                          lua_Integer min, lua_Integer max);

/* A set of flags; 0 if nil or absent. */
uint32_t arg_flags (lua_State *L, int arg);

/* A slot of the ring's file table, or IORING_FILE_INDEX_ALLOC: one that the
** kernel picks. */
unsigned arg_slot (lua_State *L, int arg);

/* Seconds, as nanoseconds: CLOCK_NEVER if nil, absent or math.huge. */
int64_t arg_seconds (lua_State *L, int arg);

/* The same for a duration that is not optional. */
int64_t arg_duration (lua_State *L, int arg);

/* An argument that counts something: an integer from 0 to 2^31 - 1.
** `expected` says what was. */
size_t arg_count (lua_State *L, int arg, const char *expected);

/* The same checks for the functions of lua/uring, into the table on top. */
void args_functions (lua_State *L);

#endif
