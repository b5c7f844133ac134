/*
** arrivals: what has come and was not yet taken. (No Lua in it.)
**
** A ring keeps one `struct arrivals`. An arrival belongs to a source (an
** operation, or the ring's messages) and is linked twice: in its source's
** queue, and in the order of the whole ring. So it can be taken either as
** the next thing that happened here or as the next of one source, and both
** ways see the same order, which is that of the numbers it was given when it
** came.
**
** What was handed out and is put back takes its old place. That is so of one
** source alone, the messages, and many may come back at once in any order: so
** they are a pairing heap beside the lists, and whoever takes compares its top
** with the first of the list.
**
** What can never happen: an arrival is lost for want of memory. Room is
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
  struct pending_cqe *next, *prev;  /* in the ring's order; of one that was put
                                    back the next sibling, the first child */
  struct pending_cqe *after;  /* in its source's queue, or a free list */
  struct source *source;
  struct op *op;                 /* NULL for a message */
  uint64_t order;                /* the how manieth of all that came */
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
  bool owned;          /* its owner alone takes from it: set before the first
                          arrival, it keeps them out of the ring's order */
};

struct pending {
  struct pending_cqe *first, *last;
  struct pending_cqe *back;  /* the first of those that were put back */
  struct pending_cqe *free;
  size_t spare;                  /* how many are on the free list */
  size_t count;                  /* in the ring's order */
  size_t promised;               /* handed out, and may be put back */
  uint64_t came;                 /* so many in all */
  struct slab *slabs;
};

/* Make sure that the next `n` additions find memory, and those too that may
** be put back: who hands an arrival to a waiter without adding it counts it
** in `promised` until the waiter has really got it. */
bool pending_reserve (struct pending *a, size_t n);

/* Add at the end; or put back what was promised, where it would be had it not
** been handed out (what never was in here takes its `order` of `came`). `s` is
** always the same there. */
void pending_add (struct pending *a, struct source *s, struct op *op,
                   uint64_t data, int32_t res, uint32_t flags);
void pending_put_back (struct pending *a, struct source *s,
                        const struct pending_cqe *what);

/* The first of a source, which stays; or NULL. */
const struct pending_cqe *pending_first (const struct pending *a,
                                      const struct source *s);

/* Take the first of all, or of one source, into `*out`. */
bool pending_take (struct pending *a, struct pending_cqe *out);
bool pending_take_from (struct pending *a, struct source *s,
                         struct pending_cqe *out);

void pending_free (struct pending *a);

#endif
