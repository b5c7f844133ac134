/*
** pending: the lists of pending CQEs. A CQE is in both lists of its source or,
** of an owned source, in the source's queue alone.
*/

#include "compat.h"
#include "ring/pending.h"

#include <stdlib.h>

#define SLAB 64

struct slab {
  struct slab *next;
  struct pending_cqe at[SLAB];
};


bool pending_reserve (struct pending *p, size_t n) {
  while (p->spare < n) {
    struct slab *s = malloc(sizeof(*s));
    if (s == NULL)
      return false;
    account_count(p->account, sizeof(*s));
    s->next = p->slabs;
    p->slabs = s;
    for (size_t i = 0; i < SLAB; i++) {
      s->at[i].next_free = p->free;
      p->free = &s->at[i];
    }
    p->spare += SLAB;
  }
  return true;
}

void pending_add (struct pending *p, struct source *s, struct op *op,
                  uint64_t data, int32_t res, uint32_t flags) {
  struct pending_cqe *c = p->free;
  p->free = c->next_free;
  p->spare--;
  *c = (struct pending_cqe){ .source = s, .op = op, .data = data, .res = res,
                             .flags = flags };
  if (!s->owned) {
    c->prev = p->last;
    if (p->last) p->last->next = c; else p->first = c;
    p->last = c;
    p->count++;
  }
  if (s->last) s->last->after = c; else s->first = c;
  s->last = c;
  s->count++;
}

bool pending_take_from (struct pending *p, struct source *s,
                        struct pending_cqe *out) {
  struct pending_cqe *c = s->first;
  if (c == NULL)
    return false;
  s->first = c->after;
  if (s->first == NULL) s->last = NULL;
  s->count--;
  if (!s->owned) {
    if (c->prev) c->prev->next = c->next; else p->first = c->next;
    if (c->next) c->next->prev = c->prev; else p->last = c->prev;
    p->count--;
  }
  *out = *c;
  c->next_free = p->free;
  p->free = c;
  p->spare++;
  return true;
}

bool pending_take (struct pending *p, struct pending_cqe *out) {
  /* the oldest of all is the oldest of its source as well */
  return p->first && pending_take_from(p, p->first->source, out);
}

void pending_free (struct pending *p) {
  while (p->slabs) {
    struct slab *s = p->slabs;
    p->slabs = s->next;
    account_refund(p->account, sizeof(*s));
    free(s);
  }
  *p = (struct pending){0};
}
