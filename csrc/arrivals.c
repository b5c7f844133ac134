#include "compat.h"
#include "arrivals.h"

#include <stdlib.h>

#define SLAB 64

struct slab {
  struct slab *next;
  struct arrival at[SLAB];
};


bool arrivals_reserve (struct arrivals *a, size_t n) {
  while (a->spare < n + a->promised) {
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


static struct arrival *fresh (struct arrivals *a, struct source *s,
                              struct op *op, uint64_t order, uint64_t data,
                              int32_t res, uint32_t flags) {
  struct arrival *n = a->free;
  a->free = n->after;
  a->spare--;
  a->count++;
  n->source = s;
  n->op = op;
  n->order = order;
  n->data = data;
  n->res = res;
  n->flags = flags;
  return n;
}

void arrivals_add (struct arrivals *a, struct source *s, struct op *op,
                   uint64_t data, int32_t res, uint32_t flags) {
  struct arrival *n = fresh(a, s, op, ++a->came, data, res, flags);
  n->next = n->after = NULL;
  n->prev = a->last;
  if (a->last) a->last->next = n; else a->first = n;
  a->last = n;
  if (s->last) s->last->after = n; else s->first = n;
  s->last = n;
}

void arrivals_put_back (struct arrivals *a, struct source *s,
                        const struct arrival *what) {
  struct arrival *n = fresh(a, s, what->op, what->order, what->data,
                            what->res, what->flags);
  struct arrival *next = a->first, **prev = &s->first;
  a->promised--;
  for (; next && next->order < n->order; next = next->next)
    if (next->source == s) prev = &next->after;
  n->next = next;
  n->prev = next ? next->prev : a->last;
  if (n->prev) n->prev->next = n; else a->first = n;
  if (next) next->prev = n; else a->last = n;
  n->after = *prev;
  *prev = n;
  if (n->after == NULL) s->last = n;
}


bool arrivals_take_from (struct arrivals *a, struct source *s,
                         struct arrival *out) {
  struct arrival *n = s->first;
  if (n == NULL)
    return false;
  s->first = n->after;
  if (s->first == NULL) s->last = NULL;
  if (n->prev) n->prev->next = n->next; else a->first = n->next;
  if (n->next) n->next->prev = n->prev; else a->last = n->prev;
  *out = *n;
  n->after = a->free;
  a->free = n;
  a->spare++;
  a->count--;
  return true;
}

bool arrivals_take (struct arrivals *a, struct arrival *out) {
  /* the first of all is the first of its source as well */
  return a->first != NULL && arrivals_take_from(a, a->first->source, out);
}


void arrivals_free (struct arrivals *a) {
  while (a->slabs) {
    struct slab *s = a->slabs;
    a->slabs = s->next;
    free(s);
  }
  *a = (struct arrivals){0};
}
