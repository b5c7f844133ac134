/*
** buffer: memory that the kernel reads and writes: `uring.buffer(n | s)`.
**
** The bytes are in a reference-counted block. A prepared SQE and each
** operation count it too, so neither collection nor `lua_close` frees memory
** that the kernel uses. Close and resize raise while an operation is in flight
** on the bytes; after them, an SQE that was prepared with the old bytes is
** refused when it is queued.
**
** The bytes may move to another state, in a message, if no operation in flight
** and no ring uses them. SQEs and msghdrs that were prepared with them before
** are refused from then on: they know how often the bytes had moved
** (`refblock.moves`). As long as that message waits to be sent they are lent:
** `loan` is a record that the message counts too. It tells the object whether
** they were sent, or are its own again. All of that is on the object's thread.
*/

#ifndef uring_buffer_h
#define uring_buffer_h

#include "base/refblock.h"
#include "lua/state.h"

struct buffer_loan {
  struct refblock block;
  struct memory *m;        /* given back, and not taken yet */
  enum { LOAN_OUT, LOAN_BACK, LOAN_SENT } is;
};

struct buffer {            /* the userdata */
  struct memory *m;        /* NULL: closed, lent or sent away */
  struct buffer_loan *loan;  /* counted; NULL: none */
  size_t counted;          /* their size, as the collector knows it */
  bool sent;               /* away, in a message */
};

/* Give it these bytes and their count. The count of those that it had becomes
** the caller's. */
void buffer_set (lua_State *L, struct buffer *b, struct memory *m);

/* The memory of the open buffer at `arg`; raises for any other value. */
struct memory *buffer_check (lua_State *L, int arg);

/* May its bytes be moved? NULL; or why not. */
const char *buffer_cannot_move (lua_State *L, struct buffer *b);

/* They are put into a message. Then they were sent (and their reader may have
** freed them by now); or they stay. */
static inline void buffer_move (struct buffer *b) {
  atomic_fetch_add(&b->m->block.moves, 1);
}
static inline void buffer_stay (struct buffer *b) {
  atomic_fetch_sub(&b->m->block.moves, 1);
}
void buffer_sent (lua_State *L, struct buffer *b);

/* A loan, counted for the caller; NULL: no memory. Take the bytes for
** a message that waits; say what has become of it: they were sent, or they are
** given back, with their count. */
struct buffer_loan *buffer_loan_new (void);
void buffer_lend (lua_State *L, struct buffer *b, struct buffer_loan *l);
static inline void buffer_loan_sent (struct buffer_loan *l) {
  l->is = LOAN_SENT;
}
static inline void buffer_loan_back (struct buffer_loan *l, struct memory *m) {
  l->is = LOAN_BACK;
  l->m = m;
  atomic_fetch_sub(&m->block.moves, 1);
}

/* Push a new object without bytes; and give it these, which were another
** state's, with their count. */
struct buffer *buffer_push (lua_State *L);
void buffer_adopt (lua_State *L, struct buffer *b, struct memory *m);

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

int buffer_new (lua_State *L);    /* uring.buffer(size | string
                                    [, alignment]) */
void buffer_open (lua_State *L);  /* define the class */

#endif
