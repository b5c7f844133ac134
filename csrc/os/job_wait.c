/*
** job_wait: see the header. What must not break: a job whose wait has ended
** finds no owner, whichever of the two is first.
*/

#include "compat.h"
#include "os/job_wait.h"

#include "lua/errors.h"
#include "task/ring_watch.h"
#include "task/wait.h"

#include <stdlib.h>

struct job_wait {          /* the userdata */
  struct object_waitq waitq;  /* first: its task, as a WAIT_QUEUE */
  struct waited_job *job;
};


/* On the loop's thread; without a loop on any. */
static void job_ready (struct ready_link *link, struct loop *loop) {
  struct waited_job *job = (struct waited_job *)job_of(link);
  if (loop) {
    job->done = true;
    if (job->owner) waitq_wake_all(loop, &job->owner->waitq.q.waiting);
  }
  refblock_release(&job->job.block);
}

void *job_new (size_t size, void (*end) (struct refblock *b)) {
  struct waited_job *job = calloc(1, size);
  if (job == NULL)
    return NULL;
  refblock_init(&job->job.block, end);
  job->job.link.ready = job_ready;
  return job;
}

static void end_job_wait (struct job_wait *w) {
  struct waited_job *job = w->job;
  if (job == NULL)
    return;
  w->job = NULL;
  job->owner = NULL;  /* guard: it may end later */
  if (thread_pool_withdraw(&job->job)) job->posted = false;
  if (job->left) job->left(job);
  refblock_release(&job->job.block);
}

static int job_wait_gc (lua_State *L) {
  end_job_wait(class_check(L, 1, CLASS_JOB_WAIT));
  return 0;
}


/* ---- the wait ---------------------------------------------------------- */

static int job_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct job_wait *w = class_raw(L, 1, CLASS_JOB_WAIT);
  int n;
  (void)t; (void)node;
  if (w->job == NULL || !w->job->done)
    return 0;
  n = w->job->results(L, w->job);
  end_job_wait(w);
  return n;
}

static int job_block (lua_State *L, struct task *t, struct blocking *b) {
  struct job_wait *w = class_raw(L, 1, CLASS_JOB_WAIT);
  struct waited_job *job = w->job;
  (void)t;
  if (!job->posted) {
    int rc = thread_pool_post(&job->job, job->job.lane,
                              state_of(L)->loop->ring->doorbell);
    if (rc < 0)
      return fail(L, -rc, "%s (no helper thread is free, or none can be had)",
                  job->what);
    job->posted = true;
  }
  wait_join_plain(b, &w->waitq.q.waiting, WAIT_QUEUE, &w->waitq);
  return 0;
}

static void job_cancel (lua_State *L, struct task *t,
                        struct wait_node *node) {
  (void)t; (void)node;
  end_job_wait(class_raw(L, 1, CLASS_JOB_WAIT));
}

static const struct wait_kind job_kind = {
  "job", job_try, job_block, job_cancel, WAITS_OUTSIDE, NULL
};

static int job_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &job_kind, (int64_t)ctx, job_again);
}

struct task *job_wait_enter (lua_State *L, const char *what) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, what);
  class_new(L, CLASS_JOB_WAIT, sizeof(struct job_wait), 0);
  if (loop_doorbell(loop) == NULL) {
    fail(L, errno, "%s: no doorbell for the loop", what);
    return NULL;
  }
  return t;
}

int job_wait_perform (lua_State *L, struct task *t, struct waited_job *job,
                      enum thread_lane lane, int64_t ns) {
  struct job_wait *w = class_raw(L, -1, CLASS_JOB_WAIT);
  job->owner = w;
  job->job.lane = (unsigned char)lane;
  w->job = job;
  w->waitq.what = job->what;
  w->waitq.fd = -1;
  lua_replace(L, 1);
  return wait_perform(L, t, &job_kind,
                      loop_deadline(state_of(L)->loop, ns), job_again);
}


static const luaL_Reg none[] = { {NULL, NULL} };

static const luaL_Reg meta[] = {
  {"__gc", job_wait_gc},
  {NULL, NULL}
};

void job_wait_open (lua_State *L) {
  class_define(L, CLASS_JOB_WAIT, none, meta, NULL);
}
