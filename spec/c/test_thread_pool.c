/* thread_pool: jobs run on threads of their lane, end at their loop, may be
** withdrawn until they begin, and outlive the loop. */

#define IDLE_NS  50000000

#include "os/thread_pool.c"
#include "check_doorbell.h"
#include "ring/sys.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void open_all (void) {
  open_doorbell(0, doorbell_new_polled);
}

/* A job that waits at a gate of its own, and notes what it saw. */
struct test_job {
  struct job job;
  pthread_mutex_t gate;    /* held: it waits */
  bool gated, ran, all_blocked;
  pthread_t thread;
};

static _Atomic int alive, ready, late;

static void test_job_end (struct refblock *b) {
  atomic_fetch_sub(&alive, 1);
  free(b);
}

static void test_ready (struct ready_link *link, struct loop *loop) {
  struct job *job = job_of(link);
  atomic_fetch_add(loop ? &ready : &late, 1);
  refblock_release(&job->block);
}

static void test_work (struct job *job) {
  struct test_job *t = (struct test_job *)job;
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  t->all_blocked = sigismember(&mask, SIGINT) && sigismember(&mask, SIGUSR1)
                   && sigismember(&mask, SIGCHLD);
  t->thread = pthread_self();
  t->ran = true;
  if (t->gated) {
    pthread_mutex_lock(&t->gate);
    pthread_mutex_unlock(&t->gate);
  }
}

static struct test_job *job_new (bool gated) {
  struct test_job *t = calloc(1, sizeof(*t));
  if (!CHECK(t != NULL)) exit(1);
  refblock_init(&t->job.block, test_job_end);
  t->job.link.ready = test_ready;
  t->job.work = test_work;
  t->gated = gated;
  pthread_mutex_init(&t->gate, NULL);
  if (gated) pthread_mutex_lock(&t->gate);
  atomic_fetch_add(&alive, 1);
  return t;
}

/* Serve the doorbell, as a loop that polls, until `n` have been ready. */
static void serve_until (int n) {
  struct loop *loop = (struct loop *)(void *)&ring;  /* (never looked at) */
  for (int i = 0; i < 20000 && atomic_load(&ready) < n; i++) {
    doorbell_arm(doorbell);
    doorbell_serve(doorbell, loop, DOORBELL_ALL);
    clock_sleep(500000);
  }
  CHECK(atomic_load(&ready) == n);
}

static void release (struct test_job *t) { refblock_release(&t->job.block); }

static void reset (void) { ready = late = 0; }

static struct lane lane_now (enum thread_lane lane) {
  struct thread_pool *p = pool_here();
  struct lane l;
  pthread_mutex_lock(&p->lock);
  l = p->lane[lane];
  pthread_mutex_unlock(&p->lock);
  return l;
}

static unsigned threads_of (enum thread_lane lane) {
  return lane_now(lane).threads;
}

static unsigned waiting (enum thread_lane lane) { return lane_now(lane).jobs; }

static void a_job_runs_and_is_told_to_its_loop (void) {
  struct test_job *t = job_new(false);
  open_all();
  reset();
  CHECK(thread_pool_post(&t->job, LANE_FILES, doorbell) == 0);
  serve_until(1);
  CHECK(t->ran && t->all_blocked);
  CHECK(!pthread_equal(t->thread, pthread_self()));
  CHECK(!thread_pool_withdraw(&t->job));
  release(t);
  CHECK(alive == 0);
  close_all();
}

static void the_mask_of_the_caller_stays (void) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  CHECK(!sigismember(&mask, SIGUSR1));
}

static void a_lane_has_its_bound_and_holds_up_no_other (void) {
  struct test_job *stuck[12], *other = job_new(false);
  open_all();
  reset();
  for (int i = 0; i < 12; i++) {
    stuck[i] = job_new(true);
    CHECK(thread_pool_post(&stuck[i]->job, LANE_NAMES, doorbell) == 0);
  }
  CHECK(threads_of(LANE_NAMES) == 8);
  CHECK(thread_pool_post(&other->job, LANE_FILES, doorbell) == 0);
  serve_until(1);
  CHECK(other->ran);
  release(other);
  for (int i = 0; i < 12; i++) pthread_mutex_unlock(&stuck[i]->gate);
  serve_until(13);
  for (int i = 0; i < 12; i++) {
    CHECK(stuck[i]->ran);
    release(stuck[i]);
  }
  CHECK(alive == 0);
  close_all();
}

static void the_queue_of_names_has_a_bound (void) {
  static struct test_job *t[8 + 1024];
  struct test_job *refused = job_new(false);
  int n = 0;
  open_all();
  reset();
  /* first those that run, so that the rest wait */
  for (; n < 8; n++) {
    t[n] = job_new(true);
    CHECK(thread_pool_post(&t[n]->job, LANE_NAMES, doorbell) == 0);
  }
  for (int i = 0; i < 10000 && waiting(LANE_NAMES) > 0; i++)
    clock_sleep(100000);
  for (; n < 8 + 1024; n++) {
    t[n] = job_new(false);
    CHECK(thread_pool_post(&t[n]->job, LANE_NAMES, doorbell) == 0);
  }
  CHECK(thread_pool_post(&refused->job, LANE_NAMES, doorbell) == -EAGAIN);
  CHECK(refblock_owners(&refused->job.block) == 1);
  release(refused);
  for (int i = 8; i < n; i += 2)  /* one withdrawn is a place for another */
    CHECK(thread_pool_withdraw(&t[i]->job));
  for (int i = 0; i < 8; i++) pthread_mutex_unlock(&t[i]->gate);
  serve_until(8 + 512);
  for (int i = 0; i < n; i++) {
    CHECK(t[i]->ran == (i < 8 || i % 2 == 1));
    release(t[i]);
  }
  CHECK(alive == 0);
  close_all();
}

static void a_job_outlives_its_loop (void) {
  struct test_job *t = job_new(true);
  open_all();
  reset();
  CHECK(thread_pool_post(&t->job, LANE_FILES, doorbell) == 0);
  for (int i = 0; i < 10000 && thread_pool_withdraw(&t->job) ; i++) {
    CHECK(thread_pool_post(&t->job, LANE_FILES, doorbell) == 0);
    clock_sleep(1000000);
  }
  close_all();  /* (the job has begun) */
  pthread_mutex_unlock(&t->gate);
  for (int i = 0; i < 10000 && atomic_load(&late) == 0; i++)
    clock_sleep(500000);
  CHECK(atomic_load(&late) == 1);
  for (int i = 0; i < 10000 && refblock_owners(&t->job.block) > 1; i++)
    clock_sleep(100000);
  release(t);
  CHECK(alive == 0);
}

static int threads_of_process (void) {
  DIR *d = opendir("/proc/self/task");
  int n = 0;
  while (d && readdir(d)) n++;
  if (d) closedir(d);
  return n;
}

static void idle_threads_end (void) {
  int n = 0;
  for (int i = 0; i < 10000; i++) {
    n = (int)(threads_of(LANE_NAMES) + threads_of(LANE_FILES));
    if (n == 0) break;
    clock_sleep(1000000);
  }
  CHECK(n == 0);
  n = threads_of_process();
  a_job_runs_and_is_told_to_its_loop();  /* and one begins again */
  CHECK(threads_of(LANE_FILES) <= 1);
  CHECK(threads_of_process() <= n + 1);
}

struct fork_job {
  struct job job;          /* first */
  _Atomic pid_t child;
};

static void fork_job_end (struct refblock *b) { free(b); }

static void fork_work (struct job *job) {
  struct fork_job *f = (struct fork_job *)job;
  pid_t pid = fork();
  if (pid == 0) for (;;) pause();
  atomic_store(&f->child, pid);
}

static void a_thread_stays_while_its_child_runs (void) {
  struct fork_job *f = calloc(1, sizeof(*f));
  unsigned n = 1;
  if (!CHECK(f != NULL)) exit(1);
  refblock_init(&f->job.block, fork_job_end);
  f->job.work = fork_work;
  CHECK(thread_pool_post(&f->job, LANE_NAMES, NULL) == 0);  /* (no doorbell) */
  for (int i = 0; i < 10000 && atomic_load(&f->child) == 0; i++)
    clock_sleep(1000000);
  clock_sleep(4 * IDLE_NS);
  CHECK(threads_of(LANE_NAMES) == 1);
  for (int i = 0; i < 10000 && refblock_owners(&f->job.block) > 1; i++)
    clock_sleep(1000000);
  CHECK(refblock_owners(&f->job.block) == 1);
  kill(f->child, SIGKILL);
  waitpid(f->child, NULL, 0);
  refblock_release(&f->job.block);
  for (int i = 0; i < 10000 && n > 0; i++) {
    clock_sleep(1000000);
    n = threads_of(LANE_NAMES);
  }
  CHECK(n == 0);
}

/* (A child of a process with threads may not start any under TSAN.) */
#ifdef __SANITIZE_THREAD__
#define CHILD_HAS_THREADS false
#else
#define CHILD_HAS_THREADS true
#endif

static void a_child_has_a_pool_of_its_own (void) {
  struct test_job *t = job_new(true), *queued[5];
  struct thread_pool *p;
  int status = -1;
  pid_t pid;
  open_all();
  reset();
  CHECK(thread_pool_post(&t->job, LANE_FILES, doorbell) == 0);
  for (int i = 0; i < 5; i++) {
    queued[i] = job_new(true);
    CHECK(thread_pool_post(&queued[i]->job, LANE_FILES, doorbell) == 0);
  }
  p = pool_here();
  pthread_mutex_lock(&p->lock);  /* as if another thread had it */
  pid = fork();
  if (pid == 0) {
    alarm(20);
    check_broken = 0;
    CHECK(!thread_pool_withdraw(&queued[4]->job));
    CHECK(pool_here() != p);
    if (CHILD_HAS_THREADS) {
      close_all();
      alive = 0;
      a_job_runs_and_is_told_to_its_loop();
    }
    _exit(check_broken ? 1 : 0);
  }
  pthread_mutex_unlock(&p->lock);
  waitpid(pid, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  pthread_mutex_unlock(&t->gate);
  for (int i = 0; i < 5; i++) pthread_mutex_unlock(&queued[i]->gate);
  serve_until(6);
  release(t);
  for (int i = 0; i < 5; i++) release(queued[i]);
  CHECK(alive == 0);
  close_all();
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(a_job_runs_and_is_told_to_its_loop),
    TEST(the_mask_of_the_caller_stays),
    TEST(a_lane_has_its_bound_and_holds_up_no_other),
    TEST(the_queue_of_names_has_a_bound),
    TEST(a_job_outlives_its_loop),
    TEST(idle_threads_end),
    TEST(a_thread_stays_while_its_child_runs),
    TEST(a_child_has_a_pool_of_its_own),
  };
  return SKIP_OR_RUN(tests);
}
