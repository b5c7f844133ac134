/*
** sys: entering the kernel, and moving entries through the SQ and the CQ. The
** flags in a CQE must not be trusted: a message's sender chooses them.
*/

#include "compat.h"
#include "ring/sys.h"

#include "base/clock.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHEAP_NS 400  /* a request costs that much more than a call */


int sys_setup (unsigned entries, struct io_uring *ring,
               struct io_uring_params *p) {
  int rc = io_uring_queue_init_params(entries, ring, p);
  if (rc == 0 && ring->sq.array != NULL
      && !(ring->flags & IORING_SETUP_NO_SQARRAY)) {
    /* Slots are used in order, so the indirection array never changes. Newer
       liburings fill it here too; 2.3 does so at each submit, which is not
       used. */
    for (unsigned i = 0; i < ring->sq.ring_entries; i++)
      ring->sq.array[i] = i;
  }
  return rc;
}


void sys_exit (struct io_uring *ring) {
  io_uring_queue_exit(ring);
}


/* ---- SQ ---------------------------------------------------------------- */

static unsigned sq_head (const struct io_uring *ring) {
  return io_uring_smp_load_acquire(ring->sq.khead);
}

unsigned sys_sq_ready (const struct io_uring *ring) {
  return ring->sq.sqe_tail - sq_head(ring);
}

unsigned sys_sq_space (const struct io_uring *ring) {
  return ring->sq.ring_entries - sys_sq_ready(ring);
}

static struct io_uring_sqe *sys_slot (struct io_uring *ring, unsigned n) {
  unsigned shift = (ring->flags & IORING_SETUP_SQE128) ? 1 : 0;
  return &ring->sq.sqes[(n & ring->sq.ring_mask) << shift];
}

struct io_uring_sqe *sys_push (struct io_uring *ring,
                               const struct io_uring_sqe *sqe) {
  struct io_uring_sqe *to = sys_slot(ring, ring->sq.sqe_tail);
  memcpy(to, sqe, sizeof(*sqe));
  if (ring->flags & IORING_SETUP_SQE128)
    memset(to + 1, 0, sizeof(*to));
  ring->sq.sqe_tail++;
  return to;
}

struct io_uring_sqe *sys_last (struct io_uring *ring) {
  return sys_slot(ring, ring->sq.sqe_tail - 1);
}

/* (An SQPOLL thread may have read all that is published.) */
static unsigned first_unread (const struct io_uring *ring) {
  return (ring->flags & IORING_SETUP_SQPOLL) ? *ring->sq.ktail
                                             : sq_head(ring);
}

unsigned sys_unread (const struct io_uring *ring) {
  return ring->sq.sqe_tail - first_unread(ring);
}

struct io_uring_sqe *sys_queued (struct io_uring *ring, unsigned i) {
  return sys_slot(ring, first_unread(ring) + i);
}


/* ---- the kernel -------------------------------------------------------- */

int sys_needs_enter (const struct io_uring *ring) {
  unsigned flags = __atomic_load_n(ring->sq.kflags, __ATOMIC_RELAXED);
  return (flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0;
}

int sys_enter (struct io_uring *ring, unsigned wait, int64_t ns) {
  return sys_enter_with(ring, wait, ns, 0, 0);
}

int sys_enter_with (struct io_uring *ring, unsigned wait, int64_t ns,
                    uint32_t least, unsigned flags) {
  unsigned submit;
  struct __kernel_timespec ts;
  struct io_uring_getevents_arg arg;

  flags |= IORING_ENTER_GETEVENTS;
  io_uring_smp_store_release(ring->sq.ktail, ring->sq.sqe_tail);
  ring->sq.sqe_head = ring->sq.sqe_tail;
  submit = sys_sq_ready(ring);
  if (ring->flags & IORING_SETUP_SQPOLL) {
    /* Publish the tail before reading the flag: otherwise a poller that goes
       to sleep in between is never woken. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(ring->sq.kflags, __ATOMIC_RELAXED)
        & IORING_SQ_NEED_WAKEUP)
      flags |= IORING_ENTER_SQ_WAKEUP;
  }
  if (wait == 0 || (ns < 0 && least == 0))
    return io_uring_enter2((unsigned)ring->enter_ring_fd, submit, wait, flags,
                           NULL, _NSIG / 8);
  memset(&arg, 0, sizeof(arg));
  arg.sigmask_sz = _NSIG / 8;
  if (ns >= 0) {
    ts.tv_sec = ns / 1000000000;
    ts.tv_nsec = ns % 1000000000;
    arg.ts = (uint64_t)(uintptr_t)&ts;
  }
  compat_set_min_wait(&arg, least);
  return io_uring_enter2((unsigned)ring->enter_ring_fd, submit, wait,
                         flags | IORING_ENTER_EXT_ARG, (sigset_t *)&arg,
                         sizeof(arg));
}

int sys_register (int fd, unsigned opcode, const void *arg, unsigned nr) {
  return io_uring_register((unsigned)fd, opcode, arg, nr);
}

/* The shortest of several rounds: a round may be interrupted. */
static int64_t measure_calls (void) {
  enum { ROUNDS = 8, CALLS = 4 };
  int64_t best = INT64_MAX;
  for (int i = 0; i < ROUNDS; i++) {
    int64_t took = clock_now();
    for (int n = 0; n < CALLS; n++) syscall(SYS_getppid);
    took = clock_now() - took;
    if (took < best) best = took;
  }
  return best / CALLS;
}

bool sys_calls_are_cheap (void) {
  static _Atomic int64_t cost;  /* 0: not measured yet */
  int64_t ns = atomic_load_explicit(&cost, memory_order_relaxed);
  if (ns == 0) {
    ns = measure_calls() + 1;
    atomic_store_explicit(&cost, ns, memory_order_relaxed);
  }
  return ns <= CHEAP_NS;
}


/* ---- CQ ---------------------------------------------------------------- */

unsigned sys_cq_ready (const struct io_uring *ring) {
  return io_uring_smp_load_acquire(ring->cq.ktail) - *ring->cq.khead;
}

unsigned sys_take (struct io_uring *ring, struct cqe *out, unsigned max) {
  /* A CQE takes two entries on a CQE32 ring, and on a CQE_MIXED ring if it has
     CQE_F_32; on other rings that flag is forged by a message's sender. */
  unsigned shift = (ring->flags & IORING_SETUP_CQE32) ? 1 : 0;
  bool mixed = (ring->flags & IORING_SETUP_CQE_MIXED) != 0;
  unsigned head = *ring->cq.khead;
  unsigned tail = io_uring_smp_load_acquire(ring->cq.ktail);
  unsigned n = 0;
  while (head != tail && n < max) {
    const struct io_uring_cqe *c =
      &ring->cq.cqes[(head & ring->cq.ring_mask) << shift];
    out[n].user_data = c->user_data;
    out[n].res = c->res;
    out[n].flags = c->flags;
    head++;
    if (mixed && (c->flags & IORING_CQE_F_32) && head != tail) head++;
    n++;
  }
  /* guard: entries are freed only after they have been copied */
  io_uring_smp_store_release(ring->cq.khead, head);
  return n;
}

unsigned sys_cq_lost (const struct io_uring *ring) {
  return __atomic_load_n(ring->cq.koverflow, __ATOMIC_RELAXED);
}
