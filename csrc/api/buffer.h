/*
** buffer: memory that the kernel reads and writes: `uring.buffer(n | s)`.
**
** The bytes lie in a counted block. A prepared SQE and each operation count
** too, so that neither collection nor `lua_close` can pull memory from under
** the kernel. Closing or resizing is refused while an operation holds the
** bytes; after it, an SQE that was prepared with the old bytes is refused
** when it is queued.
*/

#ifndef uring_buffer_h
#define uring_buffer_h

#include "base/refblock.h"
#include "ring/buf_group.h"
#include "lua/state.h"

struct buffer {            /* the userdata */
  struct memory *m;        /* NULL: closed */
};

/* These are its bytes now; the ones that it had are the caller's. */
void buffer_set (lua_State *L, struct buffer *b, struct memory *m);

/* The memory of the buffer at `arg`; raises for anything else. */
struct memory *buffer_check (lua_State *L, int arg);

/* Bytes to be sent or read: a string, a buffer, or a lease. */
struct bytes {
  const unsigned char *at;
  size_t size;
  struct refblock *block;     /* who has them; NULL: a string */
};
struct bytes arg_bytes (lua_State *L, int index, int arg);

/* The same without an error: false if that would be one. */
bool bytes_at (lua_State *L, int index, struct bytes *b);

/* Push from i to j of `size` bytes, as string.sub; i and j are at `arg`. */
void push_part (lua_State *L, const void *at, size_t size, int arg);

int buffer_new (lua_State *L);    /* uring.buffer(size | string) */
void buffer_open (lua_State *L);  /* define the class */

#endif
