#include "compat.h"
#include "ring/pending.h"

#include <stdlib.h>

#define SLAB 64

struct slab {
  struct slab *next;
  struct pending_cqe at[SLAB];
};


bool pending_reserve (struct pending *a, size_t n) {
  while (a->spare < n) {
    struct slab *s = malloc(sizeof(*s));
    if (s == NULL)
      return false;
    s->next = a->slabs;
    a->slabs = s;
    for (size_t i = 0; i < SLAB; i++) {
      s->at[i].after = a->free;
      a->free = &s->at[i];
    }
    a->spare += SLAB;
  }
  return true;
}

void pending_add (struct pending *a, struct source *s, struct op *op,
                  uint64_t data, int32_t res, uint32_t flags) {
  struct pending_cqe *n = a->free;
  a->free = n->after;
  a->spare--;
  *n = (struct pending_cqe){ .source = s, .op = op, .data = data, .res = res,
                             .flags = flags };
  if (!s->owned) {
    n->prev = a->last;
    if (a->last) a->last->next = n; else a->first = n;
    a->last = n;
    a->count++;
  }
  if (s->last) s->last->after = n; else s->first = n;
  s->last = n;
  s->count++;
}

bool pending_take_from (struct pending *a, struct source *s,
                        struct pending_cqe *out) {
  struct pending_cqe *n = s->first;
  if (n == NULL)
    return false;
  s->first = n->after;
  if (s->first == NULL) s->last = NULL;
  s->count--;
  if (!s->owned) {
    if (n->prev) n->prev->next = n->next; else a->first = n->next;
    if (n->next) n->next->prev = n->prev; else a->last = n->prev;
    a->count--;
  }
  *out = *n;
  n->after = a->free;
  a->free = n;
  a->spare++;
  return true;
}

bool pending_take (struct pending *a, struct pending_cqe *out) {
  /* the first of all is the first of its source as well */
  return a->first && pending_take_from(a, a->first->source, out);
}

void pending_free (struct pending *a) {
  while (a->slabs) {
    struct slab *s = a->slabs;
    a->slabs = s->next;
    free(s);
  }
  *a = (struct pending){0};
}
