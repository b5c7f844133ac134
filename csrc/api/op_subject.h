/*
** subject: what a request names beside a descriptor, a path or an address, so
** that the words for its failure can say it.
**
** The request's memory goes with its last completion, before there are words.
** So a wait keeps the subject as a Lua string, taken before the request is
** queued: a path as it is, an address as its bytes.
*/

#ifndef uring_op_subject_h
#define uring_op_subject_h

#include "ring/op_table.h"

#include <lua.h>

/* Does a request of this opcode have one, or may it? */
bool op_subject_possible (unsigned opcode);

/* Push the request's: a string, or nil. May raise for want of memory. */
void op_subject_push (lua_State *L, const struct request *q);

/* The words for the subject at `index`, pushed; or NULL and nil if there is
** none. */
const char *op_subject_describe (lua_State *L, unsigned opcode, int index);

#endif
