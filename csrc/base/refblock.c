#include "compat.h"
#include "base/refblock.h"

#include <stdlib.h>
#include <string.h>


static void memory_end (struct refblock *b) {
  free(b);
}

struct memory *memory_new (size_t size, const void *from) {
  struct memory *m;
  if (size >= SIZE_MAX - sizeof(*m) - 1)
    return NULL;
  /* calloc: large buffers come from fresh pages, which nobody touches yet */
  m = from ? malloc(sizeof(*m) + size + 1) : calloc(1, sizeof(*m) + size + 1);
  if (m == NULL)
    return NULL;
  refblock_init(&m->block, memory_end);
  m->size = size;
  if (from) {
    memcpy(m->bytes, from, size);
    m->bytes[size] = 0;
  }
  return m;
}

size_t memory_alone (struct refblock *b) {
  return b->end == memory_end && atomic_load(&b->refs) == 1
         ? ((struct memory *)b)->size : 0;
}


/* A list that only grows; its links are atomic, for rings of several threads
** may close at the same time. */
static struct refblock *_Atomic graveyard;
static atomic_ulong buried;

void refblock_bury (struct refblock *b) {
  /* one grave a block: a second count is kept by never being released */
  if (b->under == NULL) {
    struct refblock *top = atomic_load(&graveyard);
    do {
      b->under = top ? top : b;  /* the first one lies upon itself */
    } while (!atomic_compare_exchange_weak(&graveyard, &top, b));
  }
  atomic_fetch_add(&buried, 1);
}

unsigned long refblocks_buried (void) {
  return atomic_load(&buried);
}
