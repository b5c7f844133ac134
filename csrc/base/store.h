/*
** store: bytes that have arrived and were not read yet. (No Lua in it.)
**
** A stream's reads take from its front, and what arrives is added at its end.
** Either takes time in proportion to the bytes that it moves, however the
** bytes come in pieces. A search for a delimiter goes on where the last one of
** the same call has stopped. Calls are distinguished by a number that
** `store_call` draws, and each other call begins at the front again.
**
** The memory is the store's own, and the kernel never touches it. An empty
** store keeps none that is large. A block is charged to the account for which
** it is made, before the one that it replaces is refunded.
**
** Invariant: no byte is lost or changes its place: what could not be added,
** for want of memory, was not added in part.
*/

#ifndef uring_store_h
#define uring_store_h

#include "base/account.h"

struct store {             /* zeroed: empty */
  struct account *account; /* charged with `capacity`; or NULL */
  unsigned char *bytes;
  size_t capacity;
  size_t from, upto;       /* of `bytes`: what it has */
  size_t searched;         /* so many at its front, by the call `search` */
  uint64_t search, calls;
};

static inline size_t store_size (const struct store *s) {
  return s->upto - s->from;
}

static inline const unsigned char *store_at (const struct store *s) {
  return s->bytes + s->from;
}

/* The number of a call that is to search. */
static inline uint64_t store_call (struct store *s) {
  return ++s->calls;
}

/* Add at the end, or put back at the front: false if out of memory, or if the
** account, which may be NULL, is charged with no more. */
bool store_add (struct store *s, struct account *a, const void *at, size_t n);
bool store_unread (struct store *s, struct account *a, const void *at,
                   size_t n);

/* It counts for this account from now on, whatever its limit. */
void store_adopt (struct store *s, struct account *a);

/* Take out its first n bytes, of which it has at least as many. */
void store_take (struct store *s, size_t n);

/* How many of its bytes, from the first, have been searched by this call? */
static inline size_t store_searched (const struct store *s, uint64_t call) {
  return s->search == call ? s->searched : 0;
}

static inline void store_note (struct store *s, uint64_t call, size_t n) {
  s->search = call;
  s->searched = n;
}

/* The number of bytes up to the end of the first delimiter, or 0. Searches in
** the first `most` bytes. */
size_t store_find (struct store *s, uint64_t call, const char *delimiter,
                   size_t length, size_t most);

void store_free (struct store *s);

#endif
