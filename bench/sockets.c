/*
** sockets: the socket servers of the benchmarks in C, directly on liburing.
**
**     build/bench/sockets WORK
**
** load.c describes such a server. This one must do what the library does for
** its sockets, and no more: multishot receives, one ring of provided buffers
** for all sockets, and single sends, one after another on each socket.
*/

#include <liburing.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLAGS (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN \
  | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE)

#define ENTRIES  256u
#define BUFFERS  256u
#define BURST    128u
#define SOCKETS  4096u

enum { RECEIVED = 1, SENT, ACCEPTED, CLOSED };  /* in the high bits */

static struct io_uring ring;
static struct io_uring_buf_ring *buf_ring;
static unsigned char *buffers;
static uint32_t size;            /* of a buffer */

static void give_up (const char *what, int err) {
  fprintf(stderr, "sockets: %s: %s\n", what, strerror(err));
  exit(1);
}

static int must (int rc, const char *what) {
  if (rc < 0) give_up(what, errno);
  return rc;
}

static double spent (void) {
  struct timespec ts;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}


/* ---- the ring ---------------------------------------------------------- */

static void make (void) {
  struct io_uring_params p;
  int rc;
  memset(&p, 0, sizeof(p));
  p.flags = FLAGS;
  p.cq_entries = ENTRIES * 8;
  rc = io_uring_queue_init_params(ENTRIES, &ring, &p);
  if (rc < 0) give_up("cannot make a ring", -rc);
}

static unsigned char *buffer (uint32_t bid) {
  return buffers + (size_t)bid * size;
}

static void give (uint32_t bid) {
  io_uring_buf_ring_add(buf_ring, buffer(bid), size, (unsigned short)bid,
                        (int)BUFFERS - 1, 0);
  io_uring_buf_ring_advance(buf_ring, 1);
}

static void *map (size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) give_up("mmap", errno);
  return p;
}

static void make_buffers (uint32_t each) {
  struct io_uring_buf_reg reg;
  int rc;
  size = each;
  buffers = map((size_t)each * BUFFERS);
  buf_ring = map(BUFFERS * sizeof(struct io_uring_buf));
  io_uring_buf_ring_init(buf_ring);
  memset(&reg, 0, sizeof(reg));
  reg.ring_addr = (uint64_t)(uintptr_t)buf_ring;
  reg.ring_entries = BUFFERS;
  rc = io_uring_register_buf_ring(&ring, &reg, 0);
  if (rc < 0) give_up("provided buffers", -rc);
  for (uint32_t i = 0; i < BUFFERS; i++) give(i);
}

static struct io_uring_sqe *get (unsigned what, unsigned of, uint32_t bid) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
  if (sqe == NULL) {
    io_uring_submit(&ring);
    sqe = io_uring_get_sqe(&ring);
  }
  sqe->user_data = (uint64_t)what << 56 | (uint64_t)bid << 32 | of;
  return sqe;
}

/* (after prep_*, which overwrites user_data in newer liburings) */
#define keeping(sqe, call) do { \
    uint64_t data_ = (sqe)->user_data; \
    call; \
    (sqe)->user_data = data_; \
  } while (0)

static void arm_receive (int fd, struct msghdr *header) {
  struct io_uring_sqe *sqe = get(RECEIVED, (unsigned)fd, 0);
  if (header)
    keeping(sqe, io_uring_prep_recvmsg_multishot(sqe, fd, header, 0));
  else
    keeping(sqe, io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0));
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = 0;
}

static uint32_t buffer_of (const struct io_uring_cqe *cqe) {
  return cqe->flags >> IORING_CQE_BUFFER_SHIFT;
}


/* ---- sockets ----------------------------------------------------------- */

static int serve (int type) {
  struct sockaddr_in a;
  socklen_t len = sizeof(a);
  int fd = must(socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket");
  memset(&a, 0, sizeof(a));
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind");
  if (type == SOCK_STREAM) must(listen(fd, 4096), "listen");
  must(getsockname(fd, (struct sockaddr *)&a, &len), "getsockname");
  printf("%d\n", ntohs(a.sin_port));
  fflush(stdout);
  return fd;
}

static struct msghdr *header (void) {
  static struct msghdr h;
  h.msg_namelen = sizeof(struct sockaddr_storage);
  return &h;
}


/* ---- UDP --------------------------------------------------------------- */

static volatile uint64_t seen;  /* so that the compiler skips nothing */

static void udp_receive (void) {
  int fd = serve(SOCK_DGRAM);
  struct msghdr *h = header();
  uint64_t sum = 0;
  make_buffers(2048);
  arm_receive(fd, h);
  io_uring_submit(&ring);
  for (;;) {
    unsigned got = 0;
    double start;
    if (getchar() == EOF) return;
    start = spent();
    while (got < BURST) {
      struct io_uring_cqe *cqe;
      unsigned head, n = 0;
      bool again = false;
      io_uring_submit_and_wait(&ring, 1);
      io_uring_for_each_cqe(&ring, head, cqe) {
        struct io_uring_recvmsg_out *o;
        n++;
        if (!(cqe->flags & IORING_CQE_F_MORE)) again = true;
        if (cqe->res < 0) continue;
        o = io_uring_recvmsg_validate(buffer(buffer_of(cqe)), cqe->res, h);
        sum += o->payloadlen + *(unsigned char *)io_uring_recvmsg_name(o);
        give(buffer_of(cqe));
        got++;
      }
      io_uring_cq_advance(&ring, n);
      if (again) arm_receive(fd, h);
    }
    seen = sum;
    printf("%.0f\n", spent() - start);
    fflush(stdout);
  }
}

/* Sends may overtake one another if they have to wait; here none has to. */
static void udp_echo (void) {
  int fd = serve(SOCK_DGRAM);
  struct msghdr *h = header();
  make_buffers(2048);
  arm_receive(fd, h);
  for (;;) {
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    bool again = false;
    io_uring_submit_and_wait(&ring, 1);
    io_uring_for_each_cqe(&ring, head, cqe) {
      struct io_uring_recvmsg_out *o;
      struct io_uring_sqe *sqe;
      n++;
      if (cqe->user_data >> 56 == SENT) {
        give((uint32_t)(cqe->user_data >> 32) & 0xffff);
        continue;
      }
      if (!(cqe->flags & IORING_CQE_F_MORE)) again = true;
      if (cqe->res < 0) continue;
      o = io_uring_recvmsg_validate(buffer(buffer_of(cqe)), cqe->res, h);
      sqe = get(SENT, 0, buffer_of(cqe));
      keeping(sqe, io_uring_prep_send(sqe, fd,
        io_uring_recvmsg_payload(o, h), o->payloadlen, 0));
      sqe->addr2 = (uint64_t)(uintptr_t)io_uring_recvmsg_name(o);
      sqe->addr_len = (uint16_t)o->namelen;
    }
    io_uring_cq_advance(&ring, n);
    if (again) arm_receive(fd, h);
  }
}


/* ---- TCP --------------------------------------------------------------- */

static void arm_accept (int fd) {
  struct io_uring_sqe *sqe = get(ACCEPTED, (unsigned)fd, 0);
  keeping(sqe, io_uring_prep_multishot_accept(sqe, fd, NULL, NULL,
                                              SOCK_CLOEXEC));
}

static void close_socket (int fd) {
  struct io_uring_sqe *sqe = get(CLOSED, (unsigned)fd, 0);
  keeping(sqe, io_uring_prep_close(sqe, fd));
}

/* Echoes, or only reads, or only closes. */
static void tcp (bool echoes, bool closes, uint32_t each) {
  int listener = serve(SOCK_STREAM);
  uint64_t sum = 0;
  make_buffers(each);
  arm_accept(listener);
  for (;;) {
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_submit_and_wait(&ring, 1);
    io_uring_for_each_cqe(&ring, head, cqe) {
      int fd = (int)(uint32_t)cqe->user_data;
      n++;
      switch ((int)(cqe->user_data >> 56)) {
        case ACCEPTED:
          if (cqe->res >= 0) {
            struct sockaddr_in peer;
            socklen_t len = sizeof(peer);
            getpeername(cqe->res, (struct sockaddr *)&peer, &len);
            if (closes) close_socket(cqe->res);
            else arm_receive(cqe->res, NULL);
          }
          if (!(cqe->flags & IORING_CQE_F_MORE)) arm_accept(listener);
          break;
        case RECEIVED:
          if (cqe->res > 0 && echoes) {
            struct io_uring_sqe *sqe = get(SENT, (unsigned)fd,
                                           buffer_of(cqe));
            keeping(sqe, io_uring_prep_send(sqe, fd, buffer(buffer_of(cqe)),
              (size_t)cqe->res, MSG_NOSIGNAL | MSG_WAITALL));
          }
          else if (cqe->res > 0) {
            sum += (unsigned)cqe->res + buffer(buffer_of(cqe))[0];
            give(buffer_of(cqe));
          }
          if (cqe->flags & IORING_CQE_F_MORE) break;
          if (cqe->res > 0 || cqe->res == -ENOBUFS) arm_receive(fd, NULL);
          else close_socket(fd);
          break;
        case SENT:
          give((uint32_t)(cqe->user_data >> 32) & 0xffff);
          break;
        default: break;
      }
    }
    io_uring_cq_advance(&ring, n);
    seen = sum;
  }
}

static void stream_out (size_t piece, bool zero_copy) {
  int listener = serve(SOCK_STREAM);
  int fd = must(accept(listener, NULL, NULL), "accept");
  unsigned char *bytes = malloc(piece);
  if (bytes == NULL) give_up("memory", ENOMEM);
  memset(bytes, 'x', piece);
  for (;;) {
    struct io_uring_sqe *sqe = get(SENT, (unsigned)fd, 0);
    unsigned left = 1;
    if (zero_copy)
      keeping(sqe, io_uring_prep_send_zc(sqe, fd, bytes, piece,
                                         MSG_NOSIGNAL | MSG_WAITALL, 0));
    else
      keeping(sqe, io_uring_prep_send(sqe, fd, bytes, piece,
                                      MSG_NOSIGNAL | MSG_WAITALL));
    while (left > 0) {
      struct io_uring_cqe *cqe;
      unsigned head, n = 0;
      io_uring_submit_and_wait(&ring, 1);
      io_uring_for_each_cqe(&ring, head, cqe) {
        n++;
        if (cqe->res < 0) return;
        if (!(cqe->flags & IORING_CQE_F_MORE)) left = 0;
      }
      io_uring_cq_advance(&ring, n);
    }
  }
}

int main (int argc, char **argv) {
  const char *work = argc > 1 ? argv[1] : "";
  make();
  if (strcmp(work, "udp_receive") == 0) udp_receive();
  else if (strncmp(work, "udp_echo", 8) == 0) udp_echo();
  else if (strncmp(work, "tcp_echo", 8) == 0) tcp(true, false, 2048);
  else if (strcmp(work, "accept") == 0) tcp(false, true, 2048);
  else if (strcmp(work, "receive_stream") == 0) tcp(false, false, 16384);
  else if (strcmp(work, "send_16k") == 0) stream_out(1 << 14, false);
  else if (strcmp(work, "send_1m") == 0) stream_out(1 << 20, false);
  else if (strcmp(work, "send_16k_zc") == 0) stream_out(1 << 14, true);
  else if (strcmp(work, "send_1m_zc") == 0) stream_out(1 << 20, true);
  else {
    fprintf(stderr, "sockets: no work '%s'\n", work);
    return 2;
  }
  return 0;
}
