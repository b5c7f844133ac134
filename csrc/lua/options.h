/*
** options: read option tables. A name that is not an option raises, with the
** nearest option as suggestion; so does a value of the wrong type.
*/

#ifndef uring_options_h
#define uring_options_h

#include "compat.h"

#include <lua.h>
#include <lauxlib.h>

#include <stdbool.h>

/* Check that `arg` is nil, or a table with no keys but `names` (a NULL ends
** them). Returns whether it is a table. */
bool options_open (lua_State *L, int arg, const char *const *names);

/* The field's value, between `min` and `max`; `otherwise` if it is nil. */
lua_Integer options_integer (lua_State *L, int arg, const char *name,
                             lua_Integer otherwise, lua_Integer min,
                             lua_Integer max);

/* Seconds, as nanoseconds; CLOCK_NEVER if the field is nil or math.huge. */
int64_t options_seconds (lua_State *L, int arg, const char *name);

/* What the value on top is, for a message that says what was expected. */
const char *options_got (lua_State *L);

/* The field's value; false if it is nil. */
bool options_boolean (lua_State *L, int arg, const char *name);

/* Push the field's value, or nil; returns its type. */
int options_push (lua_State *L, int arg, const char *name);

/* Does the table have the field? */
bool options_given (lua_State *L, int arg, const char *name);

/* The same for the functions of lua/uring, into the table on top. */
void options_functions (lua_State *L);

#endif
