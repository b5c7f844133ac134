/*
** args: reading the arguments that many functions take. Each raises with the
** argument's number and what was expected. A string of digits is no number.
*/

#ifndef uring_args_h
#define uring_args_h

#include "compat.h"

#include <lua.h>
#include <lauxlib.h>

/* An integer within bounds, or `otherwise` where there is none. */
lua_Integer arg_integer (lua_State *L, int arg, lua_Integer min,
                         lua_Integer max);
lua_Integer arg_optional (lua_State *L, int arg, lua_Integer otherwise,
                          lua_Integer min, lua_Integer max);

/* Sets of flags, and 64 bits of any kind; 0 where there is none. */
uint32_t arg_flags (lua_State *L, int arg);
uint64_t arg_bits64 (lua_State *L, int arg);

/* A length as the kernel's messages have it: 32 bits, signed or not. */
uint32_t arg_len32 (lua_State *L, int arg);

/* A slot of a file table, or IORING_FILE_INDEX_ALLOC. */
unsigned arg_slot (lua_State *L, int arg);

/* Seconds, as nanoseconds: CLOCK_NEVER for nil and for math.huge. */
int64_t arg_seconds (lua_State *L, int arg);

/* The same for a duration that has to be there. */
int64_t arg_duration (lua_State *L, int arg);

#endif
