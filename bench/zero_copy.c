/*
** zero_copy: the time of a send with a copy and of one without.
**
**     build/bench/zero_copy ADDRESS SIZE N
**
** Sends N datagrams of SIZE bytes to ADDRESS (IPv4), one after another, and
** waits for each and its notification. Prints the nanoseconds of one with a
** copy, of one without, and how many the kernel has copied all the same.
*/

#include <liburing.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPORT_USAGE (1U << 3)  /* (IORING_SEND_ZC_…, liburing 2.4) */
#define COPIED 0x80000000u

static double now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int die (const char *what, int err) {
  fprintf(stderr, "zero_copy: %s: %s\n", what, strerror(err));
  exit(1);
}

static int sink (const char *address) {
  struct sockaddr_in to;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  memset(&to, 0, sizeof(to));
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1
      || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
    die(address, 22);
  return fd;
}

/* Send one, and wait for its CQEs; did the kernel report a copy? */
static unsigned send_one (struct io_uring *ring, int fd, const char *bytes,
                          unsigned size, int without) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  struct io_uring_cqe *cqe;
  unsigned copied = 0, more;
  if (without)
    io_uring_prep_send_zc(sqe, fd, bytes, size, 0, REPORT_USAGE);
  else
    io_uring_prep_send(sqe, fd, bytes, size, 0);
  io_uring_submit_and_wait(ring, 1);
  do {
    int rc = io_uring_wait_cqe(ring, &cqe);
    if (rc < 0) die("wait", -rc);
    more = cqe->flags & IORING_CQE_F_MORE;
    if (cqe->flags & IORING_CQE_F_NOTIF)
      copied = ((unsigned)cqe->res & COPIED) != 0;
    else if (cqe->res < 0) die("send", -cqe->res);
    io_uring_cqe_seen(ring, cqe);
  } while (more);
  return copied;
}

int main (int argc, char **argv) {
  struct io_uring ring;
  unsigned size = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
  unsigned n = argc == 4 ? (unsigned)atoi(argv[3]) : 0, copied = 0;
  double took[2];
  char *bytes = malloc(size + 1);
  int fd, rc;
  if (size == 0 || n == 0 || bytes == NULL) die("ADDRESS SIZE N", 22);
  memset(bytes, 'x', size);
  rc = io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER
                                     | IORING_SETUP_DEFER_TASKRUN);
  if (rc < 0) die("ring", -rc);
  fd = sink(argv[1]);
  for (int without = 0; without < 2; without++) {
    double began = now();
    for (unsigned i = 0; i < n; i++)
      copied += send_one(&ring, fd, bytes, size, without);
    took[without] = (now() - began) / n;
  }
  printf("%.0f %.0f %u\n", took[0], took[1], copied);
  return 0;
}
