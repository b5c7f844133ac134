/*
** ring: a ring's mechanism: open and close. (No Lua in it.)
**
** A `struct ring` owns a liburing ring, its operation table, and what has
** arrived and was not yet taken. One thread at a time may call it; other
** threads only ever reach its handle. What else it knows has rooms of its own:
** ring_submit, how to put requests into the SQ and to enter the kernel;
** ring_reap, where each CQE belongs; ring_cancel, whose end is asked for;
** ring_provided, which buffers the kernel picks from. Each of these uses only
** those named after it, and none uses ring.c. Above all of them is ring_uses:
** what is under way on a descriptor, and its close.
**
** What can never happen: memory is given back while an operation that uses it
** has not completed, be the ring closed or not.
*/

#ifndef uring_ring_h
#define uring_ring_h

#include "compat.h"
#include "base/waitq.h"
#include "ring/op_table.h"

#include <pthread.h>

struct buf_group;
struct kept;
struct ring;

/* Each answers whether it took what it was offered. Neither may allocate,
** raise, or enter the kernel. */
struct ring_callbacks {
  bool (*completion)(struct ring *r, struct op *op, int32_t res,
                     uint32_t flags, bool last);
  void (*message)(struct ring *r);
  void (*internal)(struct ring *r, struct op *op, int32_t res,
                   uint32_t flags, bool last);
  void (*closed)(struct ring *r);
  bool (*unwatch)(struct ring *r);  /* is its eventfd free for others? */
};

struct ring_stats {
  uint64_t messages;      /* arrived */
  uint64_t enters, cqes, overflowed, disposed;
  uint64_t forged_doorbells;  /* its token has come, and nobody had signaled */
  uint64_t leaked;        /* operations whose memory was kept at close */
  size_t waiting, high;   /* messages arrived and not taken; at most */
};

struct ring {
  struct io_uring io;
  struct op_table ops;
  struct pending pending;
  struct source messages;
  struct ring_stats stats;
  uint64_t id;            /* no other ring of this process ever has it */
  uint32_t fork_id;          /* the process that made it */
  pthread_t owner;        /* the thread that may enter, if SINGLE_ISSUER */
  bool open, enabled, closing;
  bool eventfd;           /* the user has registered one */
  bool is_loops;         /* the ring that the loop sleeps on */
  bool driven;            /* ... and it is running */
  bool settling;          /* a close waits for what ends on it: ring_uses */
  unsigned shut_count;     /* handle_shut_count() when it was last searched at */
  struct handle *handle;  /* as others know it; while it is open */
  struct doorbell *doorbell;  /* the loop's, for others to wake it; or NULL */
  struct buf_group ***groups; /* of provided buffers, by number: 256 pages */
  struct buf_group *wanting;  /* those that may have too few blank notes */
  struct kept *kept;      /* memory of requests, in no order */
  unsigned nkept, reserve_kept_place;
  const struct ring_callbacks *callbacks;
  struct turnq receivers; /* of messages; the loop's business, as `watch` */
  void *watch;            /* the loop's record of it, if it has one */
  unsigned held;          /* why it is the loop's: tasks, operations */
  struct ring *next, **back;  /* all rings of one state */
};

struct ring_options {
  unsigned entries, cq_entries;   /* 0: as suits */
  bool exact;                     /* `flags` are the caller's own */
  unsigned flags;
  unsigned sq_thread_cpu, sq_thread_idle;
  int wq_fd;                      /* IORING_SETUP_ATTACH_WQ */
};

/* A ring whose handle is one of `all`: 0 or -errno. `r` is zeroed; it is open
** only if this answers 0. */
int ring_open (struct ring *r, struct handles *all,
               const struct ring_options *o);

/*
** Refuse new work, submit, cancel, drain for at most `ns`, and close. What
** the kernel has not let go of by then is buried; returns how many such
** operations there were. In a forked child, nothing but memory is freed.
*/
unsigned ring_close (struct ring *r, int64_t ns);

#endif
