/*
** op_table: slots, tokens, pins and the counts. A token must match as a whole
** before a CQE counts as an operation's, and pins are released by op_end
** alone, after the last CQE.
*/

#include "compat.h"
#include "ring/op_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>

#define SLAB 128u

#define SLOT_MASK ((uint64_t)OP_MAX)

struct slab {
  struct op_table *table;
  struct op ops[SLAB];
};


/* ---- tokens ------------------------------------------------------------ */

/* xorshift128+: only the kernel sees its output. The sender of messages must
** not be able to guess a live token by counting. */
static uint64_t draw_nonce (struct op_table *t) {
  uint64_t a = t->seed[0], b = t->seed[1];
  t->seed[0] = b;
  a ^= a << 23;
  t->seed[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
  return t->seed[1] + b;
}

static uint64_t new_token (struct op_table *t, const struct op *op) {
  uint64_t token;
  do {
    token = (draw_nonce(t) & ~SLOT_MASK) | op->slot;
  } while (token <= SLOT_MASK || token == op->retired);  /* guard: nonce */
  return token;
}

int op_table_init (struct op_table *t) {
  *t = (struct op_table){0};
  do {
    if (getrandom(t->seed, sizeof(t->seed), 0) != (ssize_t)sizeof(t->seed)) {
      if (errno == EINTR) continue;
      return -errno;
    }
  } while ((t->seed[0] | t->seed[1]) == 0);
  return 0;
}


/* ---- slots ------------------------------------------------------------- */

static struct op *op_at (const struct op_table *t, uint32_t slot) {
  return &t->slabs[slot / SLAB]->ops[slot % SLAB];
}

int op_reserve (struct op_table *t, unsigned n) {
  while (t->nfree < n) {
    struct slab **slabs, *slab;
    if (t->nslots + SLAB > OP_MAX)
      return -ENOSPC;
    if ((t->nslabs & (t->nslabs - 1)) == 0) {  /* a power of two: double */
      size_t capacity = t->nslabs ? t->nslabs * (size_t)2 : 1;
      slabs = realloc(t->slabs, capacity * sizeof(*slabs));
      if (slabs == NULL)
        return -ENOMEM;
      t->slabs = slabs;
    }
    slab = calloc(1, sizeof(*slab));
    if (slab == NULL)
      return -ENOMEM;
    account_count(t->account, sizeof(*slab));
    slab->table = t;
    t->slabs[t->nslabs++] = slab;
    for (uint32_t i = SLAB; i-- > 0; ) {  /* low slots are used first */
      slab->ops[i].slot = t->nslots + i;
      slab->ops[i].next_free = t->free;
      t->free = &slab->ops[i];
    }
    t->nslots += SLAB;
    t->nfree += SLAB;
  }
  return 0;
}

void op_table_free (struct op_table *t) {
  for (uint32_t i = 0; i < t->nslabs; i++) {
    account_refund(t->account, sizeof(*t->slabs[i]));
    free(t->slabs[i]);
  }
  free(t->slabs);
  t->slabs = NULL;
  t->nslabs = t->nslots = t->nfree = 0;
  t->free = NULL;
}

struct op *op_each (struct op_table *t, struct op *after) {
  for (uint32_t i = after ? after->slot + 1 : 0; i < t->nslots; i++) {
    struct op *op = op_at(t, i);
    if (op->state != OP_FREE)
      return op;
  }
  return NULL;
}


struct op_table *op_table_of (const struct op *op) {
  const struct op *first = op - op->slot % SLAB;
  return ((const struct slab *)(const void *)
          ((const char *)first - offsetof(struct slab, ops)))->table;
}


/* ---- operations in flight on a descriptor, oldest first ---------------- */

static void fd_list_add (struct op *op) {
  struct handle *h = (struct handle *)op->pin[OP_PIN_FD];
  if (h->ops) {
    op->prev = h->ops->prev;
    op->prev->next = op;
    h->ops->prev = op;
  }
  else
    h->ops = op->prev = op;
}

static void fd_list_remove (struct op *op) {
  struct handle *h = (struct handle *)op->pin[OP_PIN_FD];
  if (h->ops == op) h->ops = op->next;
  else op->prev->next = op->next;
  if (op->next) op->next->prev = op->prev;
  /* guard: or the next operation is added where no close finds it */
  else if (h->ops) h->ops->prev = op->prev;
  op->next = op->prev = NULL;
}


/* ---- the lists of cancels: in the order of the requests ---------------- */

static struct op_list *cancels_of (struct op_table *t, const struct op *op) {
  return op->cancel_state == CANCEL_PAUSES ? &t->futile : &t->cancels;
}

static void cancel_add (struct op_table *t, struct op *op) {
  struct op_list *list = cancels_of(t, op);
  op->op_flags |= OP_CANCEL_LISTED;
  op->cancel_next = NULL;
  op->cancel_prev = list->last;
  if (list->last) list->last->cancel_next = op;
  else list->first = op;
  list->last = op;
}

void op_cancel_unlist (struct op_table *t, struct op *op) {
  struct op_list *list = cancels_of(t, op);
  if (op->cancel_prev) op->cancel_prev->cancel_next = op->cancel_next;
  else list->first = op->cancel_next;
  if (op->cancel_next) op->cancel_next->cancel_prev = op->cancel_prev;
  else list->last = op->cancel_prev;
  op->cancel_next = op->cancel_prev = NULL;
  op->op_flags &= (uint16_t)~OP_CANCEL_LISTED;
  if (op->cancel_state == CANCEL_PAUSES) op->cancel_state = CANCEL_AGAIN;
}

void op_cancel_list (struct op_table *t, struct op *op) {
  if (op->op_flags & OP_CANCEL_LISTED) {
    if (op->cancel_state != CANCEL_PAUSES)
      return;
    op_cancel_unlist(t, op);
  }
  cancel_add(t, op);
}

void op_cancel_pause (struct op_table *t, struct op *op) {
  if (op->op_flags & OP_CANCEL_LISTED)
    return;
  op->cancel_state = CANCEL_PAUSES;
  cancel_add(t, op);
}


/* ---- start and end ----------------------------------------------------- */

void op_pin_handle (struct op *op, struct handle *h) {
  op->pin[OP_PIN_FD] = &h->block;
  refblock_pin(&h->block);
  fd_list_add(op);
}

void op_starts (struct op *op) {
  op->op_flags |= OP_STARTS;
  refblock_land(op->pin[OP_PIN_FD]);
}

static void unpin_one (struct op *op, int i) {
  struct refblock *b = op->pin[i];
  op->pin[i] = NULL;
  if (i == OP_PIN_FD && (op->op_flags & OP_STARTS)) refblock_release(b);
  else refblock_unpin(b);
}

static inline void unpin (struct op *op) {
  for (int i = 0; i < OP_PINS; i++)
    if (op->pin[i]) unpin_one(op, i);
}

void op_leave_chain (struct op_table *t, struct op *op) {
  struct op *before = op->before, *behind = op->behind;
  if (before) before->behind = behind;
  if (behind) behind->before = before;
  op->before = op->behind = NULL;
  if (behind && before == NULL && (behind->op_flags & OP_CANCEL))
    op_cancel_list(t, behind);  /* guard: its cancel has waited for this */
}

/* Flags of operations that the table counts, or has on a list. */
#define COUNTED (OP_INTERNAL | OP_SILENT | OP_DRAIN | OP_NOTIFYING \
                 | OP_CANCEL_LISTED)

static void uncount_op (struct op_table *t, struct op *op) {
  if (op->op_flags & OP_INTERNAL) t->internal--;
  if (op->op_flags & OP_SILENT) t->silent_flying--;
  if (op->op_flags & OP_DRAIN) t->draining--;
  if (op->op_flags & OP_NOTIFYING) t->notifying--;
  /* guard: or the slot's next operation would be cancelled */
  if (op->op_flags & OP_CANCEL_LISTED) op_cancel_unlist(t, op);
}

/* The kernel is done with it: no CQE of it can follow. */
static void op_end (struct op_table *t, struct op *op) {
  op->state = OP_ENDED;
  op->retired = op->token;
  t->flying--;
  if (op->op_flags & COUNTED) uncount_op(t, op);
  if (op->before || op->behind) op_leave_chain(t, op);
  if (op->prev) fd_list_remove(op);  /* guard: its slot is used again */
  unpin(op);  /* guard: not before the last completion */
}

static uint32_t vector_size (const struct iovec *v, size_t n) {
  size_t size = 0;
  for (size_t i = 0; i < n; i++) size += v[i].iov_len;
  return size < INT32_MAX ? (uint32_t)size : INT32_MAX;
}

/* The smallest result that is a success: with less the kernel breaks the chain
** behind the request. */
static uint32_t full_size (const struct io_uring_sqe *sqe) {
  bool all = (sqe->msg_flags & MSG_WAITALL) != 0;
  switch (sqe->opcode) {
    case IORING_OP_READ: case IORING_OP_WRITE:
    case IORING_OP_READ_FIXED: case IORING_OP_WRITE_FIXED:
    case IORING_OP_SPLICE: case IORING_OP_TEE:
      return sqe->len;
    case IORING_OP_READV: case IORING_OP_WRITEV:
    case IORING_OP_READV_FIXED: case IORING_OP_WRITEV_FIXED:
      return vector_size((const void *)(uintptr_t)sqe->addr, sqe->len);
    case IORING_OP_SEND: case IORING_OP_RECV:
      return all ? sqe->len : 0;
    case IORING_OP_SENDMSG: case IORING_OP_RECVMSG: {
      const struct msghdr *m = (const void *)(uintptr_t)sqe->addr;
      return all ? vector_size(m->msg_iov, m->msg_iovlen) : 0;
    }
    default: return 0;
  }
}

/* The flags of an operation that its request implies, by these and by flags of
** the SQE. */
#define IMPLY (REQ_SILENT | REQ_MULTI | REQ_READS)

static unsigned request_flags (const struct request *r) {
  const struct io_uring_sqe *sqe = &r->sqe;
  unsigned flags = 0;
  if (r->req_flags & REQ_SILENT) flags |= OP_SILENT;
  if (r->req_flags & REQ_MULTI) flags |= OP_MULTI;
  if (r->req_flags & REQ_READS) flags |= OP_READS;
  if (sqe->flags & IOSQE_IO_HARDLINK) flags |= OP_HARDLINK;
  if (sqe->flags & IOSQE_IO_DRAIN) flags |= OP_DRAIN;
  if ((sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_SEND)
      && (sqe->ioprio & IORING_RECVSEND_BUNDLE)) flags |= OP_BUNDLE;
  if (sqe->opcode == IORING_OP_TIMEOUT && (r->req_flags & REQ_SILENT)
      && (sqe->timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS))
    flags |= OP_ETIME;
  return flags;
}

static void count_op (struct op_table *t, unsigned flags) {
  if (flags & OP_INTERNAL) t->internal++;
  if (flags & OP_SILENT) t->silent_flying++;
  if (flags & OP_DRAIN) {
    t->draining++;
    t->drained = true;
  }
}

struct op *op_new (struct op_table *t, const struct request *r,
                   unsigned flags) {
  struct op *op = t->free;
  t->free = op->next_free;
  t->nfree--;
  if ((r->req_flags & IMPLY) || r->sqe.flags || r->sqe.ioprio)
    flags |= request_flags(r);
  op->token = new_token(t, op);
  op->data = r->data;
  for (int i = 0; i < OP_PINS; i++) {
    op->pin[i] = r->pin[i];
    if (op->pin[i]) refblock_pin(op->pin[i]);
  }
  op->next = NULL;  /* (the other links of a free operation are NULL) */
  if (op->pin[OP_PIN_FD] && !(r->sqe.flags & IOSQE_FIXED_FILE))
    fd_list_add(op);
  op->fd = r->sqe.fd;
  op->op_flags = (uint16_t)flags;
  op->min_kernel = r->min_kernel;
  op->group = r->sqe.flags & IOSQE_BUFFER_SELECT ? r->sqe.buf_group : 0;
  op->layout = r->req_flags & REQ_MULTI ? r->layout
                                        : (struct recvmsg_layout){0};
  op->opcode = r->sqe.opcode;
  op->full_size = flags & OP_SILENT ? full_size(&r->sqe) : 0;
  op->state = OP_FLYING;
  op->disposal = r->disposal;
  op->cancel_state = CANCEL_FIRST;
  t->submitted++;
  t->flying++;
  if (flags & COUNTED) count_op(t, flags);
  assert(op_counts_agree(t));
  return op;
}

void op_chain (struct op *last, struct op *op) {
  op->op_flags |= OP_FOLLOWS;
  last->behind = op;
  op->before = last;
}

void op_free (struct op_table *t, struct op *op) {
  assert(op->state == OP_ENDED && op->results.first == NULL);
  op->state = OP_FREE;
  op->waiter = NULL;
  op->waitq = NULL;
  op->results.owned = false;
  op->op_flags = 0;
  op->next_free = t->free;
  t->free = op;
  t->nfree++;
}


/* ---- completions ------------------------------------------------------- */

struct op *op_find (struct op_table *t, uint64_t token) {
  uint32_t slot = (uint32_t)(token & SLOT_MASK);
  struct op *op;
  if (slot >= t->nslots)
    return NULL;
  op = op_at(t, slot);
  return (op->state != OP_FREE && op->token == token) ? op : NULL;
}

enum op_match op_match (struct op_table *t, uint64_t user_data,
                        struct op **out) {
  uint32_t slot = (uint32_t)(user_data & SLOT_MASK);
  struct op *op;
  *out = NULL;
  if (slot >= t->nslots)  /* guard: the number may be no slot */
    return MATCH_MESSAGE;
  op = op_at(t, slot);
  if (op->state == OP_FLYING && op->token == user_data) {  /* guard: nonce */
    *out = op;
    return MATCH_LIVE;
  }
  if (user_data != 0 && op->retired == user_data) {
    t->stale++;
    return MATCH_STALE;
  }
  return MATCH_MESSAGE;
}

static void op_finish (struct op_table *t, struct op *op, int32_t res,
                       uint32_t flags) {
  op_end(t, op);
  if (op_unreported(op, res)) t->silent++;
  else t->completed++;
  assert(op_counts_agree(t));
  t->deliver(t, op, res, flags, true);  /* (may free the operation) */
}

void op_complete (struct op_table *t, struct op *op, int32_t res,
                  uint32_t flags) {
  if (flags & IORING_CQE_F_MORE) t->deliver(t, op, res, flags, false);
  else op_finish(t, op, res, flags);
}

struct op *op_first_unfinished (struct op *op) {
  while (op->before) op = op->before;
  return op;
}

void op_abandon (struct op_table *t, struct op *op, bool bury) {
  if (op->prev) fd_list_remove(op);
  for (int i = 0; bury && i < OP_PINS; i++) {
    /* (once a request is started the kernel holds the file itself) */
    if (op->pin[i] && !(i == OP_PIN_FD && (op->op_flags & OP_STARTS))) {
      refblock_bury(op->pin[i]);  /* its count stays, so it is never freed */
      op->pin[i] = NULL;
    }
  }
  op_finish(t, op, -ECANCELED, 0);
}
