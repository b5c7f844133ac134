/*
** buffer: memory that the kernel reads and writes: `uring.buffer(n | s)`.
**
** The bytes are in a reference-counted block. A prepared SQE and each
** operation count it too, so neither collection nor `lua_close` frees memory
** that the kernel uses. Close and resize raise while an operation is in flight
** on the bytes; after them, an SQE that was prepared with the old bytes is
** refused when it is queued.
*/

#ifndef uring_buffer_h
#define uring_buffer_h

#include "base/refblock.h"
#include "lua/state.h"

struct buffer {            /* the userdata */
  struct memory *m;        /* NULL: closed */
};

/* Give it these bytes and their count. The count of those that it had becomes
** the caller's. */
void buffer_set (lua_State *L, struct buffer *b, struct memory *m);

/* The memory of the open buffer at `arg`; raises for any other value. */
struct memory *buffer_check (lua_State *L, int arg);

/* Bytes to send or to read: a string, a buffer, or a lease. */
struct bytes {
  const unsigned char *at;
  size_t size;
  struct refblock *block;     /* their owner; NULL for a string */
};
struct bytes arg_bytes (lua_State *L, int index, int arg);

/* The same, but false instead of raising. */
bool bytes_at (lua_State *L, int index, struct bytes *b);

/* Push bytes i to j of `size`, as string.sub does; i and j are at `arg` and
** `arg + 1`. */
void push_part (lua_State *L, const void *at, size_t size, int arg);

int buffer_new (lua_State *L);    /* uring.buffer(size | string) */
void buffer_open (lua_State *L);  /* define the class */

#endif
