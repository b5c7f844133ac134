/*
** sys: the only module that enters the kernel for a ring, or reads a CQ.
**
** It owns nothing. Each call takes a `struct io_uring` that the caller owns,
** and answers as the kernel does: 0 or a count, or -errno. It blocks only when
** it is asked to wait, never allocates and never retries: EINTR, EAGAIN and
** EBUSY are left to the caller.
**
** liburing's submit-and-wait and peek are not used, because they read the CQ
** and newer versions act on the flags that they find there. The sender of a
** message chooses its flags, so a forged CQE_F_SKIP or CQE_F_32 would make
** them drop or skip entries. Here the CQ is copied entry by entry and advanced
** by the number of entries copied.
**
** A test that injects faults links another file in place of sys.c.
*/

#ifndef uring_sys_h
#define uring_sys_h

#include "compat.h"

#include <stdbool.h>

/* A completion, copied out of the CQ. */
struct cqe {
  uint64_t user_data;
  int32_t res;
  uint32_t flags;
};

/* Create a ring. `p` gives flags, cq_entries etc., and receives features. */
int sys_setup (unsigned entries, struct io_uring *ring,
               struct io_uring_params *p);

/* Unmap and close. The kernel may go on ending requests afterwards. */
void sys_exit (struct io_uring *ring);

/* Free slots in the SQ, and slots that the kernel has not yet consumed. */
unsigned sys_sq_space (const struct io_uring *ring);
unsigned sys_sq_ready (const struct io_uring *ring);

/* Copy one SQE into the SQ, where it may be changed until sys_enter. The SQ
** must have a free slot (sys_sq_space). */
struct io_uring_sqe *sys_push (struct io_uring *ring,
                               const struct io_uring_sqe *sqe);

/* The SQE that was pushed last. */
struct io_uring_sqe *sys_last (struct io_uring *ring);

/* The SQEs that the kernel cannot have read yet, so that they may be changed:
** there are sys_unread, counted from 0. */
unsigned sys_unread (const struct io_uring *ring);
struct io_uring_sqe *sys_queued (struct io_uring *ring, unsigned i);

#define SYS_FOREVER (-1)

/*
** Submit the pushed SQEs, run deferred work and flush overflowed CQEs; with
** `wait` > 0 sleep until that many CQEs are in the CQ or `ns` nanoseconds have
** passed. Returns the number of SQEs submitted, or -errno. -ETIME and -EINTR
** end a sleep; SQEs may have been submitted all the same.
*/
int sys_enter (struct io_uring *ring, unsigned wait, int64_t ns);

/* The same with flags of io_uring_enter(2); and with fewer than `wait` CQEs
** the sleep ends after `least` microseconds as soon as there is one (since
** Linux 6.12). */
int sys_enter_with (struct io_uring *ring, unsigned wait, int64_t ns,
                    uint32_t least, unsigned flags);

/* Is there a reason to enter with an empty SQ: deferred work or overflowed
** completions, which only a system call moves to the CQ? */
int sys_needs_enter (const struct io_uring *ring);

/* The number of CQEs in the CQ; and move up to `max` of them to `out`. */
unsigned sys_cq_ready (const struct io_uring *ring);
unsigned sys_take (struct io_uring *ring, struct cqe *out, unsigned max);

/* Completions that the kernel has dropped because it was out of memory. */
unsigned sys_cq_lost (const struct io_uring *ring);

/* io_uring_register(2); -errno on failure. fd -1: the call needs no ring. */
int sys_register (int fd, unsigned opcode, const void *arg, unsigned nr);

/* Are system calls cheap on this machine? Measured once in a process. On bare
** metal one takes some 60 ns, but 1000 with the mitigations of some processors
** and under some hypervisors, and then batching pays. */
bool sys_calls_are_cheap (void);

#endif
