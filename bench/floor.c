/*
** floor: the cost of the same work in C, directly on liburing.
**
**     build/bench/floor [N [PREFIX]]
**
** Prints lines of `name ns`, of those rows whose names begin with PREFIX. The
** rings have the same flags as the library's, or the comparison would mean
** nothing; and it is processor time, as the library's.
*/

#include <liburing.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLAGS (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN \
  | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE)

static const char *only = "";

static bool wanted (const char *name) {
  return strncmp(name, only, strlen(only)) == 0;
}

static double now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void make (struct io_uring *ring, unsigned entries) {
  struct io_uring_params p;
  memset(&p, 0, sizeof(p));
  p.flags = FLAGS;
  p.cq_entries = entries * 8;
  int rc = io_uring_queue_init_params(entries, ring, &p);
  if (rc < 0) {
    fprintf(stderr, "floor: cannot make a ring: %s\n", strerror(-rc));
    exit(77);
  }
}

static volatile uint64_t seen;  /* so that the compiler skips nothing */

/* Consume all that is in the CQ. */
static unsigned take (struct io_uring *ring) {
  struct io_uring_cqe *cqe;
  unsigned head, n = 0;
  uint64_t s = 0;
  io_uring_for_each_cqe(ring, head, cqe) {
    s += cqe->user_data;
    n++;
  }
  io_uring_cq_advance(ring, n);
  seen = s;
  return n;
}

static struct io_uring_sqe *get (struct io_uring *ring) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  if (sqe == NULL) {
    io_uring_submit(ring);
    sqe = io_uring_get_sqe(ring);
  }
  return sqe;
}

/* `tasks` NOPs in flight at any time, as with so many tasks. */
static void nops (unsigned tasks, unsigned total) {
  struct io_uring ring;
  char name[32];
  snprintf(name, sizeof(name), "nop_%u", tasks);
  if (!wanted(name))
    return;
  make(&ring, 256);
  double start = now();
  for (unsigned done = 0; done < total; ) {
    unsigned queued = 0, back = 0;
    for (; queued < tasks; queued++) {
      struct io_uring_sqe *sqe = get(&ring);
      io_uring_prep_nop(sqe);
      io_uring_sqe_set_data64(sqe, queued);
    }
    while (back < queued) {
      io_uring_submit_and_wait(&ring, 1);
      back += take(&ring);
    }
    done += back;
  }
  printf("%s %.1f\n", name, (now() - start) / total);
  io_uring_queue_exit(&ring);
}

/* A message, waiting for both it and its own completion. */
static void message (int other, unsigned total) {
  struct io_uring a, b;
  const char *name = other ? "message_other" : "message_own";
  if (!wanted(name))
    return;
  make(&a, 256);
  make(&b, 64);
  struct io_uring *to = other ? &b : &a;
  double start = now();
  for (unsigned i = 0; i < total; i++) {
    struct io_uring_sqe *sqe = get(&a);
    io_uring_prep_msg_ring(sqe, to->ring_fd, 1, i, 0);
    io_uring_sqe_set_data64(sqe, i);
    unsigned back = 0;
    while (back < (other ? 1u : 2u)) {
      io_uring_submit_and_wait(&a, 1);
      back += take(&a);
    }
    if (other)
      for (back = 0; back < 1; back += take(&b))
        io_uring_submit_and_wait(&b, 1);
  }
  printf("%s %.1f\n", name, (now() - start) / total);
  io_uring_queue_exit(&a);
  io_uring_queue_exit(&b);
}

static void batches (unsigned batch, int skip, unsigned total) {
  struct io_uring a, b;
  char name[32];
  snprintf(name, sizeof(name), "raw_%u%s", batch, skip ? "_skip" : "");
  if (!wanted(name))
    return;
  make(&a, 256);
  make(&b, 256);
  double start = now();
  for (unsigned done = 0; done < total; done += batch) {
    unsigned back = 0;
    for (unsigned i = 0; i < batch; i++) {
      struct io_uring_sqe *sqe = get(&a);
      io_uring_prep_msg_ring(sqe, b.ring_fd, 1, i, 0);
      io_uring_sqe_set_data64(sqe, i);
      if (skip) sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
    if (skip) io_uring_submit(&a);
    else {
      io_uring_submit_and_wait(&a, batch);
      take(&a);
    }
    while (back < batch) {
      io_uring_submit_and_wait(&b, batch - back);
      back += take(&b);
    }
  }
  printf("%s %.1f\n", name, (now() - start) / total);
  io_uring_queue_exit(&a);
  io_uring_queue_exit(&b);
}

static void sync_messages (unsigned total) {
  struct io_uring ring;
  if (!wanted("sync"))
    return;
  make(&ring, 256);
  double start = now();
  for (unsigned done = 0; done < total; done += 64) {
    for (unsigned i = 0; i < 64; i++) {
      struct io_uring_sqe sqe;
      memset(&sqe, 0, sizeof(sqe));
      io_uring_prep_msg_ring(&sqe, ring.ring_fd, 1, i, 0);
      if (io_uring_register((unsigned)-1, 31, &sqe, 1) < 0)
        return;  /* needs Linux 6.13 */
    }
    for (unsigned back = 0; back < 64; back += take(&ring))
      io_uring_submit_and_wait(&ring, 1);
  }
  printf("sync %.1f\n", (now() - start) / total);
  io_uring_queue_exit(&ring);
}

int main (int argc, char **argv) {
  unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 200000;
  if (argc > 2) only = argv[2];
  nops(1, n);
  nops(100, n);
  nops(10000, n);
  message(0, n / 4);
  message(1, n / 4);
  for (unsigned batch = 1; batch <= 256; batch = batch == 1 ? 8 : batch == 8
         ? 32 : batch == 32 ? 256 : 512) {
    batches(batch, 0, n / 2);
    batches(batch, 1, n / 2);
  }
  sync_messages(n / 4);
  return 0;
}
