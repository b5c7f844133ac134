#include "compat.h"
#include "base/timer_heap.h"

#include <stdlib.h>


bool heap_reserve (struct heap *h, uint32_t more) {
  if (h->room - h->n < more) {
    uint32_t room = h->room ? h->room : 16;
    struct entry *at;
    while (room - h->n < more) {
      if (room > UINT32_MAX / 2) return false;
      room *= 2;
    }
    at = realloc(h->at, room * sizeof(*at));
    if (at == NULL)
      return false;
    h->at = at;
    h->room = room;
  }
  return true;
}

static bool before (const struct entry *a, const struct entry *b) {
  return a->when != b->when ? a->when < b->when : a->order < b->order;
}

static void heap_put (struct heap *h, uint32_t i, const struct entry *e) {
  h->at[i] = *e;
  e->timer->place = i + 1;
}

static void up (struct heap *h, uint32_t i, struct entry e) {
  while (i > 0 && before(&e, &h->at[(i - 1) / 2])) {
    heap_put(h, i, &h->at[(i - 1) / 2]);
    i = (i - 1) / 2;
  }
  heap_put(h, i, &e);
}

static void down (struct heap *h, uint32_t i, struct entry e) {
  uint32_t c;
  while ((c = 2 * i + 1) < h->n) {
    if (c + 1 < h->n && before(&h->at[c + 1], &h->at[c])) c++;
    if (!before(&h->at[c], &e)) break;
    heap_put(h, i, &h->at[c]);
    i = c;
  }
  heap_put(h, i, &e);
}

void heap_add (struct heap *h, struct timer *t, int64_t when) {
  t->when = when;
  up(h, h->n++, (struct entry){ when, ++h->added, t });
}

void heap_remove (struct heap *h, struct timer *t) {
  uint32_t i;
  struct entry last;
  if (t->place == 0)
    return;
  i = t->place - 1;
  t->place = 0;
  last = h->at[--h->n];
  if (last.timer == t)
    return;
  if (i > 0 && before(&last, &h->at[(i - 1) / 2])) up(h, i, last);
  else down(h, i, last);
}

void heap_free (struct heap *h) {
  free(h->at);
  *h = (struct heap){0};
}
