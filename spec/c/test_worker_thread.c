/* worker_thread: a thread ends once and its parent is told; a cancel reaches
** it whenever it comes; one that does not end is left, and counted. */

#include "check_doorbell.h"
#include "base/clock.h"
#include "ring/sys.h"
#include "worker/worker_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


/* `ready` is called for a loop; what it is does not matter here. */
#define A_LOOP  ((struct loop *)(void *)&ring)
#define LONG    ((int64_t)20 * 1000000000)

static void open_all (void) {
  open_doorbell(0, doorbell_new_polled);
}

static int woken;

static void on_woken (void *owner, struct loop *loop) {
  (void)loop;
  (*(int *)owner)++;
}

static _Atomic int told, blocked, ran;
static _Atomic bool gate;
static _Atomic unsigned delay;   /* until it listens, in us */

static void on_cancel (struct worker_thread *t, struct loop *loop) {
  (void)t; (void)loop;
  atomic_fetch_add(&told, 1);
}

static struct worker_thread *make (void (*body)(struct worker_thread *)) {
  static const struct queue_limits limits = { 4, 4096, 4 };
  struct worker_thread *t = worker_thread_new(&limits, NULL);
  if (!CHECK(t != NULL)) exit(1);
  t->body = body;
  t->cancel = on_cancel;
  t->owner = &woken;
  t->woken = on_woken;
  return t;
}

/* Serve the parent's ready list until so many ends were told. */
static void serve_until (int n) {
  int64_t deadline = clock_after(LONG);
  while (woken < n && clock_now() < deadline)
    if (!doorbell_serve(doorbell, A_LOOP, DOORBELL_ALL)) usleep(100);
  CHECK(woken == n);
}

static void body_at_once (struct worker_thread *t) {
  sigset_t mask;
  (void)t;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  if (sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM)
      && sigismember(&mask, SIGUSR1)) atomic_fetch_add(&blocked, 1);
  atomic_fetch_add(&ran, 1);
}

/* Listen, as a loop does, until it was told of its cancel. */
static void body_until_told (struct worker_thread *t) {
  struct doorbell *own = doorbell_new_polled(handle);
  int64_t deadline = clock_after(LONG);
  int before = atomic_load(&told);
  if (!CHECK(own != NULL)) return;
  usleep(atomic_load(&delay));
  worker_thread_listen(t, own);
  while (!worker_cancelled(t) && clock_now() < deadline) usleep(50);
  while (atomic_load(&told) == before && clock_now() < deadline)
    if (!doorbell_serve(own, A_LOOP, DOORBELL_ALL)) usleep(50);
  worker_thread_unlisten(t);
  refblock_release(&own->block);
}

static void body_at_gate (struct worker_thread *t) {
  (void)t;
  while (!atomic_load(&gate)) usleep(100);
}

static void ends_once_and_is_told (void) {
  struct worker_thread *t;
  open_all();
  for (int i = 1; i <= 20; i++) {
    t = make(body_at_once);
    CHECK(worker_status(t) == WORKER_NEW);
    CHECK(worker_thread_start(t, doorbell) == 0);
    serve_until(i);
    CHECK(worker_status(t) == WORKER_ENDED);
    CHECK(worker_thread_join(t, 0));
    CHECK(worker_thread_join(t, 0));
    CHECK(!worker_thread_cancel(t, "late", 4));
    refblock_release(&t->block);
  }
  CHECK(atomic_load(&ran) == 20 && atomic_load(&blocked) == 20);
  woken = 0;
  close_all();
}

static void its_inbox_is_closed (void) {
  uint64_t space[4] = {0};
  struct message *small = (struct message *)(void *)space;
  struct worker_thread *t;
  small->size = sizeof(*small) + 8;
  small->n = 1;
  small->cost = MESSAGE_COST + MESSAGE_COST_OF_VALUE;
  small->cells[0] = message_cell(MESSAGE_TRUE, 0);
  open_all();
  t = make(body_at_once);
  CHECK(queue_post(t->inbox, small) == 0);
  CHECK(worker_thread_start(t, doorbell) == 0);
  serve_until(1);
  CHECK(queue_post(t->inbox, small) == -EPIPE);
  CHECK(t->inbox->undelivered == 1);
  CHECK(worker_thread_join(t, 0));
  refblock_release(&t->block);
  woken = 0;
  close_all();
}

static void a_cancel_is_told_once (void) {
  open_all();
  for (int i = 1; i <= 200; i++) {
    struct worker_thread *t = make(body_until_told);
    atomic_store(&delay, check_random(2) ? check_random(200) : 0);
    CHECK(worker_thread_start(t, doorbell) == 0);
    if (i % 3 == 0) usleep(check_random(300));
    CHECK(worker_thread_cancel(t, i % 2 ? "enough" : NULL, 6));
    CHECK(!worker_thread_cancel(t, "again", 5));
    serve_until(i);
    CHECK(atomic_load(&told) == i);
    CHECK(worker_thread_join(t, 0));
    refblock_release(&t->block);
  }
  woken = 0;
  close_all();
}

static void body_that_warns (struct worker_thread *t) {
  char text[400];
  memset(text, 'x', sizeof(text));
  for (size_t i = 0; i < 100; i++) worker_thread_warn(t, text, i * 4);
}

/* Each warning is told, or counted as lost. */
static void warnings_are_told (void) {
  open_all();
  for (int i = 1; i <= 20; i++) {
    struct worker_thread *t = make(body_that_warns);
    unsigned n = 0;
    int64_t deadline = clock_after(LONG);
    bool ended;
    CHECK(worker_thread_start(t, doorbell) == 0);
    do {
      struct worker_warnings w;
      ended = worker_status(t) == WORKER_ENDED;
      doorbell_serve(doorbell, A_LOOP, DOORBELL_ALL);
      w = worker_thread_warnings(t);
      CHECK(w.size <= WORKER_WARNINGS);
      n += w.lost;
      for (size_t at = 0; at < w.size; at += strlen(w.texts + at) + 1) n++;
      free(w.texts);
    } while (!ended && clock_now() < deadline);
    CHECK(n == 100 && !worker_thread_warned(t));
    CHECK(worker_thread_join(t, 0));
    doorbell_serve(doorbell, A_LOOP, DOORBELL_ALL);
    refblock_release(&t->block);
  }
  CHECK(woken >= 20);
  woken = 0;
  close_all();
}

static _Atomic bool again;

static void body_that_warns_twice (struct worker_thread *t) {
  worker_thread_warn(t, "one", 3);
  while (!atomic_load(&again)) usleep(100);
  worker_thread_warn(t, "two", 3);
  while (!atomic_load(&gate)) usleep(100);
}

/* A warning wakes the parent, and so does the one after it. */
static void warnings_wake (void) {
  struct worker_thread *t;
  struct worker_warnings w;
  open_all();
  t = make(body_that_warns_twice);
  CHECK(worker_thread_start(t, doorbell) == 0);
  serve_until(1);
  atomic_store(&again, true);
  serve_until(2);
  w = worker_thread_warnings(t);
  CHECK(w.size == 8 && w.lost == 0 && memcmp(w.texts, "one\0two", 8) == 0);
  free(w.texts);
  atomic_store(&gate, true);
  serve_until(3);
  CHECK(worker_thread_join(t, 0));
  refblock_release(&t->block);
  atomic_store(&gate, false);
  woken = 0;
  close_all();
}

static void one_that_does_not_end_is_left (void) {
  struct worker_thread *t;
  int64_t deadline;
  open_all();
  t = make(body_at_gate);
  CHECK(worker_thread_start(t, doorbell) == 0);
  CHECK(!worker_thread_join(t, clock_after(1000000)));
  worker_thread_leave(t);
  CHECK(worker_threads_left() == 1);
  t->owner = NULL;
  refblock_release(&t->block);  /* (the thread has its own count) */
  close_all();
  atomic_store(&gate, true);
  deadline = clock_after(LONG);
  while (worker_threads_left() > 0 && clock_now() < deadline) usleep(100);
  CHECK(worker_threads_left() == 0);
  usleep(10000);  /* (it lets go of the record after that) */
}

static void one_that_has_ended_is_not_left (void) {
  struct worker_thread *t;
  open_all();
  t = make(body_at_once);
  CHECK(worker_thread_start(t, doorbell) == 0);
  serve_until(1);
  worker_thread_leave(t);
  CHECK(worker_threads_left() == 0);
  refblock_release(&t->block);
  woken = 0;
  close_all();
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(ends_once_and_is_told), TEST(its_inbox_is_closed),
    TEST(a_cancel_is_told_once), TEST(warnings_are_told),
    TEST(warnings_wake), TEST(one_that_does_not_end_is_left),
    TEST(one_that_has_ended_is_not_left)
  };
  return SKIP_OR_RUN(tests);
}
