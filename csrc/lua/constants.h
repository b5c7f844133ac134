/*
** constants: the C names of numbers, as fields of the module's table.
**
** It owns one constant table. The room that opens the module calls it, once
** for each state. It knows no ring and enters no kernel.
*/

#ifndef uring_constants_h
#define uring_constants_h

#include "compat.h"

#include <lua.h>

#include <stdbool.h>
#include <stdint.h>

/*
** Set every constant into the table on top of the stack, and a field `errno`
** with a table of all errno names. From then on both raise where they are
** asked for a constant that they do not have. Leaves the stack as it was. May
** raise.
*/
void constants_open (lua_State *L);

/* The value of a constant, by its C name. */
bool constant_find (const char *name, int64_t *value);

#endif
