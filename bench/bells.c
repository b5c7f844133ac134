/*
** bells: what it takes to wake 64 threads that sleep on rings of their own, by
** each of the three ways that a doorbell could be rung.
**
**     build/bench/bells ROUNDS
**
** Prints for each: nanoseconds of the ringing thread for a bell, and of
** the whole until the last of the 64 has answered, for a bell. A way that the
** kernel lacks has 0.
*/

#include <liburing.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST  64
#define FLAGS (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
#define SEND_MSG_RING 31   /* IORING_REGISTER_SEND_MSG_RING, since 6.13 */

struct sleeper {
  pthread_t thread;
  int fd, eventfd;         /* its ring; what its ring polls */
};

static struct sleeper sleepers[MOST];
static _Atomic unsigned ready, answered;
static _Atomic int over;
static struct io_uring own;

static double now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void poll_eventfd (struct io_uring *ring, int fd) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  io_uring_prep_poll_multishot(sqe, fd, POLLIN);
  io_uring_sqe_set_data64(sqe, 1);
}

static void *run (void *arg) {
  struct sleeper *s = arg;
  struct io_uring ring;
  struct io_uring_cqe *cqe;
  eventfd_t n;
  if (io_uring_queue_init(8, &ring, FLAGS) < 0) exit(77);
  s->fd = ring.ring_fd;
  s->eventfd = eventfd(0, EFD_NONBLOCK);
  poll_eventfd(&ring, s->eventfd);
  io_uring_submit(&ring);
  atomic_fetch_add(&ready, 1);
  while (io_uring_submit_and_wait(&ring, 1) >= 0 && !atomic_load(&over)) {
    while (io_uring_peek_cqe(&ring, &cqe) == 0) {
      if (cqe->user_data == 1) eventfd_read(s->eventfd, &n);
      io_uring_cqe_seen(&ring, cqe);
      atomic_fetch_add(&answered, 1);
    }
  }
  return NULL;
}

static void fill (struct io_uring_sqe *sqe, int fd) {
  io_uring_prep_msg_ring(sqe, fd, 0, 2, 0);
  io_uring_sqe_set_data64(sqe, 0);
}

static int by_sync (void) {
  for (unsigned i = 0; i < MOST; i++) {
    struct io_uring_sqe sqe;
    memset(&sqe, 0, sizeof(sqe));
    fill(&sqe, sleepers[i].fd);
    if (syscall(__NR_io_uring_register, -1, SEND_MSG_RING, &sqe, 1) < 0)
      return -1;
  }
  return 0;
}

static int by_sqe (void) {
  for (unsigned i = 0; i < MOST; i++) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&own);
    fill(sqe, sleepers[i].fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  }
  return io_uring_submit(&own) == MOST ? 0 : -1;
}

static int by_eventfd (void) {
  for (unsigned i = 0; i < MOST; i++)
    if (eventfd_write(sleepers[i].eventfd, 1) < 0)
      return -1;
  return 0;
}

static void measure (const char *name, int (*ring_all) (void), unsigned n) {
  double rang = 0, whole = 0;
  for (unsigned i = 0; i < n; i++) {
    double began;
    usleep(1000);  /* (all sleep) */
    atomic_store(&answered, 0);
    began = now();
    if (ring_all() < 0) {
      rang = whole = 0;
      break;
    }
    rang += now() - began;
    while (atomic_load(&answered) < MOST) usleep(20);
    whole += now() - began;
  }
  printf("%s %.0f %.0f\n", name, rang / n / MOST, whole / n / MOST);
}

int main (int argc, char **argv) {
  unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 200;
  if (io_uring_queue_init(MOST, &own, FLAGS) < 0)
    return 77;
  for (unsigned i = 0; i < MOST; i++)
    if (pthread_create(&sleepers[i].thread, NULL, run, &sleepers[i]) != 0)
      return 77;
  while (atomic_load(&ready) < MOST) usleep(100);
  measure("sync", by_sync, n);
  measure("sqe", by_sqe, n);
  measure("eventfd", by_eventfd, n);
  atomic_store(&over, 1);
  by_eventfd();
  for (unsigned i = 0; i < MOST; i++) pthread_join(sleepers[i].thread, NULL);
  return 0;
}
