/*
** refblock: plain memory blocks, and the list of those leaked on purpose. A
** buried block must stay reachable and is never released: the kernel may
** write to it at any time.
*/

#include "compat.h"
#include "base/refblock.h"

#include <stdlib.h>
#include <string.h>


/* What such memory takes, but for its last byte. */
static size_t memory_charge (size_t size, uint32_t align) {
  return sizeof(struct memory) + align + size;
}

static void memory_end (struct refblock *b) {
  struct memory *m = (struct memory *)b;
  account_refund(m->account, memory_charge(m->size, m->align));
  free((char *)m - m->before);
}

static struct memory *memory_make (struct account *a, size_t size,
                                   uint32_t align, bool cleared) {
  size_t charge = memory_charge(size, align), before;
  struct memory *m;
  char *at;
  if (size >= SIZE_MAX - sizeof(*m) - align - 1 || !account_charge(a, charge))
    return NULL;
  /* calloc: large buffers come as fresh pages, untouched until used */
  at = cleared ? calloc(1, charge + 1) : malloc(charge + 1);
  if (at == NULL) {
    account_refund(a, charge);
    return NULL;
  }
  before = align > 0 ? -((uintptr_t)at + sizeof(*m)) % align : 0;
  m = (struct memory *)(void *)(at + before);
  refblock_init(&m->block, memory_end);
  m->account = a;
  m->size = size;
  m->align = align;
  m->before = (uint32_t)before;
  m->bytes[size] = 0;
  return m;
}

struct memory *memory_aligned (struct account *a, size_t size,
                               const void *from, uint32_t align) {
  struct memory *m = memory_make(a, size, align, from == NULL);
  if (m && from) memcpy(m->bytes, from, size);
  return m;
}

struct memory *memory_new (struct account *a, size_t size, const void *from) {
  return memory_aligned(a, size, from, 0);
}

struct memory *memory_to_fill (struct account *a, size_t size) {
  return memory_make(a, size, 0, false);
}

void memory_adopt (struct memory *m, struct account *a) {
  size_t charge = memory_charge(m->size, m->align);
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
