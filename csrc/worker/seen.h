/*
** seen: the tables that an encoder has met, and their numbers in the message.
** (No Lua in it.)
**
** The first few are in the caller's memory, and looked for one by one; more
** are in a table of malloc's.
*/

#ifndef uring_seen_h
#define uring_seen_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEEN_FEW 16

struct seen {
  uint32_t count;          /* the next number */
  uint32_t size;           /* of `all`: a power of 2; 0: there is none */
  struct seen_table {
    const void *table;     /* NULL: a free place */
    uint32_t number;
  } *all;
  const void **few;        /* by number */
};

/* None yet, and room for SEEN_FEW in the caller's memory. */
static inline void seen_init (struct seen *s, const void **few) {
  s->count = s->size = 0;
  s->all = NULL;
  s->few = few;
}

/* Its number, if it was added before. */
bool seen_find (const struct seen *s, const void *table, uint32_t *number);

/* Add one: false if out of memory. */
bool seen_add (struct seen *s, const void *table);

void seen_free (struct seen *s);

#endif
