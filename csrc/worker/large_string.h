/*
** large_string: a large string of a message is not copied: it keeps the memory
** of its message, and frees it when it is collected. (Lua 5.5, which has
** strings in memory that is not its own; before that nothing is done here.)
**
** That is for a string that is more than half of a message which has memory of
** its own; so a message has at most one, and no string keeps much memory that
** it does not use. Until the message was decoded whole it keeps its memory,
** and may be decoded again: a string that was made in vain frees nothing.
**
** The memory counts for the state's account, and drives its collector.
*/

#ifndef uring_large_string_h
#define uring_large_string_h

#include "lua/state.h"
#include "worker/message.h"

#define LARGE_STRING 4096u   /* so large at least */

struct large_string;

/* Push the `len` bytes at `s` in the message: true. They, and what is to be
** said when it was decoded, are in `*large`, which was NULL. False: nothing
** was pushed. Raises if out of memory; may run finalizers. */
bool large_string_push (lua_State *L, const struct message *m, const char *s,
                        size_t len, struct large_string **large);

/* The message was decoded, or not. NULL: it had none. */
void large_string_end (struct large_string *large, struct message *m,
                       bool decoded);

#endif
