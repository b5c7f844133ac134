/*
** feature_tests: test the running kernel for features, by using them.
**
** It owns nothing: each call makes rings of its own and closes them before it
** returns. Only `probe` calls it. No Lua in it, so nothing can raise while a
** ring or a descriptor is open.
**
** Invariant: the memory of a request that has not ended is never freed.
*/

#ifndef uring_feature_tests_h
#define uring_feature_tests_h

#include "compat.h"

/*
** name, first kernel that has it: the features that Linux 6.1 may lack, and
** older ones that messages between rings need.
*/
#define FEATURE_LIST(X) \
  X(msg_ring, 5, 18) \
  X(msg_ring_cqe_flags, 6, 3) \
  X(msg_ring_fd, 6, 0) \
  X(msg_ring_fd_alloc, 6, 0) \
  X(sync_msg, 6, 13) \
  X(fixed_fd_install, 6, 8) \
  X(file_alloc_range, 6, 0) \
  X(submit_all, 5, 18) \
  X(coop_taskrun, 5, 19) \
  X(single_issuer, 6, 0) \
  X(defer_taskrun, 6, 1) \
  X(no_sqarray, 6, 6) \
  X(cqe_mixed, 6, 18) \
  X(sqe_mixed, 6, 19) \
  X(resize_rings, 6, 13) \
  X(reg_reg_ring, 6, 3) \
  X(ext_arg, 5, 11) \
  X(min_timeout, 6, 12) \
  X(no_iowait, 6, 15) \
  X(cqe_skip, 5, 17) \
  X(sync_cancel, 6, 0) \
  X(cancel_op, 6, 6) \
  X(timeout_multishot, 6, 4) \
  X(buf_ring, 5, 19) \
  X(buf_ring_mmap, 6, 4) \
  X(buf_ring_inc, 6, 12) \
  X(buf_ring_status, 6, 8) \
  X(recv_multishot, 6, 0) \
  X(recvmsg_multishot, 6, 0) \
  X(read_multishot, 6, 7) \
  X(accept_multishot, 5, 19) \
  X(bundles, 6, 10) \
  X(send_zc, 6, 0) \
  X(sendmsg_zc, 6, 1) \
  X(send_zc_report_usage, 6, 2) \
  X(sendmsg_zc_fixed, 6, 15) \
  X(socket_commands, 6, 7) \
  X(rwf_nosignal, 6, 18)

#define feature_test_enum_(name,major,minor)	FEATURE_##name,

enum { FEATURE_LIST(feature_test_enum_) FEATURE_COUNT };

#define FEATURE_OPS	256  /* an opcode is a byte */

/* the result of a test: one of these, or an errno */
#define FEATURE_WORKS	0
#define FEATURE_UNTESTED	(-1)

struct feature_test {
  int err;  /* of making the first ring: 0 or an errno */
  unsigned char op[FEATURE_OPS];  /* does the kernel know this opcode? */
  int answer[FEATURE_COUNT];
};

/* Run all tests. Takes a few milliseconds. */
void feature_test_run (struct feature_test *t);

/* Test a message from no ring: FEATURE_WORKS, an errno, or FEATURE_UNTESTED if
** no ring could be made to send it to. */
int feature_test_sync_msg (void);

#endif
