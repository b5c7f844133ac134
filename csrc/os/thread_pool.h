/*
** thread_pool: the helper threads, for what can only block: getaddrinfo,
** getdents, the start of a process. (No Lua in it.)
**
** A process has one pool, whatever the number of its states. It starts
** a thread when a job finds none idle, and a thread that was idle for ten
** seconds ends, unless a process that it has started runs: the kernel would
** take its end for the end of that one's parent (PR_SET_PDEATHSIG). All
** signals are blocked in them, so that a host's handlers never run there.
** A pool has two lanes with threads of their own: the lookup of a name may
** hang for long, and must hold up nothing else.
**
** A job is a counted record. The pool counts it from `thread_pool_post` until
** the loop that waits for it has it in its ready list, so it may outlive its
** task and its state: a late result is dropped by `ready`. A state that closes
** joins no thread. What `work` reads and writes lies in the job.
**
** A forked child has none of the threads. It makes a pool of its own, and does
** not touch the parent's, whose lock may be taken for ever.
**
** Any thread may post and withdraw. `work` runs on a helper thread, without
** the lock.
*/

#ifndef uring_thread_pool_h
#define uring_thread_pool_h

#include "base/refblock.h"
#include "ring/doorbell.h"

enum thread_lane {
  LANE_NAMES,              /* 8 threads; 1,024 jobs may wait */
  LANE_FILES,              /* 4 threads: all else */
  THREAD_LANES
};

struct thread_pool;

struct job {
  struct refblock block;   /* first */
  struct ready_link link;  /* its `ready` releases the pool's count */
  void (*work) (struct job *job);
  _Atomic bool worked;     /* `work` has returned */
  /* The rest is the pool's. */
  struct doorbell *doorbell; /* counted while the pool has the job */
  struct thread_pool *pool;
  struct job *next, **back;  /* in a lane's queue; back: NULL if not */
  unsigned char lane;
};

/* Start it, zeroed but for `link.ready` and `work`, with its block made. Its
** end makes `link` ready at `doorbell`; without one no loop waits for it. 0;
** or -EAGAIN if there is no thread or no place for it, or -ENOMEM: then
** nothing was changed. */
int thread_pool_post (struct job *job, enum thread_lane lane,
                      struct doorbell *doorbell);

/* Its result is not wanted any more. True: it had not begun, and the pool has
** let go of it. Else it ends as it would have. */
bool thread_pool_withdraw (struct job *job);

/* The job of this link. */
static inline struct job *job_of (struct ready_link *link) {
  return (struct job *)(void *)((char *)link - offsetof(struct job, link));
}

#endif
