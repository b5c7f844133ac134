/* Tests that need a ring: where io_uring is not allowed they are skipped. */

#ifndef check_ring_h
#define check_ring_h

#include "check.h"
#include "ring/sys.h"

#include <errno.h>

static inline bool check_ring_refused (void) {
  struct io_uring_params p = {0};
  struct io_uring ring;
  int rc = sys_setup(8, &ring, &p);
  if (rc == 0) sys_exit(&ring);
  return rc == -EPERM || rc == -ENOSYS;
}

#define SKIP_OR_RUN(tests) \
  (check_ring_refused() \
   ? printf("0 passed, 0 failed, %u skipped\n", \
            (unsigned)(sizeof(tests) / sizeof(*(tests)))), 0 \
   : RUN(tests))

#endif
