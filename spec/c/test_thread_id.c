/* thread_id: each thread has its own number, which no later one gets. */

#include "check.h"
#include "base/thread_id.h"

#include <pthread.h>

#define THREADS 8
#define LATER 100

struct asked {
  pthread_t self;
  uint64_t id;
};

static pthread_barrier_t together;

static void *ask (void *p) {
  struct asked *a = p;
  a->self = pthread_self();
  a->id = thread_id();
  CHECK(thread_id() == a->id);
  return NULL;
}

static void *ask_together (void *p) {
  pthread_barrier_wait(&together);
  return ask(p);
}

/* This must be the first test: no other may have called thread_id before. */
static void threads_differ_from_the_first_on (void) {
  pthread_t thread[THREADS];
  struct asked a[THREADS];
  pthread_barrier_init(&together, NULL, THREADS);
  for (int i = 0; i < THREADS; i++)
    pthread_create(&thread[i], NULL, ask_together, &a[i]);
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  pthread_barrier_destroy(&together);
  for (int i = 0; i < THREADS; i++) {
    CHECK(a[i].id != 0 && a[i].id != thread_id());
    for (int j = 0; j < i; j++) CHECK(a[i].id != a[j].id);
  }
}

/* (It is here that pthread_self repeats itself.) */
static void an_ended_threads_is_not_used_again (void) {
  struct asked a[LATER];
  uint64_t own = thread_id();
  for (int i = 0; i < LATER; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, ask, &a[i]);
    pthread_join(thread, NULL);
    for (int j = 0; j < i; j++) CHECK(a[i].id != a[j].id);
  }
  CHECK(thread_id() == own);
}

static uint64_t id_at_end;

static void ask_at_end (void *p) {
  (void)p;
  id_at_end = thread_id();
}

static void *end_later (void *key) {
  uint64_t id;
  pthread_setspecific(*(pthread_key_t *)key, key);
  id = thread_id();
  return (void *)(uintptr_t)id;
}

/* A host may keep its state in a thread-specific value, and close it there. */
static void it_is_known_until_the_threads_very_end (void) {
  pthread_key_t key;
  pthread_t thread;
  void *id;
  thread_id();
  pthread_key_create(&key, ask_at_end);  /* (after the library's) */
  pthread_create(&thread, NULL, end_later, &key);
  pthread_join(thread, &id);
  CHECK(id_at_end == (uintptr_t)id);
  pthread_key_delete(key);
}


int main (void) {
  static const struct check_test tests[] = {
    TEST(threads_differ_from_the_first_on),
    TEST(an_ended_threads_is_not_used_again),
    TEST(it_is_known_until_the_threads_very_end),
  };
  return RUN(tests);
}
