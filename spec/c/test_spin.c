/* spin: it is due while it pays, ends when something is linked or has
** completed, and is tried seldom where it is in vain. */

#include "check_doorbell.h"
#include "ring/spin.h"
#include "base/clock.h"

#include <pthread.h>
#include <time.h>

static struct ready_link linked;
static struct spin spin;

static void open_all (void) {
  open_doorbell(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
                | IORING_SETUP_TASKRUN_FLAG, doorbell_new);
  refblock_retain(&doorbell->block);  /* a sender */
  spin = (struct spin){ .longest = SPIN_USUAL };
}

static void close_both (void) {
  refblock_release(&doorbell->block);
  close_all();
}

/* (doorbell_new has rung it.) */
static void take_all (void) {
  struct cqe c[8];
  sys_enter(&ring, 0, SYS_FOREVER);
  while (sys_take(&ring, c, 8) > 0) {}
}

static void drop (struct ready_link *l, struct loop *loop) {
  (void)l; (void)loop;
}

static void is_due_for_senders_alone (void) {
  open_all();
  CHECK(spin_is_due(&spin, doorbell));
  spin.longest = 0;
  CHECK(!spin_is_due(&spin, doorbell));
  spin.longest = 1;
  refblock_release(&doorbell->block);
  CHECK(!spin_is_due(&spin, doorbell));
  refblock_retain(&doorbell->block);
  close_both();
}

static void *link_soon (void *of) {
  struct timespec ms = { 0, 1000000 };
  nanosleep(&ms, NULL);
  linked.ready = drop;
  doorbell_link(of, &linked);
  return NULL;
}

static void ends_when_something_is_linked (void) {
  pthread_t t;
  bool found;
  open_all();
  take_all();
  spin.longest = 10 * 1000000000ll;
  CHECK(pthread_create(&t, NULL, link_soon, doorbell) == 0);
  /* (a machine that is busy ends spins early) */
  do found = spin_wait(&spin, doorbell, &ring, SYS_FOREVER); while (!found);
  pthread_join(t, NULL);
  CHECK(doorbell_serve(doorbell, NULL, DOORBELL_ALL));
  CHECK(spin.vain == 0 && spin.sleeps <= SPIN_SELDOM);
  CHECK(spin.count == spin.in_vain + 1);
  close_both();
}

static void is_seldom_where_it_is_in_vain (void) {
  unsigned sleeps = 0;
  open_all();
  take_all();
  for (unsigned n = 1; n <= SPIN_SELDOM * 2; n *= 2) {
    while (!spin_is_due(&spin, doorbell)) sleeps++;
    CHECK(sleeps == (n < SPIN_SELDOM ? n : SPIN_SELDOM) - 1);
    sleeps = 0;
    CHECK(!spin_wait(&spin, doorbell, &ring, 1000));
  }
  CHECK(spin.in_vain == spin.count);
  close_both();
}

static void is_not_longer_than_the_sleep (void) {
  int64_t began = clock_now();
  open_all();
  take_all();
  spin.longest = 3600 * 1000000000ll;
  CHECK(!spin_wait(&spin, doorbell, &ring, 1000000));
  spin.longest = 1000000;
  CHECK(!spin_wait(&spin, doorbell, &ring, SYS_FOREVER));
  CHECK(clock_now() - began < 60 * 1000000000ll);
  close_both();
}

static void a_completion_ends_it_in_vain (void) {
  struct io_uring_sqe sqe = {0};
  open_all();
  take_all();
  io_uring_prep_nop(&sqe);
  sys_push(&ring, &sqe);
  sys_enter(&ring, 0, SYS_FOREVER);
  CHECK(spin_wait(&spin, doorbell, &ring, SYS_FOREVER));
  CHECK(spin.in_vain == 1);
  close_both();
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(is_due_for_senders_alone),
    TEST(ends_when_something_is_linked),
    TEST(is_seldom_where_it_is_in_vain),
    TEST(is_not_longer_than_the_sleep),
    TEST(a_completion_ends_it_in_vain)
  };
  return SKIP_OR_RUN(tests);
}
