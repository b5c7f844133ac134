/* lock: one thread at a time holds it, and none sleeps beside a free one. */

#include "check.h"
#include "base/lock.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#define THREADS 4
#define ROUNDS  50000

static struct lock lock;
static unsigned held, count;

static void *count_up (void *of) {
  unsigned *overlaps = of;
  for (unsigned i = 0; i < ROUNDS; i++) {
    if (i % 4 > 0) lock_take(&lock);
    else while (!lock_try(&lock)) sched_yield();
    if (held++ != 0) (*overlaps)++;
    count++;
    held--;
    lock_free(&lock);
  }
  return NULL;
}

static void only_a_free_one_is_tried (void) {
  CHECK(lock_try(&lock));
  CHECK(!lock_try(&lock));
  lock_free(&lock);
  CHECK(lock_try(&lock));
  lock_free(&lock);
}

static void one_at_a_time (void) {
  pthread_t t[THREADS];
  unsigned overlaps[THREADS] = {0};
  for (int i = 0; i < THREADS; i++)
    CHECK(pthread_create(&t[i], NULL, count_up, &overlaps[i]) == 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(t[i], NULL);
    CHECK(overlaps[i] == 0);
  }
  CHECK(count == THREADS * ROUNDS);
  CHECK(atomic_load(&lock.word) == LOCK_FREE);
}

static void *take_once (void *of) {
  (void)of;
  lock_take(&lock);
  count++;
  lock_free(&lock);
  return NULL;
}

/* They have spun in vain, and sleep: each is woken. */
static void sleepers_are_woken (void) {
  pthread_t t[THREADS];
  struct timespec ms = { 0, 1000000 };
  count = 0;
  lock_take(&lock);
  for (int i = 0; i < THREADS; i++)
    CHECK(pthread_create(&t[i], NULL, take_once, NULL) == 0);
  while (atomic_load(&lock.word) != LOCK_CONTENDED) nanosleep(&ms, NULL);
  CHECK(count == 0);
  lock_free(&lock);
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  CHECK(count == THREADS);
}

static const struct check_test tests[] = {
  TEST(only_a_free_one_is_tried),
  TEST(one_at_a_time),
  TEST(sleepers_are_woken)
};

int main (void) {
  return RUN(tests);
}
