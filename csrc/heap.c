#include "compat.h"
#include "heap.h"

#include <stdlib.h>


bool heap_reserve (struct heap *h, uint32_t more) {
  if (h->room - h->n < more) {
    uint32_t room = h->room ? h->room : 16;
    struct timer **at;
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

static void put (struct heap *h, uint32_t i, struct timer *t) {
  h->at[i] = t;
  t->place = i + 1;
}

static void up (struct heap *h, uint32_t i, struct timer *t) {
  while (i > 0 && h->at[(i - 1) / 2]->when > t->when) {
    put(h, i, h->at[(i - 1) / 2]);
    i = (i - 1) / 2;
  }
  put(h, i, t);
}

static void down (struct heap *h, uint32_t i, struct timer *t) {
  uint32_t c;
  while ((c = 2 * i + 1) < h->n) {
    if (c + 1 < h->n && h->at[c + 1]->when < h->at[c]->when) c++;
    if (h->at[c]->when >= t->when) break;
    put(h, i, h->at[c]);
    i = c;
  }
  put(h, i, t);
}

void heap_add (struct heap *h, struct timer *t, int64_t when) {
  t->when = when;
  up(h, h->n++, t);
}

void heap_remove (struct heap *h, struct timer *t) {
  uint32_t i;
  struct timer *last;
  if (t->place == 0)
    return;
  i = t->place - 1;
  t->place = 0;
  last = h->at[--h->n];
  if (last == t)
    return;
  if (i > 0 && h->at[(i - 1) / 2]->when > last->when) up(h, i, last);
  else down(h, i, last);
}

void heap_free (struct heap *h) {
  free(h->at);
  *h = (struct heap){0};
}
