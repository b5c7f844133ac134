/*
** message: the bytes of a message in a mailbox. (No Lua in it.)
**
** A message is a header and cells of 8 bytes, one after another:
**
**     nil, false, true      a cell with the kind
**     integer, number       a cell with the kind, and one with the value
**     string                a cell with the kind and the length, then the
**                           bytes and at least one 0, up to the next cell
**     descriptor            a cell with the kind and the number
**     array                 a cell with the kind and the number of items;
**                           the items follow: the values of the keys 1 to n
**     table                 a cell with the kind, the number of items, and the
**                           number of pairs; the items follow, and then the
**                           pairs: key, value
**     shared                a cell with the kind and a number: the array or
**                           table once more that was the so manieth, from 0
**     block                 a cell with the kind and the length, then where it
**                           is, what releases it, and an argument of that
**     address               the same, of a queue (no length)
**     ring                  ... of the handle of a ring
**     buffer                ... of a buffer's bytes
**     slot                  ... of a call's record (worker/call.h)
**     socket                ... of a socket's parcel
**
** It has no pointers to itself, so it is copied by its size, and walked from
** cell to cell without recursion. A table that contains itself is one whose
** items have a `shared` cell.
**
** A message owns the descriptors in it, and all from `block` on: they are
** closed and released with it, unless the reader has taken them. Blocks come
** from C alone (include/uring_lua.h). Their release may post messages: no lock
** is held when it is called.
**
** What a message counts as does not depend on this form: 32 bytes, 48 for each
** value, the bytes of strings rounded up to 8, and those of blocks. That is
** never less than what it takes.
*/

#ifndef uring_message_h
#define uring_message_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum message_kind {
  MESSAGE_NIL, MESSAGE_FALSE, MESSAGE_TRUE, MESSAGE_INTEGER, MESSAGE_NUMBER,
  MESSAGE_STRING, MESSAGE_FD, MESSAGE_ARRAY, MESSAGE_TABLE, MESSAGE_SHARED,
  MESSAGE_BLOCK, MESSAGE_ADDRESS, MESSAGE_RING, MESSAGE_BUFFER, MESSAGE_SLOT,
  MESSAGE_SOCKET,
  MESSAGE_KINDS
};

#define MESSAGE_ALL_KINDS UINT32_MAX   /* a set of kinds: 1 << kind */

struct message {
  uint32_t size;           /* with the header: a multiple of 8; 0: the next
                              message is in the next chunk:
                              queue_chunks.h */
  uint16_t fds;            /* descriptors and sockets in it */
  uint8_t n;               /* values on its top level */
  uint8_t flags;
  uint64_t cost;           /* what it counts as, in bytes */
  uint64_t cells[];
};

#define MESSAGE_APART 1    /* the cell is the address of the message */
#define MESSAGE_BUILDS 2   /* strings, arrays, descriptors or blocks are to be
                              made */
#define MESSAGE_OWNS   4   /* there are blocks, addresses, ... in it */
#define MESSAGE_GRAPH  8   /* tables are shared, or in tables this deep: */
#define MESSAGE_DEEP   100
#define MESSAGE_CALL   16  /* the first value is the slot for the answer:
                              worker/call.h */
#define MESSAGE_GIVEN  32  /* its memory is a string's: large_string.h */

#define MESSAGE_VALUES 255         /* on the top level */
#define MESSAGE_LEVELS 8           /* of arrays in arrays, with C */
#define MESSAGE_FDS    64          /* in one message */
#define MESSAGE_COST   32u
#define MESSAGE_COST_OF_VALUE 48u

static inline uint64_t message_cell (enum message_kind kind, uint64_t n) {
  return (uint64_t)kind | n << 8;
}

static inline enum message_kind message_kind (uint64_t cell) {
  return (enum message_kind)(cell & 255);
}

static inline uint64_t message_count (uint64_t cell) {
  return cell >> 8;
}

/* A table's count: of items, and of pairs. A message is too small for more. */
#define MESSAGE_ITEMS 28
static inline uint64_t message_table (uint64_t items, uint64_t pairs) {
  return items | pairs << MESSAGE_ITEMS;
}

static inline uint64_t message_items (uint64_t cell) {
  return message_count(cell) & ((1u << MESSAGE_ITEMS) - 1);
}

static inline uint64_t message_pairs (uint64_t cell) {
  return message_kind(cell) == MESSAGE_TABLE
         ? message_count(cell) >> MESSAGE_ITEMS : 0;
}

/* Cells that a string's bytes take. */
static inline uint64_t message_string_cells (uint64_t len) {
  return len / 8 + 1;
}

/* Cells that the value at this cell takes, without the items of a table. */
static inline uint64_t message_cells (uint64_t cell) {
  switch (message_kind(cell)) {
    case MESSAGE_INTEGER: case MESSAGE_NUMBER: return 2;
    case MESSAGE_STRING: return 1 + message_string_cells(message_count(cell));
    case MESSAGE_BLOCK: case MESSAGE_ADDRESS: case MESSAGE_RING:
    case MESSAGE_BUFFER: case MESSAGE_SLOT: case MESSAGE_SOCKET: return 4;
    default: return 1;
  }
}

static inline uint64_t *message_end (struct message *m) {
  return (uint64_t *)((char *)m + m->size);
}

/* The next descriptor's cell at or after `cell`; NULL: there is none. */
uint64_t *message_next_fd (struct message *m, uint64_t *cell);

struct message_block {
  const void *p;
  size_t len;
  void (*release)(void *ud, const void *p, size_t len);  /* or NULL */
  void *ud;
};

static inline bool message_is_block (uint64_t cell) {
  return message_kind(cell) >= MESSAGE_BLOCK;
}

void message_put_block (uint64_t *cell, enum message_kind kind,
                        const struct message_block *b);

/* What is at this cell, from `block` on; and it is not the message's any
** more. */
struct message_block message_block (const uint64_t *cell);
struct message_block message_take_block (uint64_t *cell);

/* Is it one, whatever bytes there are in its cells? Each value lies within
** it, and nothing is behind them. (Where blocks are it cannot know.) */
bool message_is_sound (const struct message *m);

/* Free its memory, which is malloc's, unless it was given away. */
static inline void message_free (struct message *m) {
  if (m && !(m->flags & MESSAGE_GIVEN)) free(m);
}

/* Close the descriptors in it, and release the rest; once, however often it is
** called. */
void message_dispose (struct message *m);

#endif
