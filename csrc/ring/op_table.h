/*
** op: the operation table. (No Lua in it.)
**
** An operation is what the kernel has been asked to do and has not finished:
** from the moment its SQE is queued until the CQE without F_MORE. It owns,
** by its pins, every byte and every descriptor that the kernel may touch on
** its behalf; the pins go when the last CQE has come and not before. Each
** ring has one table; who owns the ring calls it, from one thread.
**
** The kernel knows an operation by its token: a slot of this table (24 bits)
** and a nonce drawn for this use (40 bits). A CQE says nothing of its sender,
** and a message from another ring carries any number that it likes. So a CQE
** counts as an operation's only if it has a live token whole; one with the
** last token that a slot has had is stale and dropped; everything else is a
** message. Nothing in a CQE is ever taken for a pointer.
**
** What can never happen: a slot is given out while the kernel may still
** complete what lived in it; a pin is let go early; a completion of one
** operation reaches another. At every moment
**     submitted == completed + silent + in flight.
**
** Silent operations (CQE_SKIP_SUCCESS) tell the caller of errors alone. The
** kernel is never given that flag: it would leave the table to guess when
** such a request has ended, and with it those linked behind it. It completes
** as any other; a success is counted as silent and not reported. What cuts
** a chain off is no success: a short read or write, for one.
**
** Chains: members know their neighbours, for a cancel has to name the first
** of them that has not ended. One that ends leaves the chain. Descriptors: a
** handle has a list of the operations that are under way on it, for its close
** ends them.
*/

#ifndef uring_op_table_h
#define uring_op_table_h

#include "compat.h"
#include "base/handle.h"
#include "ring/pending.h"
#include "ring/recvmsg_out.h"
#include "ring/sys.h"

#include <errno.h>

#define OP_PINS 3
#define OP_PIN_MEMORY 1
#define OP_PIN_FD 2
#define OP_SLOT_BITS 24
#define OP_MAX ((1u << OP_SLOT_BITS) - 1)

/* What to do with a result that nobody will take. */
enum disposal {
  DISPOSE_NOTHING,
  DISPOSE_FD,        /* res is a new descriptor: close it */
  DISPOSE_SLOT       /* res is a new direct descriptor: take it out */
};

/* How a request behaves; set by its prep, or read off the SQE's flags. */
enum req_flag {
  REQ_MULTI = 1,      /* more than one CQE: multishot, or zero copy */
  REQ_SILENT = 2,     /* CQE_SKIP_SUCCESS */
  REQ_NAMES_OP = 4,   /* addr is the token of an operation on `ring_id` */
  REQ_READS = 8,      /* a pin is memory that the kernel uses */
  REQ_TARGET = 16,    /* pin[0] is the handle of what `fd` names: the ring
                           that a message is for */
  REQ_FILE = 32,      /* it names a Lua file: an operation takes a dup */
  REQ_KEPT = 64,      /* its memory is the kernel's until the ring closes */
  REQ_NUMBER = 128    /* it names a descriptor by a plain number */
};

/* What a prepared SQE holds, and an operation takes a copy of. */
struct request {
  struct io_uring_sqe sqe;
  struct refblock *pin[OP_PINS];
  uint64_t data;       /* the caller's set_data64 */
  uint64_t ring_id;    /* with REQ_NAMES_OP: whose operation */
  uint16_t min_kernel;  /* kernel that first had it (NAMES_VERSION), or 0 */
  uint8_t req_flags;
  uint8_t disposal;
  struct recvmsg_layout layout;  /* with REQ_MULTI: how buffers are laid out */
};

enum op_state {
  OP_FREE,
  OP_FLYING,    /* the kernel has it, or will at the next submit */
  OP_ENDED      /* its last CQE has come; kept for who has not taken it */
};

enum op_flag {
  OP_SILENT = 1,
  OP_INTERNAL = 2,    /* the library's own; nobody is told of it */
  OP_DROPPED = 4,     /* nobody wants its results: dispose of them */
  OP_LOOPED = 8,      /* awaited by tasks, not by hand */
  OP_CANCEL = 16,     /* a cancel is wanted, or under way */
  OP_CANCEL_LISTED = 32,     /* on the list of cancels to send */
  OP_PIECE = 64,      /* the task that waits for it has more to send */
  OP_HARDLINK = 128,
  OP_MULTI = 256,
  OP_ETIME = 512,     /* -ETIME is a success */
  OP_READS = 1024,    /* the kernel uses memory that it pins */
  OP_FOLLOWS = 2048,  /* not the first of its chain */
  OP_DRAIN = 4096,    /* IO_DRAIN: what is queued after it has to wait */
  OP_STARTS = 8192,   /* in the submit: its descriptor may then be closed */
  OP_BUNDLE = 16384,  /* a completion may name several buffers */
  OP_NOTIFYING = 32768  /* zero copy, and its result has come: what still comes
                         says that its memory is free */
};

/* (In the order of use: an operation's life touches the first fields of all,
** and the last ones rarely.) */
struct op {
  uint64_t token;       /* what the kernel has as user_data */
  uint64_t retired;     /* the last token whose CQEs have all come */
  uint32_t slot;
  uint16_t op_flags;
  uint8_t state;
  uint8_t opcode;
  uint8_t disposal;
  uint8_t tries;        /* cancels of it that found nothing */
  uint16_t min_kernel;
  uint16_t group;       /* the provided buffers that it picks from */
  struct recvmsg_layout layout;
  int32_t fd;           /* for words about it */
  uint32_t whole;       /* a silent one's result that is less is short */
  uint64_t data;        /* what the caller calls it */
  struct refblock *pin[OP_PINS];
  struct op *next, *prev;        /* free list; or what is under way on the
                                    same descriptor, the first's prev is
                                    the last */
  struct op *before, *behind;    /* neighbours in its chain */
  void *waiter;         /* whom to wake; the loop's business */
  void *waitq;           /* who else waits for what comes of it; the same */
  struct source results;         /* completions not yet taken */
  struct op *cancel_next, *cancel_prev;
};

struct op_table {
  struct slab **slabs;
  uint32_t nslabs, nslots;
  struct op *free;
  uint32_t nfree;
  struct op *cancels, *cancels_last;  /* flying ones whose cancel is yet to
                                         be sent, in the order of asking */
  uint64_t seed[2];
  uint64_t submitted, completed, silent, stale;
  uint32_t flying;
  uint32_t internal;    /* of these, the library's own */
  uint32_t silent_flying;       /* of these, with OP_SILENT */
  uint32_t draining;    /* of these, with IO_DRAIN */
  uint32_t notifying;        /* of these, with OP_NOTIFYING */
  bool drained;         /* there has been one: requests may start late */
  /* told of each completion, after the table's own books are right */
  void (*deliver)(struct op_table *t, struct op *op, int32_t res,
                  uint32_t flags, bool last);
};

int op_table_init (struct op_table *t);
void op_table_free (struct op_table *t);

/* Make sure that the next `n` calls of op_new succeed; 0 or -errno. */
int op_reserve (struct op_table *t, unsigned n);

/* A slot with a token of its own, pins held, flying. Cannot fail. */
struct op *op_new (struct op_table *t, const struct request *r,
                   unsigned flags);

/* Join `op` to the chain whose last member so far is `last`. */
void op_chain (struct op *last, struct op *op);

/* It holds its chain up no longer: its last CQE has come, or what still comes
** is a notification. If the next member is to be cancelled that goes now. */
void op_leave_chain (struct op_table *t, struct op *op);

/* The number that it names is this handle's. */
void op_use (struct op *op, struct handle *h);

/* The submit starts it, and the number of its descriptor is not needed from
** then on. (Collection gives that up only when it has ended.) */
void op_starts (struct op *op);

/* On the list of those whose cancel is to be sent, and off it: it has been.
** One that ends is taken off. */
void op_list (struct op_table *t, struct op *op);
void op_unlist (struct op_table *t, struct op *op);

/* Give the slot of an ended operation back. */
void op_free (struct op_table *t, struct op *op);

enum op_match { MATCH_MESSAGE, MATCH_STALE, MATCH_LIVE };

/* Whose is this CQE? */
enum op_match op_match (struct op_table *t, uint64_t user_data,
                        struct op **op);

/* The operation that is known by this token, ended or not; or NULL. */
struct op *op_find (struct op_table *t, uint64_t token);

/* A CQE that matched: keep the books and call `deliver`. */
void op_complete (struct op_table *t, struct op *op, int32_t res,
                  uint32_t flags);

/* The member of op's chain that a cancel must name: the first unfinished. */
struct op *op_first_unfinished (struct op *op);

/* The ring closes and nothing more will come: end a flying operation as if
** it had been cancelled. With `bury` its pins are kept for ever, for the
** kernel has not let go of it. */
void op_abandon (struct op_table *t, struct op *op, bool bury);

/* Every operation that is not free: from NULL to NULL. */
struct op *op_each (struct op_table *t, struct op *after);

/* Whose is it? */
struct op_table *op_table_of (const struct op *op);

/* The handle of what a request or an operation names by its `fd`, a descriptor
** or the ring that a message is for. NULL: a plain number, or a slot. */
static inline struct handle *request_handle (const struct request *q) {
  if (q->req_flags & REQ_TARGET) return (struct handle *)q->pin[0];
  return q->sqe.flags & IOSQE_FIXED_FILE ? NULL
                                         : (struct handle *)q->pin[OP_PIN_FD];
}

static inline struct handle *op_handle (const struct op *op) {
  if (op->opcode == IORING_OP_MSG_RING) return (struct handle *)op->pin[0];
  return op->prev ? (struct handle *)op->pin[OP_PIN_FD] : NULL;
}

/* What a request names now: the number is the handle's, and may change. */
static inline int request_fd (const struct request *q) {
  const struct handle *h = request_handle(q);
  return h ? handle_number(h) : q->sqe.fd;
}

/* Does a result of `opcode` come before another completion, which says that
** the memory is free? */
static inline bool op_tells_twice (unsigned opcode) {
  return opcode == IORING_OP_SEND_ZC || opcode == IORING_OP_SENDMSG_ZC;
}

/* Is this completion one that the caller did not ask to be told of? */
static inline bool op_unreported (const struct op *op, int32_t res) {
  return (op->op_flags & OP_SILENT)
         && (res >= 0 ? (uint32_t)res >= op->whole
                      : res == -ETIME && (op->op_flags & OP_ETIME));
}

static inline bool op_lawful (const struct op_table *t) {
  return t->submitted == t->completed + t->silent + t->flying;
}

#endif
