/*
** pending: completions and messages that have come and were not yet taken. (No
** Lua in it.)
**
** A ring keeps one `struct pending`. An entry belongs to a source (an
** operation, or the ring's messages) and is linked twice: in its source's
** queue, and in the order of the whole ring. So it can be taken either as the
** next thing that happened here or as the next of one source, and both ways
** see the same order.
**
** What can never happen: an entry is lost for want of memory. Memory is
** reserved before a completion leaves the CQ; `pending_add` cannot fail.
*/

#ifndef uring_pending_h
#define uring_pending_h

#include "compat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op;

struct pending_cqe {
  struct pending_cqe *next, *prev;  /* in the ring's order */
  struct pending_cqe *after;  /* in its source's queue, or a free list */
  struct source *source;
  struct op *op;                 /* NULL for a message */
  uint64_t data;
  int32_t res;
  uint32_t flags;
};

/* A completion's result: what is negative is an error, but a notification
** (zero copy) has bits, of which the highest may be set. */
static inline int64_t pending_res (const struct pending_cqe *a) {
  return a->flags & IORING_CQE_F_NOTIF ? (int64_t)(uint32_t)a->res : a->res;
}

struct source {
  struct pending_cqe *first, *last;
  uint32_t count;
  bool owned;          /* its owner alone takes from it: set before the first
                          arrival, it keeps them out of the ring's order */
};

struct pending {
  struct pending_cqe *first, *last;
  struct pending_cqe *free;
  size_t spare;                  /* how many are on the free list */
  size_t count;                  /* in the ring's order */
  struct slab *slabs;
};

/* Make sure that the next `n` additions find memory. */
bool pending_reserve (struct pending *a, size_t n);

/* Add at the end. */
void pending_add (struct pending *a, struct source *s, struct op *op,
                  uint64_t data, int32_t res, uint32_t flags);

/* Take the first of all, or of one source, into `*out`. */
bool pending_take (struct pending *a, struct pending_cqe *out);
bool pending_take_from (struct pending *a, struct source *s,
                         struct pending_cqe *out);

void pending_free (struct pending *a);

#endif
