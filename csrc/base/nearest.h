/*
** nearest: which of the known names a misspelt one was meant to be.
**
** It owns nothing and knows no Lua. The names are offered one by one.
*/

#ifndef uring_nearest_h
#define uring_nearest_h

#include <stddef.h>

struct nearest {
  const char *word;    /* as it was written */
  const char *name;    /* the nearest so far; NULL: none is near enough */
  size_t distance;
};

void nearest_begin (struct nearest *n, const char *word);

/* `name` must outlive `n`. */
void nearest_offer (struct nearest *n, const char *name);

#endif
