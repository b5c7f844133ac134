/*
** constants: the kernel's and libc's constants by their C names, as fields of
** the module's table.
**
** It owns one constant table. core.c calls it each time the module is opened.
** It uses no ring and makes no system call.
*/

#ifndef uring_constants_h
#define uring_constants_h

#include "compat.h"

#include <lua.h>

#include <stdbool.h>
#include <stdint.h>

/*
** Put every constant into the table on top of the stack, and a field `errno`
** with a table of all errno names. From then on reading an unknown constant
** from either raises. Leaves the stack as it was. May raise.
*/
void constants_open (lua_State *L);

/* The value of a constant by its C name; false if it is unknown. */
bool constant_find (const char *name, int64_t *value);

#endif
