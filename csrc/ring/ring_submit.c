/*
** ring_submit: make room in the SQ, turn requests into operations and SQEs,
** and enter the kernel. All that can fail comes before the first request of a
** chain is launched: launch_request itself must not fail.
*/

#include "compat.h"
#include "ring/ring_submit.h"
#include "ring/ring_internal.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_buffers.h"
#include "ring/ring_reap.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>


/* ---- entering ---------------------------------------------------------- */

/* An SQE may name a ring or a descriptor that was closed after the SQE was
** queued. Make it fail with EBADF; ring_reap translates the error. */
static void refuse_closed (struct ring *r) {
  unsigned now = handle_marked_count();
  if (now == r->marked_count)
    return;
  r->marked_count = now;
  for (unsigned i = 0, n = sys_unread(&r->io); i < n; i++) {
    struct io_uring_sqe *sqe = sys_queued(&r->io, i);
    const struct op *op = op_find(&r->ops, sqe->user_data);
    const struct handle *h = op ? op_handle(op) : NULL;
    if (h && handle_closed(h))
      sqe->fd = -1;  /* guard: a send to a closed ring fails */
  }
}

static void begin_enter (struct ring *r) {
  ring_look_at_number(r);
  refuse_closed(r);
  r->stats.enters++;
  if (io_uring_cq_has_overflow(&r->io)) r->stats.overflowed++;
}

int ring_enter_bare (struct ring *r, unsigned wait, int64_t ns) {
  begin_enter(r);
  return r->enter_flags ? sys_enter_with(&r->io, wait, ns, 0, r->enter_flags)
                        : sys_enter(&r->io, wait, ns);
}

int ring_reap_silent (struct ring *r) {
  return r->ops.silent_flying > 0
         && sys_cq_ready(&r->io) >= r->io.cq.ring_entries / 2
         ? ring_reap(r) : 0;
}

/* Make `n` slots free in the SQ, by submitting. */
static int reserve_sqes (struct ring *r, unsigned n) {
  int64_t deadline = 0;
  while (sys_sq_space(&r->io) < n) {
    int rc = ring_enter_bare(r, 0, SYS_FOREVER);
    if (rc == -EINTR) continue;
    if (rc == -EBUSY || rc == -EAGAIN) {
      /* the kernel takes no more before completions are reaped */
      int taken = ring_reap(r);
      if (taken < 0) return taken;
      if (taken > 0) continue;
      return rc;
    }
    if (rc < 0) return rc;
    rc = ring_reap_silent(r);
    if (rc < 0) return rc;
    if (sys_sq_space(&r->io) < n) {  /* SQPOLL: wait for its thread */
      if (deadline == 0) deadline = clock_after(1000000000);
      else if (clock_now() > deadline) return -EBUSY;
      sched_yield();
    }
  }
  return 0;
}

/* The kernel stops a submit at a request that fails, and those behind it must
** be submitted too. (On an SQPOLL ring: until its thread has read all of
** them.) */
static void submit_queued (struct ring *r) {
  if (r->open && r->enabled && sys_sq_ready(&r->io) > 0
      && r->fork_id == fork_id())
    reserve_sqes(r, r->io.sq.ring_entries);  /* guard: all that is queued */
}

void ring_submit_all (struct ring *list) {
  for (struct ring *r = list; r; r = r->next) submit_queued(r);
}

void ring_submit_uses (struct ring *list, const struct handle *h) {
  for (struct ring *r = list; r; r = r->next) {
    if (r->unpinned || h->ops)
      submit_queued(r);  /* guard: the number may be another file's later */
    if (r->unpinned && sys_sq_ready(&r->io) == 0) r->unpinned = false;
  }
}


/* ---- queueing ---------------------------------------------------------- */

static struct io_uring_sqe *push_sqe (struct ring *r,
                                      const struct io_uring_sqe *from,
                                      const struct op *op) {
  struct io_uring_sqe *sqe = sys_push(&r->io, from);
  sqe->user_data = op->token;
  sqe->flags &= (uint8_t)~IOSQE_CQE_SKIP_SUCCESS;  /* guard: op_table.h */
  return sqe;
}

/* Does an io-wq worker look up what the request names? So it is for what has
** a directory, which is looked up with the path; and for what the kernel
** always gives to a worker. (ABI: the kernel lists the same opcodes.) */
static bool starts_in_worker (unsigned opcode) {
  switch (opcode) {
    case IORING_OP_OPENAT: case IORING_OP_OPENAT2: case IORING_OP_STATX:
    case IORING_OP_RENAMEAT: case IORING_OP_UNLINKAT: case IORING_OP_MKDIRAT:
    case IORING_OP_SYMLINKAT: case IORING_OP_LINKAT:
    case IORING_OP_FSYNC: case IORING_OP_SYNC_FILE_RANGE:
    case IORING_OP_FALLOCATE: case IORING_OP_FTRUNCATE: case IORING_OP_FADVISE:
    case IORING_OP_SPLICE: case IORING_OP_TEE: case IORING_OP_SHUTDOWN:
    case IORING_OP_FGETXATTR: case IORING_OP_FSETXATTR:
      return true;
    default:
      return false;
  }
}

/* May the kernel look up the request's file only after the submit? It does so
** for later members of a chain and for requests behind an IO_DRAIN, when their
** turn comes; for what an io-wq worker starts; and on an SQPOLL ring, in its
** thread. */
static bool starts_late (const struct ring *r, const struct op *op,
                         const struct request *q) {
  if (op->op_flags & OP_FOLLOWS) return true;
  if (q->sqe.flags & IOSQE_ASYNC) return true;  /* guard: the number is kept */
  if (starts_in_worker(op->opcode)) return true;  /* guard: the same */
  return r->ops.drained || (r->io.flags & IORING_SETUP_SQPOLL);
}

/* The token that an SQE names. The kernel does not find a later member of a
** chain, so a cancel of one names the first unfinished member instead. */
static uint64_t named_token (struct ring *r, const struct io_uring_sqe *sqe) {
  struct op *op = op_find(&r->ops, sqe->addr);
  return op && op->state == OP_FLYING && sqe->opcode == IORING_OP_ASYNC_CANCEL
         ? op_first_unfinished(op)->token : sqe->addr;
}

/* The handle of the plain number that a request names, if there is one. */
static struct handle *owner_of (const struct ring *r,
                                const struct request *q) {
  if (q->sqe.flags & IOSQE_FIXED_FILE)  /* guard: a slot is no number */
    return NULL;
  return (q->req_flags & REQ_NUMBER) && q->sqe.fd >= 0 && r->handle->owner
         ? handle_find(r->handle->owner, q->sqe.fd) : NULL;
}

/* For the few requests that name an operation, a Lua file, a plain number or
** a second descriptor, or whose memory is kept. */
static void launch_rare (struct ring *r, const struct request *q,
                         struct op *op, struct io_uring_sqe *sqe,
                         struct handle **dups) {
  struct handle *owner = owner_of(r, q);
  if (owner) op_pin_handle(op, owner);
  if (q->req_flags & REQ_NAMES_OP) sqe->addr = named_token(r, &q->sqe);
  if (q->req_flags & REQ_KEPT) ring_keep(r, op);
  if (q->req_flags & REQ_SECOND)
    request_set_second(sqe, handle_number((struct handle *)
                                          q->pin[OP_PIN_AUX]));
  if (q->req_flags & REQ_FILE) {
    struct handle *d = *dups;
    *dups = d->next_dup;
    sqe->fd = handle_number(d);
    op->pin[OP_PIN_FD] = &d->block;
    refblock_fly(&d->block);
  }
}

/* Opcodes that name descriptors besides `fd`. */
#define NAMES_MORE  (1ull << IORING_OP_SPLICE | 1ull << IORING_OP_TEE \
                     | 1ull << IORING_OP_EPOLL_CTL \
                     | 1ull << IORING_OP_FILES_UPDATE \
                     | 1ull << IORING_OP_RENAMEAT | 1ull << IORING_OP_LINKAT \
                     | 1ull << IORING_OP_MSG_RING)

/* May it name a number that no pin of it keeps? */
static bool is_unpinned (const struct op *op, const struct io_uring_sqe *sqe) {
  return (op->pin[OP_PIN_FD] == NULL && sqe->fd >= 0)
         || (sqe->opcode < 64 && (NAMES_MORE >> sqe->opcode & 1));
}

static bool waits_for_any (unsigned opcode) {
  return opcode == IORING_OP_POLL_ADD || opcode == IORING_OP_READ
         || opcode == IORING_OP_READV;
}

/* May the request wait for an eventfd, or for what is woken by one? Neither of
** these is a file, a pipe, a socket or a device. */
static bool may_nest (const struct io_uring_sqe *sqe) {
  struct stat st;
  return waits_for_any(sqe->opcode)
         && ((sqe->flags & IOSQE_FIXED_FILE)
             || (fstat(sqe->fd, &st) == 0 && (st.st_mode & S_IFMT) == 0));
}

void ring_set_polled (struct ring *r) {
  r->polled = true;
  for (struct op *op = op_each(&r->ops, NULL); op; op = op_each(&r->ops, op))
    if (waits_for_any(op->opcode)) r->nested = true;
}

/* Cannot fail: the SQ and the table have free slots. A Lua file may be closed
** without our knowledge, so its request names the next of `dups` instead. A
** handle's number is read here and not before, for it may change. */
static struct op *launch_request (struct ring *r, const struct request *q,
                                  unsigned flags, struct op *before,
                                  struct handle **dups) {
  const struct handle *h = request_handle(q);
  struct op *op;
  struct io_uring_sqe *sqe;
  if ((flags & OP_LOOPED) && !(q->req_flags & REQ_SILENT)) r->held++;
  op = op_new(&r->ops, q, flags);
  if (before) op_chain(before, op);
  sqe = push_sqe(r, &q->sqe, op);
  if (h) op->fd = sqe->fd = handle_number(h);
  if (r->polled && !r->nested) r->nested = may_nest(sqe);
  if (q->req_flags & (REQ_NUMBER | REQ_NAMES_OP | REQ_KEPT | REQ_FILE
                      | REQ_SECOND))
    launch_rare(r, q, op, sqe, dups);
  if (is_unpinned(op, sqe)) r->unpinned = true;
  if (op->pin[OP_PIN_FD] && !(q->req_flags & REQ_FILE)
      && !starts_late(r, op, q))
    op_starts(op);
  if (q->sqe.flags & IOSQE_BUFFER_SELECT) {
    struct buf_group *g = ring_group(r, op->group);
    op->op_flags |= OP_READS;  /* guard: the kernel uses the group's memory */
    if (g && op->pin[OP_PIN_AUX] == NULL) {  /* guard: it may be removed */
      op->pin[OP_PIN_AUX] = &g->block;
      refblock_pin(&g->block);
    }
  }
  return op;
}

/* (The library's own requests, such as cancels, are never refused.) */
static bool too_many (const struct ring *r, unsigned n) {
  return r->ops.nfree < n && !account_has_room(r->account, 0);
}

static int reserve_slots (struct ring *r, unsigned n) {
  int rc = reserve_sqes(r, n);  /* guard: a chain is submitted whole */
  return rc < 0 ? rc : op_reserve(&r->ops, n);
}

static bool target_closed (const struct request *q) {
  return (q->req_flags & REQ_TARGET) && handle_closed(request_handle(q));
}

/* A list of dups, one for each request that names a Lua file, in order. */
static int dup_files (const struct request *const *requests, unsigned n,
                      struct handle **dups) {
  for (unsigned i = n; i-- > 0; ) {
    if (requests[i]->req_flags & REQ_FILE) {
      struct handle *d = handle_dup(requests[i]->sqe.fd);
      if (d == NULL) {
        int rc = -errno;
        while ((d = *dups) != NULL) {
          *dups = d->next_dup;
          refblock_release(&d->block);
        }
        return rc;
      }
      d->next_dup = *dups;
      *dups = d;
    }
  }
  return 0;
}

int ring_push (struct ring *r, const struct request *const *requests,
               unsigned n, unsigned flags, struct op **ops) {
  struct handle *dups = NULL;
  bool keeps = false;
  int rc;
  for (unsigned i = 0; i < n; i++) {
    if (requests[i]->req_flags & REQ_KEPT) keeps = true;
    if (target_closed(requests[i]))
      return -EPIPE;
    if (requests[i]->sqe.flags & IOSQE_IO_DRAIN)
      r->ops.drained = true;  /* (a member's flag delays the whole chain) */
  }
  rc = too_many(r, n) ? -ENOMEM : reserve_slots(r, n);
  if (rc == 0 && keeps)
    rc = ring_reserve_kept(r, n);
  if (rc == 0)
    rc = dup_files(requests, n, &dups);
  if (rc < 0)
    return rc;
  for (unsigned i = 0; i < n; i++) {
    ops[i] = launch_request(r, requests[i], flags, i > 0 ? ops[i - 1] : NULL,
                            &dups);
    if (i + 1 < n && !(requests[i]->sqe.flags & IOSQE_IO_HARDLINK))
      sys_last(&r->io)->flags |= IOSQE_IO_LINK;
  }
  return 0;
}

int ring_push_one (struct ring *r, const struct request *q, unsigned flags,
                   struct op **op) {
  if (target_closed(q))
    return -EPIPE;
  if (q->req_flags & (REQ_FILE | REQ_KEPT))
    return ring_push(r, &q, 1, flags, op);
  if (sys_sq_space(&r->io) == 0 || r->ops.nfree == 0) {
    int rc = too_many(r, 1) ? -ENOMEM : reserve_slots(r, 1);
    if (rc < 0)
      return rc;
  }
  *op = launch_request(r, q, flags, NULL, NULL);
  return 0;
}

int ring_push_internal (struct ring *r, const struct io_uring_sqe *sqe,
                        void *waiter, struct op **op) {
  struct request q = {0};
  int rc = reserve_slots(r, 1);
  if (rc < 0)
    return rc;
  q.sqe = *sqe;
  *op = op_new(&r->ops, &q, OP_INTERNAL);
  (*op)->waiter = waiter;
  push_sqe(r, sqe, *op);
  if (is_unpinned(*op, sqe)) r->unpinned = true;
  return 0;
}


/* ---- cancels, sent before anything else -------------------------------- */

static void prepare_cancel (struct io_uring_sqe *sqe, uint64_t token) {
  memset(sqe, 0, sizeof(*sqe));
  io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, sqe, -1, NULL, 0, 0);
  sqe->addr = token;
}

/* Cancels that came too early are waiting for a pause: begin it. */
static void begin_pause (struct ring *r) {
  struct io_uring_sqe sqe;
  struct op *op;
  memset(&sqe, 0, sizeof(sqe));
  io_uring_prep_rw(IORING_OP_TIMEOUT, &sqe, -1, ring_next_pause(r), 1, 0);
  r->pausing = ring_push_internal(r, &sqe, NULL, &op) == 0;
}

/* Put the listed cancels into the SQ, submitting when it is full. A cancel
** that finds no free slot stays listed for the next call. */
static void ring_send_cancels (struct ring *r) {
  if (ring_wants_pause(r)) begin_pause(r);
  else if (r->ops.futile.first && !r->pausing && !r->closing)
    ring_cancel_unpaced(r);
  while (r->ops.cancels.first) {
    struct op *op = r->ops.cancels.first;
    struct op *cancel;
    struct io_uring_sqe sqe;
    if (reserve_sqes(r, 1) < 0)
      return;
    if (op != r->ops.cancels.first)  /* guard: or its cancel is forgotten */
      continue;  /* (reserve_sqes has reaped, and the operation has ended) */
    if (r->ops.draining > 0) {
      /* a request would wait behind the one with IO_DRAIN, and so perhaps for
         the very operation that it is to cancel */
      ring_enter_bare(r, 0, SYS_FOREVER);
      op_cancel_unlist(&r->ops, op);
      ring_cancel_answered(r, op, ring_cancel_now(r, op->token, 0));
      continue;
    }
    prepare_cancel(&sqe, op->token);
    /* guard: out of memory */
    if (ring_push_internal(r, &sqe, NULL, &cancel) < 0)
      return;
    cancel->data = op->token;
    op_cancel_unlist(&r->ops, op);
  }
}

int ring_enter (struct ring *r, unsigned wait, int64_t ns) {
  ring_send_cancels(r);
  return ring_enter_bare(r, wait, ns);
}

void ring_catch_up (struct ring *r) {
  if (ring_needs_enter(r) || ring_is_blind(r)) ring_enter(r, 0, SYS_FOREVER);
  ring_reap(r);
}

int ring_enter_batched (struct ring *r, unsigned wait, int64_t ns,
                        uint32_t least) {
  ring_send_cancels(r);
  begin_enter(r);
  return sys_enter_with(&r->io, wait, ns, least, r->enter_flags);
}
