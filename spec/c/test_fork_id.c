/* fork_id: a child's number differs from all that it inherited. */

#include "check.h"
#include "base/fork_id.h"

#include <pthread.h>
#include <unistd.h>

#define THREADS 8

static pthread_barrier_t together;

static void *ask (void *p) {
  pthread_barrier_wait(&together);
  *(uint32_t *)p = fork_id();
  return NULL;
}

static void all_agree (void) {
  pthread_t thread[THREADS];
  uint32_t id[THREADS];
  pthread_barrier_init(&together, NULL, THREADS);
  for (int i = 0; i < THREADS; i++)
    pthread_create(&thread[i], NULL, ask, &id[i]);
  for (int i = 0; i < THREADS; i++)
    pthread_join(thread[i], NULL);
  pthread_barrier_destroy(&together);
  CHECK(fork_id() != 0);
  for (int i = 0; i < THREADS; i++)
    CHECK(id[i] == fork_id());
}

/* This must be the first test: no other may have called fork_id before. */
static void threads_agree_on_the_first (void) { all_agree(); }

static void status_of (pid_t pid, int expected) {
  int status = -1;
  waitpid(pid, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == expected);
}

static void descendants_differ (void) {
  uint32_t mine = fork_id();
  for (int i = 0; i < 3; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      uint32_t child = fork_id();
      pid_t grandchild;
      if (child == mine || child == 0 || child != fork_id()) _exit(1);
      grandchild = fork();
      if (grandchild == 0) {
        uint32_t id = fork_id();
        _exit(id == child || id == mine || id == 0);
      }
      check_broken = 0;
      status_of(grandchild, 0);
      _exit(check_broken ? 2 : 0);
    }
    status_of(pid, 0);
    CHECK(fork_id() == mine);
  }
}

/* also if the child has not called fork_id before it forks again */
static void silent_generations_differ (void) {
  uint32_t mine = fork_id();
  pid_t pid = fork();
  if (pid == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) _exit(fork_id() == mine);
    check_broken = 0;
    status_of(grandchild, 0);
    _exit(check_broken || fork_id() == mine);
  }
  status_of(pid, 0);
}

static void threads_of_a_child_agree (void) {
  uint32_t mine = fork_id();
  pid_t pid = fork();
  if (pid == 0) {
    check_broken = 0;
    all_agree();
    CHECK(fork_id() != mine);
    _exit(check_broken > 0);
  }
  status_of(pid, 0);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(threads_agree_on_the_first), TEST(descendants_differ),
    TEST(silent_generations_differ), TEST(threads_of_a_child_agree),
  };
  return RUN(tests);
}
