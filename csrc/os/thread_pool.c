/*
** thread_pool: see the header. What must not break: a job that was posted is
** run, or was withdrawn, so no lane has jobs without a thread; and a thread
** that has decided to end takes no job, because it decides under the lock.
*/

#include "compat.h"
#include "os/thread_pool.h"

#include "base/clock.h"
#include "base/fork_id.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#ifndef IDLE_NS            /* (the test has less patience) */
#define IDLE_NS  10000000000
#endif

/* What getaddrinfo and its plugins are content with. */
#define STACK  ((size_t)256 << 10)

static const struct { unsigned threads, jobs; } limits[THREAD_LANES] = {
  [LANE_NAMES] = { 8, 1024 },
  [LANE_FILES] = { 4, UINT_MAX },
};

struct lane {
  pthread_cond_t posted;
  struct job *first, **last;
  unsigned jobs;           /* in the queue */
  unsigned threads, idle;
};

struct thread_pool {
  pthread_mutex_t lock;
  uint32_t fork_id;
  struct thread_pool *of_parent;  /* unused: for leak checkers */
  struct lane lane[THREAD_LANES];
};

struct helper {            /* what a thread starts with */
  struct thread_pool *pool;
  enum thread_lane lane;
};

static struct thread_pool *_Atomic process_pool;


/* ---- the pool ---------------------------------------------------------- */

static void lane_open (struct lane *l) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&l->posted, &attr);
  pthread_condattr_destroy(&attr);
  l->last = &l->first;
}

static struct thread_pool *pool_new (void) {
  struct thread_pool *p = calloc(1, sizeof(*p));
  if (p == NULL)
    return NULL;
  p->fork_id = fork_id();
  pthread_mutex_init(&p->lock, NULL);
  for (int i = 0; i < THREAD_LANES; i++) lane_open(&p->lane[i]);
  return p;
}

/* This process's; NULL: no memory. */
static struct thread_pool *pool_here (void) {
  struct thread_pool *p = atomic_load(&process_pool), *made;
  if (p && p->fork_id == fork_id())  /* guard: a parent's threads are not
                                        here */
    return p;
  if ((made = pool_new()) == NULL)
    return NULL;
  made->of_parent = p;
  if (atomic_compare_exchange_strong(&process_pool, &p, made))
    return made;
  free(made);
  return p;
}


/* ---- a lane's queue (all locked) --------------------------------------- */

static void lane_add (struct lane *l, struct job *job) {
  job->next = NULL;
  job->back = l->last;
  *l->last = job;
  l->last = &job->next;
  l->jobs++;
}

static void lane_remove (struct lane *l, struct job *job) {
  *job->back = job->next;
  if (job->next) job->next->back = job->back;
  else l->last = job->back;
  job->next = NULL;
  job->back = NULL;
  l->jobs--;
}

/* Sleep until a job was posted; false: for too long. */
static bool lane_sleep (struct thread_pool *p, struct lane *l) {
  int64_t until = clock_after(IDLE_NS);
  struct timespec ts = { until / 1000000000, until % 1000000000 };
  int rc = 0;
  l->idle++;
  while (l->first == NULL && rc != ETIMEDOUT)
    rc = pthread_cond_timedwait(&l->posted, &p->lock, &ts);
  l->idle--;
  return l->first != NULL;
}

/* Has this thread started processes that were not reaped? */
static bool has_children (void) {
  siginfo_t info;
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WNOTHREAD
                                 | __WALL) == 0;
}

/* The next job of this thread; or NULL, and it is not counted any more. */
static struct job *lane_next (struct thread_pool *p, struct lane *l) {
  struct job *job;
  while (l->first == NULL) {
    if (!lane_sleep(p, l) && !has_children()) {  /* guard: their
                                                    PR_SET_PDEATHSIG */
      l->threads--;
      return NULL;
    }
  }
  job = l->first;
  lane_remove(l, job);
  return job;
}


/* ---- threads ----------------------------------------------------------- */

/* The pool's count goes to the ready list, if a loop waits. */
static void job_done (struct job *job) {
  struct doorbell *doorbell = job->doorbell;
  if (doorbell == NULL) {
    refblock_release(&job->block);
    return;
  }
  job->doorbell = NULL;
  doorbell_link(doorbell, &job->link);
  if (doorbell_wanted(doorbell)) doorbell_ring(doorbell);
  refblock_release(&doorbell->block);
}

static void *helper_main (void *start) {
  struct helper h = *(struct helper *)start;
  struct lane *l = &h.pool->lane[h.lane];
  struct job *job;
  free(start);
  for (;;) {
    pthread_mutex_lock(&h.pool->lock);
    job = lane_next(h.pool, l);
    pthread_mutex_unlock(&h.pool->lock);
    if (job == NULL)
      return NULL;
    job->work(job);
    atomic_store(&job->worked, true);
    job_done(job);
  }
}

/* A thread that inherits a full signal mask. */
static int create_blocked (struct helper *h) {
  pthread_attr_t attr;
  pthread_t thread;
  sigset_t all, old;
  int rc;
  sigfillset(&all);
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, STACK);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &all, &old);  /* guard: no handler of the
                                                host's runs in a helper */
  rc = pthread_create(&thread, &attr, helper_main, h);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
  return -rc;
}

static int start_thread (struct thread_pool *p, enum thread_lane lane) {
  struct helper *h = malloc(sizeof(*h));
  int rc;
  if (h == NULL)
    return -ENOMEM;
  h->pool = p;
  h->lane = lane;
  rc = create_blocked(h);
  if (rc < 0) free(h);
  else p->lane[lane].threads++;
  return rc;
}

/* (locked) There is a thread for one more job, now or later. */
static int have_thread (struct thread_pool *p, enum thread_lane lane) {
  struct lane *l = &p->lane[lane];
  int rc = 0;
  if (l->jobs >= l->idle && l->threads < limits[lane].threads)
    rc = start_thread(p, lane);
  return l->threads > 0 ? 0 : rc;
}


/* ---- jobs -------------------------------------------------------------- */

static int post_locked (struct thread_pool *p, struct job *job,
                        enum thread_lane lane, struct doorbell *doorbell) {
  struct lane *l = &p->lane[lane];
  int rc = l->jobs >= limits[lane].jobs ? -EAGAIN : have_thread(p, lane);
  if (rc < 0)
    return rc;
  refblock_retain(&job->block);
  if (doorbell) refblock_retain(&doorbell->block);
  job->pool = p;
  job->lane = (unsigned char)lane;
  job->doorbell = doorbell;
  lane_add(l, job);
  pthread_cond_signal(&l->posted);
  return 0;
}

int thread_pool_post (struct job *job, enum thread_lane lane,
                      struct doorbell *doorbell) {
  struct thread_pool *p = pool_here();
  int rc;
  if (p == NULL)
    return -ENOMEM;
  pthread_mutex_lock(&p->lock);
  rc = post_locked(p, job, lane, doorbell);
  pthread_mutex_unlock(&p->lock);
  return rc;
}

bool thread_pool_withdraw (struct job *job) {
  struct thread_pool *p = job->pool;
  bool queued;
  if (p == NULL || p->fork_id != fork_id())  /* guard: its lock may be taken
                                                for ever */
    return false;
  pthread_mutex_lock(&p->lock);
  queued = job->back != NULL;
  if (queued) lane_remove(&p->lane[job->lane], job);
  pthread_mutex_unlock(&p->lock);
  if (queued) {
    if (job->doorbell) refblock_release(&job->doorbell->block);
    job->doorbell = NULL;
    refblock_release(&job->block);
  }
  return queued;
}
