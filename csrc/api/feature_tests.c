/*
** feature_tests: one test for each feature. A test that times out sets
** `stuck`: its request may still use the memory, so no further test runs and
** the memory is leaked.
*/

#include "api/feature_tests.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "ring/sys.h"


#define SECOND	1000000000LL

/* the user_data of requests, and of messages */
#define OWN	1
#define MESSAGE	2

/* memory that the kernel may use for a request after it was submitted */
struct test_memory {
  struct msghdr msg;
  struct __kernel_timespec ts;
  int type;
};

struct lab {
  struct io_uring ring;
  struct test_memory *memory;
  int stuck;  /* a request has not ended: no further test is run */
};


static int make_ring (struct io_uring *ring, unsigned flags) {
  struct io_uring_params p;
  memset(&p, 0, sizeof(p));
  p.flags = flags;
  return sys_setup(8, ring, &p);
}


/* the fields that most requests have; the other ones become 0 */
static void prep (struct io_uring_sqe *sqe, int op, int fd, const void *addr,
                  unsigned len, uint64_t off) {
  memset(sqe, 0, sizeof(*sqe));
  sqe->opcode = (uint8_t)op;
  sqe->fd = fd;
  sqe->addr = (uintptr_t)addr;
  sqe->len = len;
  sqe->off = off;
}


/*
** Submit one request and wait for its end, and also for a message if one is
** expected and the request has not failed. Returns its result, or -errno if
** the ring itself does not work. A multishot request must end by itself.
*/
static int run_request (struct lab *lab, struct io_uring_sqe *sqe,
                        struct cqe *message) {
  int rounds, ended = 0, result = 0, received = (message == NULL);
  if (lab->stuck || sys_sq_space(&lab->ring) == 0)
    return -EBUSY;
  lab->stuck = 1;
  sqe->user_data = OWN;
  sys_push(&lab->ring, sqe);
  for (rounds = 0; rounds < 16; rounds++) {
    struct cqe c;
    int rc = sys_enter(&lab->ring, 1, SECOND);
    if (rc < 0 && rc != -EINTR)
      return rc;  /* (-ETIME: no CQE within a second) */
    while (sys_take(&lab->ring, &c, 1) == 1) {
      if (c.user_data == MESSAGE && message != NULL) {
        *message = c;
        received = 1;
      }
      else if (c.user_data == OWN) {
        if (!(c.flags & IORING_CQE_F_NOTIF))
          result = c.res;
        ended = !(c.flags & IORING_CQE_F_MORE);
      }
    }
    if (ended && (received || result < 0)) {
      lab->stuck = 0;
      return result;
    }
  }
  return -ETIME;
}


/*
** Test a request whose result should be `wanted`. The kernel checks for
** unknown flags (EINVAL) before anything else: so a request with a known flag
** is made to fail with another error.
*/
static int expect (struct lab *lab, struct io_uring_sqe *sqe, int wanted) {
  int res = run_request(lab, sqe, NULL);
  if (res == wanted && !lab->stuck)
    return FEATURE_WORKS;
  return (res < 0) ? -res : EPROTO;
}


/*
** A multishot receive with a buffer group that does not exist. Since data is
** there it ends at once, with ENOBUFS if the kernel knows it.
*/
static int expect_no_buffers (struct lab *lab, struct io_uring_sqe *sqe) {
  sqe->flags = IOSQE_BUFFER_SELECT;
  sqe->buf_group = 0xfff0;
  return expect(lab, sqe, -ENOBUFS);
}


static int try_flags (unsigned flags) {
  struct io_uring ring;
  int rc = make_ring(&ring, flags);
  if (rc < 0)
    return -rc;
  sys_exit(&ring);
  return FEATURE_WORKS;
}


/* the kernel reports the feature when a ring is made */
static int try_feature (const struct io_uring *ring, unsigned feature) {
  return (ring->features & feature) ? FEATURE_WORKS : EINVAL;
}


static void try_ops (struct io_uring *ring, struct feature_test *t) {
  struct io_uring_probe *p =
    calloc(1, sizeof(*p) + FEATURE_OPS * sizeof(p->ops[0]));
  unsigned i;
  if (p == NULL)
    return;
  if (sys_register(ring->ring_fd, IORING_REGISTER_PROBE, p, FEATURE_OPS) >=
      0) {
    for (i = 0; i < p->ops_len; i++)
      t->op[p->ops[i].op] = (p->ops[i].flags & IO_URING_OP_SUPPORTED) != 0;
  }
  free(p);
}


/* the kernel reports the opcode to IORING_REGISTER_PROBE */
static int try_op (const struct feature_test *t, unsigned op) {
  return t->op[op] ? FEATURE_WORKS : EINVAL;
}


static int try_message (struct lab *lab, unsigned cqe_flags) {
  struct io_uring_sqe sqe;
  struct cqe message;
  int res;
  prep(&sqe, IORING_OP_MSG_RING, lab->ring.ring_fd, NULL, 7, MESSAGE);
  sqe.msg_ring_flags = cqe_flags ? IORING_MSG_RING_FLAGS_PASS : 0;
  sqe.file_index = cqe_flags;
  res = run_request(lab, &sqe, &message);
  if (res < 0)
    return -res;
  return (message.res == 7 && message.flags == cqe_flags) ? FEATURE_WORKS
                                                          : EPROTO;
}


static int try_sync_message (struct io_uring *ring) {
  struct io_uring_sqe sqe;
  prep(&sqe, IORING_OP_MSG_RING, ring->ring_fd, NULL, 0, MESSAGE);
  return -sys_register(-1, IORING_REGISTER_SEND_MSG_RING, &sqe, 1);
}


/* register a table of four slots, with `fd` in the first */
static int give_slots (struct io_uring *ring, int fd) {
  struct io_uring_rsrc_register reg;
  struct io_uring_files_update up;
  int rc;
  memset(&reg, 0, sizeof(reg));
  reg.nr = 4;
  reg.flags = IORING_RSRC_REGISTER_SPARSE;
  rc = sys_register(ring->ring_fd, IORING_REGISTER_FILES2, &reg,
                    sizeof(reg));
  if (rc < 0 || fd < 0)
    return rc;
  memset(&up, 0, sizeof(up));
  up.fds = (uintptr_t)&fd;
  return sys_register(ring->ring_fd, IORING_REGISTER_FILES_UPDATE, &up, 1);
}


/* send the file in slot 0 of `from` into `slot` of another ring, and receive
** the message there that reports it */
static int send_file (struct lab *from, struct io_uring *to,
                      unsigned slot, int32_t wanted) {
  struct io_uring_sqe sqe;
  struct cqe c;
  int answer;
  prep(&sqe, IORING_OP_MSG_RING, to->ring_fd, NULL, 0, MESSAGE);
  sqe.addr = IORING_MSG_SEND_FD;
  compat_set_file_slot(&sqe, slot);
  answer = expect(from, &sqe, wanted);
  if (answer != FEATURE_WORKS)
    return answer;
  if (sys_cq_ready(to) == 0) {
    int rc = sys_enter(to, 1, SECOND);
    if (rc < 0 && rc != -EINTR)
      return -rc;
  }
  if (sys_take(to, &c, 1) != 1)
    return ETIME;
  return (c.user_data == MESSAGE && c.res == wanted) ? FEATURE_WORKS : EPROTO;
}


static int install_file (struct lab *lab) {
  struct io_uring_sqe sqe;
  int res;
  prep(&sqe, IORING_OP_FIXED_FD_INSTALL, 0, NULL, 0, 0);
  sqe.flags = IOSQE_FIXED_FILE;
  res = run_request(lab, &sqe, NULL);
  if (res < 0)
    return -res;
  close(res);
  return FEATURE_WORKS;
}


/*
** Files in slots. The ring gets a table with an eventfd in it (a ring cannot
** be in one), and another ring is made to send to.
*/
static void try_files (struct lab *lab, int *answer) {
  struct io_uring_file_index_range range = { .off = 0, .len = 4 };
  struct io_uring other;
  int fd = eventfd(0, EFD_CLOEXEC);
  int rc = (fd < 0) ? -errno : give_slots(&lab->ring, fd);
  if (fd >= 0)
    close(fd);  /* the slot keeps the file */
  if (rc >= 0)
    rc = make_ring(&other, 0);
  if (rc < 0) {
    answer[FEATURE_msg_ring_fd] = answer[FEATURE_msg_ring_fd_alloc] = -rc;
    answer[FEATURE_fixed_fd_install] = answer[FEATURE_file_alloc_range] = -rc;
    return;
  }
  rc = give_slots(&other, -1);
  if (rc < 0)
    answer[FEATURE_msg_ring_fd] = answer[FEATURE_msg_ring_fd_alloc] = -rc;
  else {
    answer[FEATURE_msg_ring_fd] = send_file(lab, &other, 0, 0);
    /* slot 0 is taken now, so the kernel will pick slot 1 */
    answer[FEATURE_msg_ring_fd_alloc] =
      send_file(lab, &other, IORING_FILE_INDEX_ALLOC, 1);
  }
  sys_exit(&other);
  answer[FEATURE_fixed_fd_install] = install_file(lab);
  answer[FEATURE_file_alloc_range] = -sys_register(lab->ring.ring_fd,
    IORING_REGISTER_FILE_ALLOC_RANGE, &range, 0);
}


static int try_buf_ring (struct io_uring *ring, int bgid, void *memory,
                         unsigned flags) {
  struct io_uring_buf_reg reg;
  memset(&reg, 0, sizeof(reg));
  reg.ring_addr = (uintptr_t)memory;
  reg.ring_entries = 2;
  reg.bgid = (uint16_t)bgid;
  compat_set_buf_reg(&reg, flags, 0);
  return -sys_register(ring->ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
}


static void remove_buf_ring (struct io_uring *ring, int bgid) {
  struct io_uring_buf_reg reg;
  memset(&reg, 0, sizeof(reg));
  reg.bgid = (uint16_t)bgid;
  sys_register(ring->ring_fd, IORING_UNREGISTER_PBUF_RING, &reg, 1);
}


static void try_buffers (struct io_uring *ring, int *answer) {
  struct compat_buf_status status = { .buf_group = 0 };
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  char *memory = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    answer[FEATURE_buf_ring] = answer[FEATURE_buf_ring_mmap] = ENOMEM;
    answer[FEATURE_buf_ring_inc] = answer[FEATURE_buf_ring_status] = ENOMEM;
    return;
  }
  answer[FEATURE_buf_ring] = try_buf_ring(ring, 0, memory, 0);
  answer[FEATURE_buf_ring_inc] = try_buf_ring(ring, 1, memory + size,
                                              IOU_PBUF_RING_INC);
  answer[FEATURE_buf_ring_mmap] = try_buf_ring(ring, 2, NULL,
                                               IOU_PBUF_RING_MMAP);
  answer[FEATURE_buf_ring_status] =
    -sys_register(ring->ring_fd, IORING_REGISTER_PBUF_STATUS, &status, 1);
  /* no buffer was ever added, but the kernel uses these pages until the groups
     are unregistered */
  remove_buf_ring(ring, 0);
  remove_buf_ring(ring, 1);
  remove_buf_ring(ring, 2);
  munmap(memory, 2 * size);
}


static int try_resize (void) {
  struct io_uring ring;
  struct io_uring_params p;
  int rc = make_ring(&ring, IORING_SETUP_SINGLE_ISSUER |
                       IORING_SETUP_DEFER_TASKRUN);
  if (rc < 0)
    return -rc;
  memset(&p, 0, sizeof(p));
  p.flags = IORING_SETUP_CQSIZE;
  p.sq_entries = 8;
  p.cq_entries = 32;
  rc = sys_register(ring.ring_fd, IORING_REGISTER_RESIZE_RINGS, &p, 1);
  sys_exit(&ring);  /* (the old mappings are still there to unmap) */
  return -rc;
}


/* (by opcode as a call: in a request 6.1 silently ignores the flag) */
static int try_cancel (struct io_uring *ring, unsigned flags,
                       unsigned opcode) {
  struct io_uring_sync_cancel_reg reg;
  int rc;
  memset(&reg, 0, sizeof(reg));
  reg.fd = -1;
  reg.flags = flags;
  reg.timeout.tv_sec = reg.timeout.tv_nsec = -1;
  compat_set_cancel_opcode(&reg, opcode);
  rc = sys_register(ring->ring_fd, IORING_REGISTER_SYNC_CANCEL, &reg, 1);
  return (rc >= 0 || rc == -ENOENT) ? FEATURE_WORKS : -rc;
}


static int try_timeout_multishot (struct lab *lab) {
  struct io_uring_sqe sqe;
  lab->memory->ts.tv_nsec = 1;
  prep(&sqe, IORING_OP_TIMEOUT, -1, &lab->memory->ts, 1, 1);
  sqe.timeout_flags = IORING_TIMEOUT_MULTISHOT;
  return expect(lab, &sqe, -ETIME);
}


/* (The pipe has a reader: a kernel that ignores the flag must not signal.) */
static int try_nosignal (struct lab *lab, int fd) {
  struct io_uring_sqe sqe;
  prep(&sqe, IORING_OP_WRITE, fd, "x", 1, 0);
  sqe.rw_flags = RWF_NOSIGNAL;
  return expect(lab, &sqe, 1);
}


/* sockets[1] and pipes[0] have something to read */
static void try_receiving (struct lab *lab, const int *sockets,
                           const int *pipes, int *answer) {
  const int option[] = { SOL_SOCKET, SO_TYPE };  /* level, optname */
  struct io_uring_sqe sqe;
  prep(&sqe, IORING_OP_RECV, sockets[1], NULL, 0, 0);
  sqe.ioprio = IORING_RECV_MULTISHOT;
  answer[FEATURE_recv_multishot] = expect_no_buffers(lab, &sqe);
  prep(&sqe, IORING_OP_RECVMSG, sockets[1], &lab->memory->msg, 1, 0);
  sqe.ioprio = IORING_RECV_MULTISHOT;
  answer[FEATURE_recvmsg_multishot] = expect_no_buffers(lab, &sqe);
  prep(&sqe, IORING_OP_READ_MULTISHOT, pipes[0], NULL, 0, 0);
  answer[FEATURE_read_multishot] = expect_no_buffers(lab, &sqe);
  prep(&sqe, IORING_OP_URING_CMD, sockets[0], NULL, 0, 0);
  sqe.cmd_op = SOCKET_URING_OP_GETSOCKOPT;
  memcpy(&sqe.addr, option, sizeof(option));
  sqe.file_index = sizeof(lab->memory->type);  /* optlen */
  sqe.addr3 = (uintptr_t)&lab->memory->type;  /* optval */
  answer[FEATURE_socket_commands] = expect(lab, &sqe, sizeof(int));
}


static void try_sending (struct lab *lab, struct feature_test *t) {
  struct io_uring_sqe sqe;
  t->answer[FEATURE_send_zc] = try_op(t, IORING_OP_SEND_ZC);
  t->answer[FEATURE_sendmsg_zc] = try_op(t, IORING_OP_SENDMSG_ZC);
  prep(&sqe, IORING_OP_SEND_ZC, -1, "", 0, 0);
  sqe.ioprio = IORING_SEND_ZC_REPORT_USAGE;
  t->answer[FEATURE_send_zc_report_usage] = expect(lab, &sqe, -EBADF);
  prep(&sqe, IORING_OP_SENDMSG_ZC, -1, &lab->memory->msg, 1, 0);
  sqe.ioprio = IORING_RECVSEND_FIXED_BUF;
  t->answer[FEATURE_sendmsg_zc_fixed] = expect(lab, &sqe, -EBADF);
  prep(&sqe, IORING_OP_ACCEPT, -1, NULL, 0, 0);
  sqe.ioprio = IORING_ACCEPT_MULTISHOT;
  t->answer[FEATURE_accept_multishot] = expect(lab, &sqe, -EBADF);
}


static void try_sockets (struct lab *lab, int *answer) {
  int sockets[2], pipes[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
    return;
  if (pipe2(pipes, O_CLOEXEC) == 0) {
    if (send(sockets[0], "x", 1, MSG_NOSIGNAL) == 1 &&
        write(pipes[1], "x", 1) == 1)
      try_receiving(lab, sockets, pipes, answer);
    answer[FEATURE_rwf_nosignal] = try_nosignal(lab, pipes[1]);
    close(pipes[0]);
    close(pipes[1]);
  }
  close(sockets[0]);
  close(sockets[1]);
}


static void try_ring (struct lab *lab, struct feature_test *t) {
  struct io_uring *ring = &lab->ring;
  int *answer = t->answer;
  try_ops(ring, t);
  answer[FEATURE_ext_arg] = try_feature(ring, IORING_FEAT_EXT_ARG);
  answer[FEATURE_cqe_skip] = try_feature(ring, IORING_FEAT_CQE_SKIP);
  answer[FEATURE_reg_reg_ring] = try_feature(ring, IORING_FEAT_REG_REG_RING);
  answer[FEATURE_bundles] = try_feature(ring, IORING_FEAT_RECVSEND_BUNDLE);
  answer[FEATURE_min_timeout] = try_feature(ring, IORING_FEAT_MIN_TIMEOUT);
  answer[FEATURE_no_iowait] = try_feature(ring, IORING_FEAT_NO_IOWAIT);
  answer[FEATURE_msg_ring] = try_message(lab, 0);
  answer[FEATURE_msg_ring_cqe_flags] = try_message(lab, IORING_CQE_F_NOTIF);
  answer[FEATURE_sync_msg] = try_sync_message(ring);
  answer[FEATURE_sync_cancel] = try_cancel(ring, IORING_ASYNC_CANCEL_ANY |
                                           IORING_ASYNC_CANCEL_ALL, 0);
  answer[FEATURE_cancel_op] = try_cancel(ring, IORING_ASYNC_CANCEL_OP,
                                         IORING_OP_RECV);
  answer[FEATURE_timeout_multishot] = try_timeout_multishot(lab);
  try_buffers(ring, answer);
  try_sending(lab, t);
  try_sockets(lab, answer);
  try_files(lab, answer);
}


/* flags for the making of a ring */
static void try_rings (int *answer) {
  answer[FEATURE_submit_all] = try_flags(IORING_SETUP_SUBMIT_ALL);
  answer[FEATURE_coop_taskrun] = try_flags(IORING_SETUP_COOP_TASKRUN |
                                         IORING_SETUP_TASKRUN_FLAG);
  answer[FEATURE_single_issuer] = try_flags(IORING_SETUP_SINGLE_ISSUER);
  answer[FEATURE_defer_taskrun] = try_flags(IORING_SETUP_SINGLE_ISSUER |
    IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  answer[FEATURE_no_sqarray] = try_flags(IORING_SETUP_NO_SQARRAY);
  answer[FEATURE_cqe_mixed] = try_flags(IORING_SETUP_CQE_MIXED);
  answer[FEATURE_sqe_mixed] = try_flags(IORING_SETUP_SQE_MIXED);
  answer[FEATURE_resize_rings] = try_resize();
}


int feature_test_sync_msg (void) {
  struct io_uring ring;
  int answer;
  if (make_ring(&ring, 0) < 0)
    return FEATURE_UNTESTED;
  answer = try_sync_message(&ring);
  sys_exit(&ring);
  return answer;
}


void feature_test_run (struct feature_test *t) {
  struct lab lab;
  int rc, i;
  memset(t, 0, sizeof(*t));
  for (i = 0; i < FEATURE_COUNT; i++)
    t->answer[i] = FEATURE_UNTESTED;
  lab.stuck = 0;
  lab.memory = calloc(1, sizeof(*lab.memory));
  rc = (lab.memory == NULL) ? -ENOMEM : make_ring(&lab.ring, 0);
  if (rc < 0)
    t->err = -rc;
  else {
    try_ring(&lab, t);
    sys_exit(&lab.ring);
    try_rings(t->answer);
  }
  if (!lab.stuck)  /* (otherwise a request may still use it) */
    free(lab.memory);
}
