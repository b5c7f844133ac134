/*
** job_wait: a task waits for a job that a helper thread does (thread_pool.h).
**
** The wait is an object of its own, with the job's count. A task that leaves,
** because it was cancelled or its time is over, leaves at once: the job is
** withdrawn, or if it has begun its late result is dropped. It lets go of the
** object, and the thread sees only the job.
**
** Invariant: `owner` is read and written by the loop's thread alone.
*/

#ifndef uring_job_wait_h
#define uring_job_wait_h

#include "lua/state.h"
#include "os/thread_pool.h"

struct job_wait;

/* What such a job begins with. */
struct waited_job {
  struct job job;          /* first */
  struct job_wait *owner;  /* NULL: the task has left */
  bool posted;             /* and not withdrawn */
  bool done;
  const char *what;        /* for messages: "resolve" */
  /* Push the results: how many. Called once it is done, in the task; it may
     raise, and then it is not called again. */
  int (*results) (lua_State *L, struct waited_job *job);
  /* The wait has ended: what `results` has not taken is not wanted. The thread
     may be at work. Called for each wait; raises nothing. Or NULL. */
  void (*left) (struct waited_job *job);
};

/* Begin in the running function: its task; or NULL, and nil, message and errno
** were pushed. Raises outside a task. Pushes the wait. */
struct task *job_wait_enter (lua_State *L, const char *what);

/* A zeroed job of `size` bytes, ended by `end`, which frees it. NULL: no
** memory. */
void *job_new (size_t size, void (*end) (struct refblock *b));

/* Do the job, which is taken over, and wait for it for at most `ns`; or wait
** again for one that was posted and left. The wait is on top, and nothing that
** may wait was called since it was pushed. Used as
** `return job_wait_perform(...)`. */
int job_wait_perform (lua_State *L, struct task *t, struct waited_job *job,
                      enum thread_lane lane, int64_t ns);

void job_wait_open (lua_State *L);

#endif
