/* doorbell: a sleeping loop is woken once by its senders, no wakeup is lost,
** and a forged token is recognized. */

#include "check_doorbell.h"
#include "ring/doorbell.h"
#include "base/clock.h"
#include "ring/op_table.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void open_all (void) {
  open_doorbell(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                doorbell_new);
}

/* Count the tokens in the CQ, after sleeping for at most `ns`. */
static unsigned count_tokens (int64_t ns, unsigned *forged) {
  struct cqe c[8];
  unsigned n, total = 0;
  sys_enter(&ring, ns > 0 ? 1 : 0, ns > 0 ? ns : SYS_FOREVER);
  while ((n = sys_take(&ring, c, 8)) > 0) {
    for (unsigned i = 0; i < n; i++) {
      if (!CHECK(c[i].user_data == doorbell->token)) continue;
      total++;
      if (!doorbell_arrived(doorbell)) ++*forged;
    }
  }
  return total;
}

#define SECOND 1000000000

static void tokens_are_no_slots_and_differ (void) {
  struct doorbell *other;
  open_all();
  other = doorbell_new(handle);
  CHECK((doorbell->token & OP_MAX) == OP_MAX);
  CHECK(other != NULL && other->token != doorbell->token);
  refblock_release(&other->block);
  close_all();
}

static void is_wanted_while_it_is_armed (void) {
  open_all();
  CHECK(!doorbell_wanted(doorbell));
  doorbell_arm(doorbell);
  CHECK(doorbell_wanted(doorbell));
  CHECK(!doorbell_wanted(doorbell));  /* one of them rings */
  doorbell_arm(doorbell);
  doorbell_disarm(doorbell);
  CHECK(!doorbell_wanted(doorbell));
  close_all();
}

static void *ring_it (void *of) {
  return doorbell_ring(of) == 0 ? NULL : of;
}

static void wakes_from_another_thread (void) {
  pthread_t t;
  void *failed;
  unsigned forged = 0;
  open_all();
  if (doorbell->eventfd >= 0) { close_all(); return; }
  /* (doorbell_new has rung once, to test the kernel) */
  count_tokens(0, &forged);
  CHECK(pthread_create(&t, NULL, ring_it, doorbell) == 0);
  CHECK(count_tokens(10 * (int64_t)SECOND, &forged) == 1);
  pthread_join(t, &failed);
  CHECK(failed == NULL && forged == 0);
  close_all();
}

static void is_rung_by_a_request (void) {
  struct io_uring_sqe sqe;
  unsigned forged = 0;
  open_all();
  count_tokens(0, &forged);
  doorbell_prepare(doorbell, &sqe);
  sqe.flags = IOSQE_CQE_SKIP_SUCCESS;
  sys_push(&ring, &sqe);
  CHECK(count_tokens(10 * (int64_t)SECOND, &forged) == 1);
  CHECK(forged == 0);
  doorbell_disarm(doorbell);
  doorbell_prepare(doorbell, &sqe);
  doorbell_failed(doorbell);  /* it was never sent */
  CHECK(doorbell_wanted(doorbell));
  CHECK(count_tokens(0, &forged) == 0 && !doorbell_arrived(doorbell));
  close_all();
}

static void forged_tokens_are_recognized (void) {
  struct io_uring_sqe sqe;
  unsigned forged = 0;
  open_all();
  count_tokens(0, &forged);
  CHECK(forged == 0);
  for (int i = 0; i < 3; i++) {
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_msg_ring(&sqe, ring.ring_fd, 7, doorbell->token, 0);
    sqe.flags = IOSQE_CQE_SKIP_SUCCESS;
    sys_push(&ring, &sqe);
  }
  doorbell_prepare(doorbell, &sqe);
  sqe.flags = IOSQE_CQE_SKIP_SUCCESS;
  sys_push(&ring, &sqe);
  CHECK(count_tokens(10 * (int64_t)SECOND, &forged) == 4);
  CHECK(forged == 3);
  close_all();
}

static void an_eventfd_adds_up (void) {
  unsigned forged = 0;
  uint64_t n = 0;
  open_all();
  count_tokens(0, &forged);
  if (doorbell->eventfd < 0) doorbell->eventfd = eventfd(0, EFD_CLOEXEC);
  CHECK(doorbell_ring(doorbell) == 0 && doorbell_ring(doorbell) == 0);
  CHECK(read(doorbell->eventfd, &n, sizeof(n)) == (ssize_t)sizeof(n));
  CHECK(n == 2);
  CHECK(doorbell_arrived(doorbell) && !doorbell_arrived(doorbell));
  close_all();
}

static void a_polled_one_is_read_whole (void) {
  open_all();
  CHECK(doorbell_polled(doorbell) >= 0);
  CHECK(doorbell_polled(doorbell) == doorbell->eventfd);
  CHECK(!doorbell_notified(doorbell));
  doorbell_read(doorbell);  /* (there is nothing) */
  CHECK(!doorbell_notified(doorbell));
  CHECK(doorbell_ring(doorbell) == 0);
  doorbell_notify(doorbell);
  CHECK(doorbell_ring(doorbell) == 0);
  CHECK(doorbell_notified(doorbell));
  doorbell_read(doorbell);
  CHECK(!doorbell_notified(doorbell) && !doorbell_arrived(doorbell));
  doorbell_notify(doorbell);
  CHECK(doorbell_notified(doorbell));
  close_all();
}

static void a_closed_ring_gives_epipe (void) {
  open_all();
  doorbell_arm(doorbell);
  CHECK(doorbell_wanted(doorbell));
  handle_mark_closed(handle);
  CHECK(doorbell_ring(doorbell) == -EPIPE);
  close_all();
}

static void outlives_its_ring (void) {
  struct doorbell *mine;
  open_all();
  mine = doorbell;
  refblock_retain(&mine->block);
  close_all();
  CHECK(doorbell_ring(mine) == -EPIPE);
  refblock_release(&mine->block);
}


/* ---- what is ready ------------------------------------------------------ */

#define LINKS 5

static struct counted {
  struct ready_link link;
  unsigned served;             /* its place in the order */
  bool without_loop;
} links[LINKS];
static unsigned nserved;

static void count_served (struct ready_link *link, struct loop *loop) {
  struct counted *c = (struct counted *)link;
  c->served = ++nserved;
  c->without_loop = loop == NULL;
}

static void link_from (unsigned first) {
  for (unsigned i = first; i < LINKS; i++) {
    links[i] = (struct counted){ .link.ready = count_served };
    doorbell_link(doorbell, &links[i].link);
  }
}

static void is_served_in_parts_and_in_order (void) {
  struct loop *loop = (struct loop *)&ring;  /* (not NULL, and never used) */
  open_all();
  nserved = 0;
  CHECK(doorbell_serve(doorbell, loop, 2) == 0);
  link_from(1);
  CHECK(doorbell_serve(doorbell, loop, 0) == 0 && nserved == 0);
  CHECK(doorbell_serve(doorbell, loop, 2) == 2 && nserved == 2);
  CHECK(doorbell_has_ready(doorbell));  /* though nothing is linked */
  links[0] = (struct counted){ .link.ready = count_served };
  doorbell_link(doorbell, &links[0].link);
  CHECK(doorbell_serve(doorbell, loop, DOORBELL_ALL) == LINKS - 2);
  for (unsigned i = 0; i < LINKS; i++)
    CHECK(links[i].served == (i > 0 ? i : LINKS));
  CHECK(!doorbell_has_ready(doorbell));
  CHECK(doorbell_serve(doorbell, loop, DOORBELL_ALL) == 0);
  close_all();
}

static void what_is_left_ends_with_it (void) {
  open_all();
  nserved = 0;
  link_from(0);
  CHECK(doorbell_serve(doorbell, (struct loop *)&ring, 1) == 1);
  close_all();
  CHECK(nserved == LINKS && !links[0].without_loop);
  for (unsigned i = 1; i < LINKS; i++) CHECK(links[i].without_loop);
}


/* ---- no lost wakeup ---------------------------------------------------- */

/* Two threads, each of which stores and then loads what the other stores. The
** sender puts one thing after another, each when the last was taken; the
** sleeper, if there is nothing, sleeps until the sender rings. A busy machine
** may let them alternate only a hundred times a second: a time ends it too. */

#define ROUNDS 100000u

static _Atomic unsigned put, taken, rings, rounds = ROUNDS;

static void *put_one_by_one (void *of) {
  int64_t limit = clock_now() + 3 * (int64_t)SECOND;
  for (unsigned i = 0; i < atomic_load(&rounds); i++) {
    if (clock_now() > limit) atomic_store(&rounds, i + 1);
    for (unsigned n = 1; atomic_load(&taken) < i; n++)
      if (n % 1024 == 0) sched_yield();
    for (volatile unsigned n = 0; n < i % 64; n++) {}
    atomic_store_explicit(&put, i + 1, memory_order_release);
    if (doorbell_wanted(of)) atomic_fetch_add(&rings, 1);
  }
  return NULL;
}

static void no_wakeup_is_lost (void) {
  pthread_t t;
  bool slept = false;
  open_all();
  CHECK(pthread_create(&t, NULL, put_one_by_one, doorbell) == 0);
  for (unsigned done = 0; done < atomic_load(&rounds); ) {
    unsigned before = atomic_load(&rings);
    doorbell_arm(doorbell);
    if (atomic_load_explicit(&put, memory_order_acquire) == done) {
      /* (the sender may not be running for a while) */
      int64_t limit = clock_now() + 10 * (int64_t)SECOND;
      for (unsigned n = 1; atomic_load(&rings) == before; n++) {
        if (n % 1024 != 0) continue;
        if (clock_now() > limit) break;
        sched_yield();
      }
      slept = slept || atomic_load(&rings) == before;
    }
    doorbell_disarm(doorbell);
    done = atomic_load(&put);
    atomic_store(&taken, done);
  }
  pthread_join(t, NULL);
  CHECK(!slept);
  close_all();
}

static void *ring_often (void *of) {
  for (unsigned i = 0; i < 1000; i++)
    if (doorbell_wanted(of)) CHECK(doorbell_ring(of) == 0);
  return NULL;
}

static void many_may_ring (void) {
  pthread_t threads[2];
  unsigned forged = 0;
  open_all();
  count_tokens(0, &forged);
  for (int i = 0; i < 2; i++)
    CHECK(pthread_create(&threads[i], NULL, ring_often, doorbell) == 0);
  for (int i = 0; i < 1000; i++) {
    doorbell_arm(doorbell);
    count_tokens(0, &forged);
    doorbell_disarm(doorbell);
  }
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  count_tokens(0, &forged);
  CHECK(forged == 0);
  close_all();
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(tokens_are_no_slots_and_differ),
    TEST(is_wanted_while_it_is_armed),
    TEST(wakes_from_another_thread),
    TEST(is_rung_by_a_request),
    TEST(forged_tokens_are_recognized),
    TEST(an_eventfd_adds_up),
    TEST(a_polled_one_is_read_whole),
    TEST(a_closed_ring_gives_epipe),
    TEST(outlives_its_ring),
    TEST(is_served_in_parts_and_in_order),
    TEST(what_is_left_ends_with_it),
    TEST(no_wakeup_is_lost),
    TEST(many_may_ring)
  };
  return SKIP_OR_RUN(tests);
}
