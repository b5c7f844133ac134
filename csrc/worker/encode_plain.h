/*
** encode_plain: the cells of values that are no tables, and what an encoder
** (worker/encode.h) knows while it encodes. Private to the encode modules.
**
** A function that returns false has said why: there is no memory, the message
** counts too much, or the value cannot travel.
*/

#ifndef uring_encode_plain_h
#define uring_encode_plain_h

#include "worker/encode.h"
#include "worker/seen.h"

/* A table that the walk is inside of. On the stack are the table and the key
** of the value that is being sent, or nil. */
struct level {
  size_t header;           /* its cell, which is filled in when it is left */
  int table;               /* its stack index */
  bool by_index;           /* its items are fetched by index, not by `next` */
  bool in_pairs;           /* its items were sent */
  bool key_sent;           /* ... and of a pair the key, which is a table */
  lua_Integer items, pairs;  /* so many were sent, the current one included */
  lua_Integer most;        /* items, by index */
};

struct encoder {
  lua_State *L;
  struct encoded *e;
  uint64_t *cells;         /* with the header */
  size_t n, room;          /* in cells */
  uint64_t cost, most;
  uint32_t kinds;          /* that the reader takes */
  unsigned flags;
  int err;                 /* ENOMEM, EMSGSIZE; EINVAL: it cannot travel */
  const char *why;         /* and why not */
  bool unwanted;           /* ... to this reader */
  bool is_key;             /* ... in a table as the key */
  unsigned depth, levels_room;
  struct level *levels, *few;
  struct seen seen;
  char path[120];          /* to what cannot travel */
  char refused[SOCKET_WHY];  /* a socket's `why` */
};

static inline bool encode_plain_is_small (const struct encoder *c) {
  return c->cells == c->e->small;
}

/* It failed: with this errno; because this cannot travel; not to this reader.
** They return false. */
bool encode_plain_stop (struct encoder *c, int err);
bool encode_plain_refuse (struct encoder *c, const char *why);
bool encode_plain_unwanted (struct encoder *c, const char *why);

/* Append a cell, which counts as a value. */
bool encode_plain_cell (struct encoder *c, enum message_kind kind,
                        uint64_t n);

/* Append the value at `index`, which is of this type, and no table. */
bool encode_plain_value (struct encoder *c, int index, int type);

#endif
