/*
** nearest: the edit distance between a misspelt name and each known one. The
** suggestion must not depend on the order in which a Lua table lists the
** names: of two equally near ones the first in the alphabet is taken.
*/

#include "base/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define LONGEST 63


static bool same_letter (char a, char b) {
  return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t smaller (size_t a, size_t b) {
  return a < b ? a : b;
}

/* The Damerau-Levenshtein distance (letters substituted, inserted, deleted, or
** swapped with a neighbour), without regard to case. A name longer than
** LONGEST is farther than any other. */
static size_t edit_distance (const char *a, const char *b) {
  size_t rows[3][LONGEST + 1];  /* the last three rows of the matrix */
  size_t m = strlen(a), n = strlen(b);
  if (m > LONGEST || n > LONGEST)
    return LONGEST + 1;
  for (size_t j = 0; j <= n; j++) rows[0][j] = j;
  for (size_t i = 1; i <= m; i++) {
    size_t *row = rows[i % 3];
    const size_t *above = rows[(i + 2) % 3], *higher = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      row[j] = smaller(above[j], row[j - 1]) + 1;
      row[j] = smaller(row[j], above[j - 1]
                               + !same_letter(a[i - 1], b[j - 1]));
      if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2])
          && same_letter(a[i - 2], b[j - 1]))
        row[j] = smaller(row[j], higher[j - 2] + 1);
    }
  }
  return rows[m % 3][n];
}

void nearest_begin (struct nearest *n, const char *word) {
  n->word = word;
  n->name = NULL;
  n->distance = LONGEST + 1;
}

/* At most a third of the letters may be wrong, and at most three. */
static size_t max_distance (const char *a, const char *b) {
  size_t m = strlen(a), n = strlen(b);
  size_t third = (m > n ? m : n) / 3;
  return third < 3 ? third : 3;
}

void nearest_offer (struct nearest *n, const char *name) {
  size_t d = edit_distance(n->word, name);
  if (d > max_distance(n->word, name) || d > n->distance)
    return;
  if (d < n->distance || strcmp(name, n->name) < 0) {
    n->name = name;
    n->distance = d;
  }
}
