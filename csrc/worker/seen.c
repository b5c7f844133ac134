/*
** seen: open addressing, at most half full. Tables are known by their address:
** the encoder's values keep them alive, and nothing moves them.
*/

#include "compat.h"
#include "worker/seen.h"

#include <stdlib.h>


static struct seen_table *place_of (const struct seen *s, const void *table) {
  uint32_t i = (uint32_t)(((uintptr_t)table >> 4) * 0x9e3779b97f4a7c15u >> 32);
  for (i &= s->size - 1;
       s->all[i].table != NULL && s->all[i].table != table;
       i = (i + 1) & (s->size - 1)) ;
  return &s->all[i];
}

bool seen_find (const struct seen *s, const void *table, uint32_t *number) {
  if (s->all) {
    const struct seen_table *at = place_of(s, table);
    *number = at->number;
    return at->table != NULL;
  }
  for (uint32_t i = 0; i < s->count; i++)
    if (s->few[i] == table) {
      *number = i;
      return true;
    }
  return false;
}

static void put_seen (struct seen *s, const void *table, uint32_t number) {
  *place_of(s, table) = (struct seen_table){ table, number };
}

static bool grow_seen (struct seen *s) {
  struct seen more = { s->count, s->size ? s->size * 2 : 4 * SEEN_FEW,
                       NULL, s->few };
  more.all = calloc(more.size, sizeof(*more.all));
  if (more.all == NULL)
    return false;
  for (uint32_t i = 0; i < s->size; i++)
    if (s->all[i].table) put_seen(&more, s->all[i].table, s->all[i].number);
  for (uint32_t i = 0; s->all == NULL && i < s->count; i++)
    put_seen(&more, s->few[i], i);
  free(s->all);
  *s = more;
  return true;
}

bool seen_add (struct seen *s, const void *table) {
  bool few = s->all == NULL && s->count < SEEN_FEW;
  if (!few && 2 * (s->count + 1) > s->size && !grow_seen(s))
    return false;
  if (few) s->few[s->count] = table;
  else put_seen(s, table, s->count);
  s->count++;
  return true;
}

void seen_free (struct seen *s) {
  free(s->all);
}
