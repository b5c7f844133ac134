/*
** refblock: plain memory blocks, and the list of those leaked on purpose. A
** buried block must stay reachable and is never released: the kernel may
** write to it at any time.
*/

#include "compat.h"
#include "base/refblock.h"

#include <stdlib.h>
#include <string.h>


static void memory_end (struct refblock *b) {
  struct memory *m = (struct memory *)b;
  account_refund(m->account, sizeof(*m) + m->size);
  free(m);
}

static struct memory *memory_make (struct account *a, size_t size,
                                   bool cleared) {
  struct memory *m;
  if (size >= SIZE_MAX - sizeof(*m) - 1
      || !account_charge(a, sizeof(*m) + size))
    return NULL;
  /* calloc: large buffers come as fresh pages, untouched until used */
  m = cleared ? calloc(1, sizeof(*m) + size + 1)
              : malloc(sizeof(*m) + size + 1);
  if (m == NULL) {
    account_refund(a, sizeof(*m) + size);
    return NULL;
  }
  refblock_init(&m->block, memory_end);
  m->account = a;
  m->size = size;
  m->bytes[size] = 0;
  return m;
}

struct memory *memory_new (struct account *a, size_t size, const void *from) {
  struct memory *m = memory_make(a, size, from == NULL);
  if (m && from) memcpy(m->bytes, from, size);
  return m;
}

struct memory *memory_to_fill (struct account *a, size_t size) {
  return memory_make(a, size, false);
}

void memory_adopt (struct memory *m, struct account *a) {
  size_t charge = sizeof(*m) + m->size;
  account_count(a, charge);
  account_refund(m->account, charge);
  m->account = a;
}

size_t memory_alone (struct refblock *b) {
  return b->end == memory_end && refblock_owners(b) == 1
         ? ((struct memory *)b)->size : 0;
}


/* A list that only grows. Its head is atomic: rings of several threads may
** close at the same time. */
static struct refblock *_Atomic first_buried;
static atomic_ulong nburied;

void refblock_bury (struct refblock *b) {
  /* a block is listed once: a second count is leaked by not releasing it */
  if (b->next_buried == NULL) {
    struct refblock *first = atomic_load(&first_buried);
    do {
      b->next_buried = first ? first : b;  /* (the last one links to itself) */
    } while (!atomic_compare_exchange_weak(&first_buried, &first, b));
  }
  atomic_fetch_add(&nburied, 1);
}

unsigned long refblocks_buried (void) {
  return atomic_load(&nburied);
}
