/*
** pending: the CQEs of a ring that were reaped and not yet taken. (No Lua in
** it.)
**
** Each ring has one `struct pending`. A pending CQE belongs to a source (an
** operation, or the ring's messages) and is in two lists: its source's queue,
** and the list of the whole ring. So it can be taken either as the oldest of
** the ring or as the oldest of its source. Both lists are in the order in
** which CQEs were reaped.
**
** Invariant: no CQE is lost because memory is short. Memory is reserved before
** a CQE leaves the CQ, so `pending_add` cannot fail.
*/

#ifndef uring_pending_h
#define uring_pending_h

#include "compat.h"
#include "base/account.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct op;

struct pending_cqe {
  struct pending_cqe *next, *prev;    /* in the ring's list */
  union {
    struct pending_cqe *after;        /* in its source's queue */
    struct pending_cqe *next_free;
  };
  struct source *source;
  struct op *op;                      /* NULL for a message */
  uint64_t data;
  int32_t res;
  uint32_t flags;
};

/* A completion's result: negative is an error. Only the result of a (zero
** copy) notification is a set of bits, of which the highest may be set. */
static inline int64_t pending_res (const struct pending_cqe *c) {
  return c->flags & IORING_CQE_F_NOTIF ? (int64_t)(uint32_t)c->res : c->res;
}

struct source {
  struct pending_cqe *first, *last;
  uint32_t count;
  bool owned;          /* only its owner takes from it: its CQEs are not in the
                          ring's list. Set while the source is empty. */
};

struct pending {
  struct account *account;            /* or NULL */
  struct pending_cqe *first, *last;   /* the ring's list */
  struct pending_cqe *free;
  size_t spare;                       /* the length of the free list */
  size_t count;                       /* in the ring's list */
  struct slab *slabs;
};

/* Make the next `n` calls of pending_add succeed; false if out of memory. */
bool pending_reserve (struct pending *p, size_t n);

/* Add a CQE at the end. */
void pending_add (struct pending *p, struct source *s, struct op *op,
                  uint64_t data, int32_t res, uint32_t flags);

/* Take the oldest of all, or of one source, into `*out`. */
bool pending_take (struct pending *p, struct pending_cqe *out);
bool pending_take_from (struct pending *p, struct source *s,
                        struct pending_cqe *out);

void pending_free (struct pending *p);

#endif
