/*
** ring: open and close a ring. (No Lua in it.)
**
** A `struct ring` owns a liburing ring, its operation table, and the pending
** CQEs, which were reaped and not yet taken. One thread at a time may call it;
** other threads only use its handle. The rest of a ring is in other modules:
** ring_submit queues requests and enters the kernel; ring_reap delivers each
** CQE; ring_cancel has the operations to cancel; ring_buffers has the provided
** buffers. Each of these calls only those named after it, and none calls
** ring.c. Above all of them is ring_uses: the operations in flight on a
** descriptor, and its close.
**
** Invariant: memory is not released while an operation that uses it has not
** completed, whether the ring is open or closed.
*/

#ifndef uring_ring_h
#define uring_ring_h

#include "compat.h"
#include "base/waitq.h"
#include "ring/op_table.h"
#include "ring/sys.h"


struct buf_group;
struct kept;
struct ring;

/* The loop's. A bool says whether the callback has taken what it was offered.
** None of them may allocate, raise, or enter a ring. */
struct ring_callbacks {
  bool (*completion)(struct ring *r, struct op *op, int32_t res,
                     uint32_t flags, bool last);
  void (*message)(struct ring *r);
  void (*internal)(struct ring *r, struct op *op, int32_t res,
                   uint32_t flags, bool last);
  void (*closed)(struct ring *r);
  bool (*unwatch)(struct ring *r);  /* is its eventfd free for others? */
  void (*queued)(struct ring *r);   /* an enter is needed, for a cancel or for
                                       what was queued by hand */
};

struct ring_stats {
  uint64_t messages;      /* received */
  uint64_t enters, cqes, overflowed, disposed;
  uint64_t forged_doorbells;  /* tokens that arrived without a ring */
  uint64_t leaked;        /* operations whose memory was buried at close */
  size_t waiting;         /* messages that were not taken */
  size_t most_waiting;    /* the most so far */
};

struct ring {
  struct io_uring io;
  struct op_table ops;
  struct pending pending;
  struct source messages;
  struct ring_stats stats;
  uint64_t id;            /* unique in this process */
  uint32_t fork_id;       /* of the process that made it */
  uint64_t owner;         /* the thread that may enter, if SINGLE_ISSUER */
  bool open, enabled, closing;
  unsigned enter_flags;   /* IORING_ENTER_NO_IOWAIT, or 0 */
  bool eventfd;           /* the user has registered one */
  bool polled;            /* a host polls the eventfd that is registered */
  bool nested;            /* ... and a request may wait for an eventfd */
  bool is_loop_ring;          /* the ring that the loop sleeps on */
  bool driven;            /* ... and the loop is running */
  bool unpinned;          /* what is queued may name numbers that it does not
                             pin: ring_submit_uses */
  bool settling;          /* mark of ring_uses: a close has yet to reap it */
  bool pausing;           /* a pause is in flight, a timeout, after which
                             cancels are sent again (ring_cancel) */
  bool no_pause;          /* the kernel refuses timeouts on this ring */
  uint8_t pauses;         /* that followed each other */
  int64_t next_cancels;   /* without a pause: not before this time */
  unsigned marked_count;  /* handle_marked_count() when the SQ was searched */
  struct handle *handle;  /* as others know it, while it is open */
  struct doorbell *doorbell;  /* the loop's, for others to wake it; or NULL */
  struct buf_group ***groups; /* of provided buffers, by id: 256 pages */
  struct buf_group *short_of_notes;  /* groups that may have too few notes */
  struct refblock **registered;  /* buffers, by buf_index; NULL: empty */
  unsigned nregistered;
  struct kept *kept;      /* memory kept until the close, in no order */
  unsigned nkept, kept_capacity;
  struct account *account;  /* of its state; or NULL */
  const struct ring_callbacks *callbacks;
  struct turnq receivers; /* of messages; the loop's business, as `watch` */
  void *watch;            /* the loop's record of it, if it has one */
  unsigned held;          /* tasks and operations that need the loop here */
  struct ring *next, **pprev; /* list of the state's rings */
};

struct ring_options {
  unsigned entries, cq_entries;   /* 0: the default */
  bool exact;                     /* use exactly the caller's `flags` */
  unsigned flags;
  unsigned sq_thread_cpu, sq_thread_idle;
  int wq_fd;                      /* IORING_SETUP_ATTACH_WQ */
  bool disabled;                  /* until ring_bind */
};

/* From now on its tables are charged to the account, and requests refused with
** -ENOMEM where that is full. */
void ring_set_account (struct ring *r, struct account *a);

/* Open a zeroed `r`, and put its handle into `all`: 0, or -errno and it is not
** open. */
int ring_open (struct ring *r, struct handles *all,
               const struct ring_options *o);

/* Enable a ring that was made disabled. If it is SINGLE_ISSUER only this
** thread may enter it from now on. 0 or -errno. */
int ring_bind (struct ring *r);

/*
** Refuse new work, submit, cancel, drain for at most `ns`, and close. The
** memory of operations that have not ended by then is buried; returns their
** number. In a forked child only memory is freed.
*/
unsigned ring_close (struct ring *r, int64_t ns);

/* A number that was closed behind our back may be another ring's by now: from
** then on all calls give EBADF. (To io_uring_register -1 is no ring.) */
static inline void ring_look_at_number (struct ring *r) {
  if (atomic_load(&r->handle->number) < 0)  /* guard: not the other's */
    r->io.ring_fd = r->io.enter_ring_fd = -2;
}

/* The kernel knows the ring's number no more, so that no completion comes: end
** what is in flight as a close does, and let nothing watch the ring. It stays
** open, for calls that say why they fail. */
void ring_lost (struct ring *r);

#endif
