/*
** sys: the only room that enters the kernel for a ring, or reads a CQ.
**
** It owns nothing. Each call takes a `struct io_uring` that the caller owns,
** and answers as the kernel does: 0 or a count, or -errno. It never blocks
** but where it is told to wait, never allocates, never retries; what to do
** about EINTR, EAGAIN or EBUSY is the caller's business.
**
** Why liburing's own submit-and-wait and peek are not used: they look at the
** CQ on the way, and newer ones act on the flags that they find there. The
** flags of a message are its sender's to choose, so a forged CQE_F_SKIP or
** CQE_F_32 would make them drop or skip entries. Here the CQ is copied out
** entry by entry and advanced by as many as were copied, whatever they say.
**
** To inject faults a test links another file in this one's place.
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

/* Make a ring. `p` has flags, cq_entries and the like; features come back. */
int sys_setup (unsigned entries, struct io_uring *ring,
               struct io_uring_params *p);

/* Unmap and close. The kernel may still be ending requests afterwards. */
void sys_exit (struct io_uring *ring);

/* Free slots in the SQ, slots that the kernel has not yet taken. */
unsigned sys_sq_space (const struct io_uring *ring);
unsigned sys_sq_ready (const struct io_uring *ring);

/* Copy one SQE into the SQ, where it may be changed until sys_enter. There
** must be room: ask sys_sq_space. */
struct io_uring_sqe *sys_push (struct io_uring *ring,
                               const struct io_uring_sqe *sqe);

/* The SQE that was pushed last. */
struct io_uring_sqe *sys_last (struct io_uring *ring);

/* The SQEs that may still be changed, for the kernel has not searched at them:
** sys_unread of them, counted from 0. */
unsigned sys_unread (const struct io_uring *ring);
struct io_uring_sqe *sys_queued (struct io_uring *ring, unsigned i);

#define SYS_FOREVER (-1)

/*
** Publish what was pushed, let the kernel take it, run deferred work and
** flush what overflowed; with `wait` > 0 sleep until that many CQEs are there
** or `ns` nanoseconds have gone by. Returns the number of SQEs taken, or
** -errno when none was: -ETIME and -EINTR are the end of a sleep, and SQEs
** may have been taken all the same.
*/
int sys_enter (struct io_uring *ring, unsigned wait, int64_t ns);

/* Is there a reason to enter although nothing is to be submitted: deferred
** work or overflowed completions that only a system call brings in? */
int sys_needs_enter (const struct io_uring *ring);

/* How many CQEs are there to copy, and copy up to `max` of them. */
unsigned sys_cq_ready (const struct io_uring *ring);
unsigned sys_take (struct io_uring *ring, struct cqe *out, unsigned max);

/* Completions that the kernel had to drop for want of memory. */
unsigned sys_cq_lost (const struct io_uring *ring);

/* io_uring_register(2), -errno on failure. fd -1 is for calls without ring.*/
int sys_register (int fd, unsigned opcode, const void *arg, unsigned nr);

/* Is a system call cheap here? Measured once in a process: on the bare machine
** one takes some 60 ns, with the mitigations of some processors and under some
** hypervisors 1000, and then what can go with others should. */
bool sys_calls_are_cheap (void);

#endif
