/*
** nearest: find the known name that a misspelt one was meant to be, for
** errors that suggest it.
**
** It owns nothing and has no Lua in it. The names are offered one by one.
*/

#ifndef uring_nearest_h
#define uring_nearest_h

#include <stddef.h>

struct nearest {
  const char *word;    /* the misspelt name */
  const char *name;    /* the nearest so far; NULL if none is near enough */
  size_t distance;
};

void nearest_begin (struct nearest *n, const char *word);

/* `name` must outlive `n`. */
void nearest_offer (struct nearest *n, const char *name);

#endif
