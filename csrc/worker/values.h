/*
** values: C's values (include/uring_lua.h) to a message, and a message to C's
** values. (No Lua in it.)
**
** To encode takes nothing from the caller: descriptors and blocks are in the
** message and in the caller's values, until the message was posted. Then they
** are the message's; if it was refused it is freed without being disposed of.
**
** To decode copies the message, so that the reader may keep it. Its
** descriptors and blocks are the copy's from then on. Of a call the slot for
** the answer is none of its values.
*/

#ifndef uring_values_h
#define uring_values_h

#include "worker/message.h"

#include <uring_lua.h>

struct call;

/* What a message must be. */
struct values_limits {
  uint64_t bytes;          /* it counts at most so many */
  uint32_t kinds;          /* of its values */
};

/* Encode `n` values: 0; -EINVAL, -EMSGSIZE, -ENOMEM. The message is in
** `small`, if it is no larger than that; else malloc's. */
int values_encode (const uring_value *values, uint32_t n,
                   const struct values_limits *limits,
                   void *small, size_t size, struct message **m);

/* A copy of a message that is sound; of a monitor's token. NULL: no memory. */
struct uring_message *values_decode (const struct message *m);
struct uring_message *values_closed (int64_t token);

/* The call that is to be answered; NULL: it is none, was answered, or is
** another process's. And it was answered: without an answer it is lost. */
struct call *values_call (const struct uring_message *m);
void values_answered (struct uring_message *m);

/* All of them, those in arrays and tables included, are one array: the
** message's first `n` come first. A table that is met again has the items of
** the first one. */
uring_value *values_of (struct uring_message *m, uint32_t *n);

/* Dispose of all descriptors and blocks that the reader has not kept. A call
** that was not answered is lost. */
void values_free (struct uring_message *m);

/* The kinds of a message's values that are of these types of C's: a set. */
uint32_t values_kinds (uint32_t types);

#endif
