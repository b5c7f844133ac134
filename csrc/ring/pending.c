#include "compat.h"
#include "ring/pending.h"

#include <stdlib.h>

#define SLAB 64

struct slab {
  struct slab *next;
  struct pending_cqe at[SLAB];
};


bool pending_reserve (struct pending *a, size_t n) {
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


static struct pending_cqe *fresh (struct pending *a, struct source *s,
                              struct op *op, uint64_t order, uint64_t data,
                              int32_t res, uint32_t flags) {
  struct pending_cqe *n = a->free;
  a->free = n->after;
  a->spare--;
  n->next = n->prev = NULL;
  n->source = s;
  n->op = op;
  n->order = order;
  n->data = data;
  n->res = res;
  n->flags = flags;
  return n;
}

void pending_add (struct pending *a, struct source *s, struct op *op,
                   uint64_t data, int32_t res, uint32_t flags) {
  struct pending_cqe *n = fresh(a, s, op, ++a->came, data, res, flags);
  n->after = NULL;
  if (!s->owned) {
    n->prev = a->last;
    if (a->last) a->last->next = n; else a->first = n;
    a->last = n;
    a->count++;
  }
  if (s->last) s->last->after = n; else s->first = n;
  s->last = n;
}


/* ---- what was put back ------------------------------------------------- */

/* Two heaps become one: its top. */
static struct pending_cqe *meld (struct pending_cqe *a,
                                 struct pending_cqe *b) {
  if (a == NULL) return b;
  if (b == NULL) return a;
  if (b->order < a->order) {
    struct pending_cqe *c = a;
    a = b;
    b = c;
  }
  b->next = a->prev;
  a->prev = b;
  return a;
}

/* What is left of a heap without its top: its children two by two, and then
** all of those. */
static struct pending_cqe *without_top (const struct pending_cqe *top) {
  struct pending_cqe *rest = top->prev, *pairs = NULL, *all = NULL;
  while (rest) {
    struct pending_cqe *first = rest, *second = rest->next;
    rest = second ? second->next : NULL;
    first = meld(first, second);
    first->next = pairs;
    pairs = first;
  }
  while (pairs) {
    struct pending_cqe *next = pairs->next;
    all = meld(all, pairs);
    pairs = next;
  }
  return all;
}

void pending_put_back (struct pending *a, struct source *s,
                        const struct pending_cqe *what) {
  struct pending_cqe *n = fresh(a, s, what->op, what->order, what->data,
                            what->res, what->flags);
  a->promised--;
  a->count++;
  a->back = meld(a->back, n);
}


/* ---- taking ------------------------------------------------------------ */

const struct pending_cqe *pending_first (const struct pending *a,
                                      const struct source *s) {
  const struct pending_cqe *back = a->back;
  return back && back->source == s
         && (s->first == NULL || back->order < s->first->order)
         ? back : s->first;
}

bool pending_take_from (struct pending *a, struct source *s,
                         struct pending_cqe *out) {
  bool back = a->back && pending_first(a, s) == a->back;
  struct pending_cqe *n = back ? a->back : s->first;
  if (n == NULL)
    return false;
  if (back) a->back = without_top(n);
  else {
    s->first = n->after;
    if (s->first == NULL) s->last = NULL;
  }
  if (!back && !s->owned) {
    if (n->prev) n->prev->next = n->next; else a->first = n->next;
    if (n->next) n->next->prev = n->prev; else a->last = n->prev;
  }
  if (!s->owned) a->count--;
  *out = *n;
  n->after = a->free;
  a->free = n;
  a->spare++;
  return true;
}

bool pending_take (struct pending *a, struct pending_cqe *out) {
  /* the first of all is the first of its source as well */
  const struct pending_cqe *n = a->first;
  if (a->back && (n == NULL || a->back->order < n->order)) n = a->back;
  return n != NULL && pending_take_from(a, n->source, out);
}


void pending_free (struct pending *a) {
  while (a->slabs) {
    struct slab *s = a->slabs;
    a->slabs = s->next;
    free(s);
  }
  *a = (struct pending){0};
}
