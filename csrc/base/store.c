/*
** store: see the header. The bytes are in one block. What is read leaves
** a gap at its front. When there is no room at the end the bytes move to the
** front, if the gap is as large as they are, or else the block is doubled: so
** each byte moves a constant number of times. What must not break: the block
** is changed only when nothing can fail any more.
*/

#include "base/store.h"

#include <stdlib.h>
#include <string.h>

#define LEAST  4096u       /* of a block */
#define KEPT   65536u      /* of an empty store */


static void drop_block (struct store *s) {
  if (s->bytes == NULL)
    return;
  free(s->bytes);
  account_refund(s->account, s->capacity);
  s->account = NULL;  /* (it may be gone) */
  s->bytes = NULL;
  s->capacity = 0;
}

static void restart (struct store *s) {
  s->from = s->upto = 0;
  if (s->capacity > KEPT) drop_block(s);
}

/* A block with the same bytes after a gap of `before`, and space for `n` more
** behind them. */
static bool move_to_block (struct store *s, struct account *a, size_t before,
                           size_t n) {
  size_t size = store_size(s), capacity = LEAST;
  unsigned char *bytes;
  if (n > SIZE_MAX / 4 - size || before > SIZE_MAX / 4 - size)
    return false;
  while (capacity < before + size + n) capacity *= 2;
  if (!account_charge(a, capacity))
    return false;
  bytes = malloc(capacity);
  if (bytes == NULL) {
    account_refund(a, capacity);
    return false;
  }
  if (size > 0) memcpy(bytes + before, store_at(s), size);
  drop_block(s);
  s->account = a;
  s->bytes = bytes;
  s->capacity = capacity;
  s->from = before;
  s->upto = before + size;
  return true;
}

bool store_add (struct store *s, struct account *a, const void *at, size_t n) {
  size_t size = store_size(s);
  if (n == 0)
    return true;
  if (n > s->capacity - s->upto) {
    if (s->from >= size && n <= s->capacity - size) {
      if (size > 0) memcpy(s->bytes, store_at(s), size);
      s->from = 0;
      s->upto = size;
    }
    else if (!move_to_block(s, a, 0, n > size ? n : size))
      return false;
  }
  memcpy(s->bytes + s->upto, at, n);
  s->upto += n;
  return true;
}

bool store_unread (struct store *s, struct account *a, const void *at,
                   size_t n) {
  size_t size = store_size(s);
  if (n == 0)
    return true;
  if (n > s->from && !move_to_block(s, a, n > size ? n : size, 0))
    return false;
  s->from -= n;
  memcpy(s->bytes + s->from, at, n);
  s->searched = 0;
  return true;
}

void store_take (struct store *s, size_t n) {
  s->from += n;
  s->searched = s->searched > n ? s->searched - n : 0;
  if (s->from == s->upto) restart(s);
}

size_t store_find (struct store *s, uint64_t call, const char *delimiter,
                   size_t length, size_t most) {
  size_t searched = store_searched(s, call), size = store_size(s);
  const unsigned char *at = store_at(s), *found = NULL;
  if (size > most) size = most;
  if (size >= searched + length)
    found = length == 1
            ? memchr(at + searched, (unsigned char)*delimiter, size - searched)
            : memmem(at + searched, size - searched, delimiter, length);
  if (found)
    return (size_t)(found - at) + length;
  /* (a part of the delimiter may be at the end) */
  if (size >= length) store_note(s, call, size - length + 1);
  return 0;
}

void store_adopt (struct store *s, struct account *a) {
  if (s->bytes == NULL)
    return;
  account_count(a, s->capacity);
  account_refund(s->account, s->capacity);
  s->account = a;
}

void store_free (struct store *s) {
  drop_block(s);
  s->from = s->upto = s->searched = 0;
}
