/*
** op_table: the table of a ring's operations. (No Lua in it.)
**
** An operation is a request that the kernel has not finished: it lives from
** the queueing of its SQE until the CQE without F_MORE. Its pins keep alive
** all memory and every descriptor that the kernel may use for it, until that
** last CQE. Each ring has one table, which the ring's owner calls from one
** thread.
**
** The kernel knows an operation by its token (user_data): a slot of this table
** (24 bits) and a nonce drawn for this use of the slot (40 bits). A CQE does
** not say where it comes from, and the sender of a message chooses all 64
** bits. So a CQE is an operation's only if its user_data is a live token; one
** with the last token of a slot is stale and dropped; all others are messages.
** No part of a CQE is ever used as a pointer.
**
** Invariants: a slot is not reused while the kernel may still complete its
** last operation; no pin is released early; no completion of one operation
** reaches another. At all times
**     submitted == completed + silent + in flight.
**
** Silent operations (CQE_SKIP_SUCCESS) report only errors to the caller. The
** flag is not passed to the kernel: the table could not tell when such a
** request has ended, nor when those linked behind it have. The request
** completes as any other, and a success is counted as silent and not reported.
** A result that breaks a chain, such as a short read or write, is not a
** success.
**
** Chains: members know their neighbours, because a cancel has to name the
** first unfinished one. A member that ends leaves the chain. Descriptors: a
** handle lists the operations in flight on it, because its close cancels them.
*/

#ifndef uring_op_table_h
#define uring_op_table_h

#include "compat.h"
#include "base/handle.h"
#include "ring/pending.h"
#include "ring/recvmsg_out.h"

#include <errno.h>

/* The pins of a request and an operation: objects that they keep alive. */
#define OP_PIN_AUX 0     /* the handle of a message's target (REQ_TARGET), the
                            memory of an address, a msghdr's buffer, a second
                            descriptor's handle, or the buffer group */
#define OP_PIN_MEMORY 1  /* the bytes that are read or written, or a msghdr */
#define OP_PIN_FD 2      /* the handle of the descriptor */
#define OP_PINS 3
#define OP_SLOT_BITS 24
#define OP_MAX ((1u << OP_SLOT_BITS) - 1)

/* What to do with a result that is not wanted. */
enum disposal {
  DISPOSE_NOTHING,
  DISPOSE_FD,        /* res is a new descriptor: close it */
  DISPOSE_SLOT       /* res is a new direct descriptor: remove it */
};

/* Properties of a request, from its prep or from the SQE's flags. */
enum req_flag {
  REQ_MULTI = 1,      /* more than one CQE: multishot, or zero copy */
  REQ_SILENT = 2,     /* CQE_SKIP_SUCCESS */
  REQ_NAMES_OP = 4,   /* addr is the token of an operation on `ring_id` */
  REQ_READS = 8,      /* a pin is memory that the kernel uses */
  REQ_TARGET = 16,    /* a message: pin[OP_PIN_AUX] is the handle of the target
                         ring, which `fd` names */
  REQ_FILE = 32,      /* it names a Lua file: the operation uses a dup */
  REQ_KEPT = 64,      /* its memory is the kernel's until the ring closes */
  REQ_NUMBER = 128,   /* it names a descriptor by a plain number */
  REQ_SECOND = 256    /* pin[OP_PIN_AUX] is the handle of a second descriptor,
                         which request_set_second names */
};

/* The contents of a prepared SQE, which an operation copies. */
struct request {
  struct io_uring_sqe sqe;
  struct refblock *pin[OP_PINS];
  uint64_t data;       /* the caller's, from set_data64 */
  uint64_t ring_id;    /* with REQ_NAMES_OP: of that operation's ring */
  uint16_t min_kernel; /* first kernel that has it (NAMES_VERSION), or 0 */
  uint16_t req_flags;
  uint8_t disposal;
  struct recvmsg_layout layout;  /* with REQ_MULTI: of the buffers it fills */
  uint32_t moves;      /* of its memory, when it was prepared */
};

enum op_state {
  OP_FREE,
  OP_FLYING,    /* the kernel has it, or gets it with the next submit */
  OP_ENDED      /* its last CQE was reaped; its results were not all taken */
};

enum op_flag {
  OP_SILENT = 1,
  OP_INTERNAL = 2,    /* the library's own, not reported to the caller */
  OP_DROPPED = 4,     /* its results are not wanted: dispose of them */
  OP_LOOPED = 8,      /* awaited by tasks, not by hand */
  OP_CANCEL = 16,     /* its cancel is requested, or was sent */
  OP_CANCEL_LISTED = 32,  /* on the list of cancels to send */
  OP_PIECE = 64,      /* the task that waits for it has more to send */
  OP_HARDLINK = 128,
  OP_MULTI = 256,
  OP_ETIME = 512,     /* -ETIME is a success */
  OP_READS = 1024,    /* the kernel uses memory that it pins */
  OP_FOLLOWS = 2048,  /* not the first member of its chain */
  OP_DRAIN = 4096,    /* IO_DRAIN: requests queued after it wait for it */
  OP_STARTS = 8192,   /* started by the submit, which looks its file up: its
                         descriptor may be closed from then on */
  OP_BUNDLE = 16384,  /* a completion may name several buffers */
  OP_NOTIFYING = 32768  /* zero copy: its result has arrived, and the
                           notification that its memory is free is pending */
};

enum cancel_state {
  CANCEL_FIRST,         /* no cancel of it has come too early */
  CANCEL_AGAIN,         /* one has, and was sent again at once */
  CANCEL_PAUSES         /* it is on the list `futile` */
};

struct wait_node;
struct task;
struct select_waiter;
struct watch;
struct object_waitq;

/* (Fields in the order of use: those that every operation touches first.) */
struct op {
  uint64_t token;       /* the kernel's user_data */
  uint64_t retired;     /* the slot's last token that has had its last CQE */
  uint32_t slot;
  uint16_t op_flags;
  uint8_t state;
  uint8_t opcode;
  uint8_t disposal;
  uint8_t cancel_state; /* enum cancel_state */
  uint16_t min_kernel;
  uint16_t group;       /* id of the buffer group that it picks from */
  struct recvmsg_layout layout;
  int32_t fd;           /* for messages about it */
  uint32_t full_size;   /* silent: a smaller result is short, no success */
  uint64_t data;        /* the caller's, from the request */
  struct refblock *pin[OP_PINS];
  union {
    struct op *next_free;        /* OP_FREE */
    struct op *next;             /* in flight on the same descriptor */
  };
  struct op *prev;      /* on the descriptor; the first's is the last one,
                           NULL if it is not listed */
  struct op *before, *behind;    /* neighbours in its chain */
  union {               /* the loop's: what its completions wake; or NULL */
    void *waiter;                /* whichever it is */
    struct wait_node *node;      /* of a task or of a select waiter */
    struct task *task;           /* if node->co is not NULL */
    struct select_waiter *select_waiter;  /* if it is */
    struct watch *watch;         /* with OP_INTERNAL */
  };
  struct object_waitq *waitq;    /* the loop's: the queue that it serves */
  struct source results;         /* completions not yet taken */
  struct op *cancel_next, *cancel_prev;
};

struct op_list {
  struct op *first, *last;
};

struct op_table {
  struct account *account;  /* or NULL */
  struct slab **slabs;
  uint32_t nslabs, nslots;
  struct op *free;
  uint32_t nfree;
  struct op_list cancels;  /* whose cancel is yet to be sent, in the order of
                              the requests */
  struct op_list futile;   /* whose cancel was sent in vain, and is sent again
                              after a pause */
  uint64_t seed[2];
  uint64_t submitted, completed, silent, stale;
  uint32_t flying;
  uint32_t internal;       /* of these, with OP_INTERNAL */
  uint32_t silent_flying;  /* of these, with OP_SILENT */
  uint32_t draining;       /* of these, with OP_DRAIN */
  uint32_t notifying;      /* of these, with OP_NOTIFYING */
  bool drained;  /* IO_DRAIN was used: any request may start late */
  /* called for each completion, after the table's counts are updated */
  void (*deliver)(struct op_table *t, struct op *op, int32_t res,
                  uint32_t flags, bool last);
};

int op_table_init (struct op_table *t);
void op_table_free (struct op_table *t);

/* Make sure that the next `n` calls of op_new succeed; 0 or -errno. */
int op_reserve (struct op_table *t, unsigned n);

/* Start an operation: a slot with a fresh token and its own pins. A slot must
** have been reserved; then this cannot fail. */
struct op *op_new (struct op_table *t, const struct request *r,
                   unsigned flags);

/* Join `op` to the chain whose last member so far is `last`. */
void op_chain (struct op *last, struct op *op);

/* Its chain does not wait for it any longer: its last CQE has arrived, or only
** a notification is pending. If the next member's cancel is requested, that is
** listed now. */
void op_leave_chain (struct op_table *t, struct op *op);

/* The plain number that it names is this handle's: pin the handle. */
void op_pin_handle (struct op *op, struct handle *h);

/* The submit starts it, so that an explicit close of its descriptor does not
** have to reserve the number for it. (The pin stays until it ends, so that
** collection does not close the number before.) */
void op_starts (struct op *op);

/* Put it on the list of cancels to send, and remove it: the cancel was sent.
** An operation that ends is removed too. op_cancel_pause: its cancel is to be
** sent again, but not yet. */
void op_cancel_list (struct op_table *t, struct op *op);
void op_cancel_unlist (struct op_table *t, struct op *op);
void op_cancel_pause (struct op_table *t, struct op *op);

/* Free the slot of an ended operation. */
void op_free (struct op_table *t, struct op *op);

enum op_match { MATCH_MESSAGE, MATCH_STALE, MATCH_LIVE };

/* Does this CQE belong to a live operation (put into `op`)? */
enum op_match op_match (struct op_table *t, uint64_t user_data,
                        struct op **op);

/* The operation with this token, ended or not; or NULL. */
struct op *op_find (struct op_table *t, uint64_t token);

/* A CQE that matched: update the counts and call `deliver`. */
void op_complete (struct op_table *t, struct op *op, int32_t res,
                  uint32_t flags);

/* The first unfinished member of op's chain, which a cancel must name. */
struct op *op_first_unfinished (struct op *op);

/* The ring closes and reaps no more: end an operation in flight as if it were
** cancelled. With `bury` its pins are leaked, because the kernel may still use
** what they keep. */
void op_abandon (struct op_table *t, struct op *op, bool bury);

/* Iterate over the operations that are not free: from NULL to NULL. */
struct op *op_each (struct op_table *t, struct op *after);

/* The table of an operation. */
struct op_table *op_table_of (const struct op *op);

/* The handle of the descriptor, or of the message's target, that the `fd` of a
** request or an operation names. NULL for a plain number or a direct
** descriptor. */
static inline struct handle *request_handle (const struct request *q) {
  if (q->req_flags & REQ_TARGET) return (struct handle *)q->pin[OP_PIN_AUX];
  return q->sqe.flags & IOSQE_FIXED_FILE ? NULL
                                         : (struct handle *)q->pin[OP_PIN_FD];
}

static inline struct handle *op_handle (const struct op *op) {
  if (op->opcode == IORING_OP_MSG_RING)
    return (struct handle *)op->pin[OP_PIN_AUX];
  return op->prev ? (struct handle *)op->pin[OP_PIN_FD] : NULL;
}

/* The number that a request names now: a handle's number may change. */
static inline int request_fd (const struct request *q) {
  const struct handle *h = request_handle(q);
  return h ? handle_number(h) : q->sqe.fd;
}

/* The field for the number of a second descriptor. */
static inline void request_set_second (struct io_uring_sqe *sqe, int number) {
  switch (sqe->opcode) {
    case IORING_OP_SPLICE: case IORING_OP_TEE:
      sqe->splice_fd_in = number;
      break;
    case IORING_OP_EPOLL_CTL: sqe->off = (uint32_t)number; break;
    default: sqe->len = (uint32_t)number;  /* RENAMEAT, LINKAT */
  }
}

/* Is a result of `opcode` followed by a notification that the memory is free
** (zero copy)? */
static inline bool op_notifies (unsigned opcode) {
  return opcode == IORING_OP_SEND_ZC || opcode == IORING_OP_SENDMSG_ZC;
}

/* Is this completion the success of a silent operation? */
static inline bool op_unreported (const struct op *op, int32_t res) {
  return (op->op_flags & OP_SILENT)
         && (res >= 0 ? (uint32_t)res >= op->full_size
                      : res == -ETIME && (op->op_flags & OP_ETIME));
}

/* Does the invariant of the counts hold? */
static inline bool op_counts_agree (const struct op_table *t) {
  return t->submitted == t->completed + t->silent + t->flying;
}

#endif
