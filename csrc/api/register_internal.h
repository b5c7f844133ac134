/*
** register_internal: what the files of the register_ methods share.
*/

#ifndef uring_register_internal_h
#define uring_register_internal_h

#include "ring/ring.h"
#include "lua/errors.h"

/* true; or nil, message, errno where `rc` is negative. */
int register_result (lua_State *L, struct ring *r, int rc, const char *what);

/* The same, but its number instead of true. */
int register_number (lua_State *L, struct ring *r, int rc, const char *what);

/* Read the array of `n` integers at `arg`: the tags of what is registered. */
void register_tags (lua_State *L, int arg, uint64_t *tags, unsigned n);

#endif
