/*
** op_subject: the path or address that a request names besides a descriptor,
** for the message of its failure.
**
** The request's memory is released with its last completion, before the
** message is made. So a wait keeps the subject as a Lua string, which is
** pushed before the request is queued: a path as it is, an address as its
** bytes. Called by waits in task and by operations.
**
** What can never happen: memory is read that the request no longer pins.
*/

#ifndef uring_op_subject_h
#define uring_op_subject_h

#include "ring/op_table.h"

#include <lua.h>

/* May a request of this opcode have a subject? */
bool op_subject_possible (unsigned opcode);

/* Push the request's subject: a string, or nil. Raises for want of memory. */
void op_subject_push (lua_State *L, const struct request *q);

/* Push a description of the subject at `index`; NULL, and nil, if there is
** none. */
const char *op_subject_describe (lua_State *L, unsigned opcode, int index);

#endif
