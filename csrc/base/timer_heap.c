/*
** timer_heap: the binary heap of deadlines. Every move of an entry goes
** through heap_put, which keeps the timer's `place` right; a wrong place would
** remove another timer.
*/

#include "compat.h"
#include "base/timer_heap.h"

#include <stdlib.h>


bool heap_reserve (struct heap *h, uint32_t more) {
  if (h->capacity - h->n < more) {
    uint32_t capacity = h->capacity ? h->capacity : 16;
    struct timer_entry *at;
    while (capacity - h->n < more) {
      if (capacity > UINT32_MAX / 2) return false;
      capacity *= 2;
    }
    at = realloc(h->at, capacity * sizeof(*at));
    if (at == NULL)
      return false;
    h->at = at;
    h->capacity = capacity;
  }
  return true;
}

static bool expires_before (const struct timer_entry *a,
                            const struct timer_entry *b) {
  return a->when != b->when ? a->when < b->when : a->order < b->order;
}

static void heap_put (struct heap *h, uint32_t i,
                      const struct timer_entry *e) {
  h->at[i] = *e;
  e->timer->place = i + 1;
}

static void heap_up (struct heap *h, uint32_t i, struct timer_entry e) {
  while (i > 0 && expires_before(&e, &h->at[(i - 1) / 2])) {
    heap_put(h, i, &h->at[(i - 1) / 2]);
    i = (i - 1) / 2;
  }
  heap_put(h, i, &e);
}

static void heap_down (struct heap *h, uint32_t i, struct timer_entry e) {
  uint32_t c;
  while ((c = 2 * i + 1) < h->n) {
    if (c + 1 < h->n && expires_before(&h->at[c + 1], &h->at[c])) c++;
    if (!expires_before(&h->at[c], &e)) break;
    heap_put(h, i, &h->at[c]);
    i = c;
  }
  heap_put(h, i, &e);
}

void heap_add (struct heap *h, struct timer *t, int64_t when) {
  t->when = when;
  heap_up(h, h->n++, (struct timer_entry){ when, ++h->added, t });
}

void heap_remove (struct heap *h, struct timer *t) {
  uint32_t i;
  struct timer_entry last;
  if (t->place == 0)
    return;
  i = t->place - 1;
  t->place = 0;
  last = h->at[--h->n];
  if (last.timer == t)
    return;
  if (i > 0 && expires_before(&last, &h->at[(i - 1) / 2])) heap_up(h, i, last);
  else heap_down(h, i, last);
}

void heap_free (struct heap *h) {
  free(h->at);
  *h = (struct heap){0};
}
