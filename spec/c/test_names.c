/* names: names of errnos, opcodes and flags. */

#include "check.h"
#include "base/names.h"

static bool same (const char *a, const char *b) {
  return a != NULL && strcmp(a, b) == 0;
}

static void errnos (void) {
  CHECK(same(name_errno(EAGAIN), "EAGAIN"));
  CHECK(same(name_errno(-EAGAIN), "EAGAIN"));
  CHECK(same(name_errno(EBADR), "EBADR"));
  CHECK(name_errno(0) == NULL && name_errno(4000) == NULL);
  CHECK(name_errno(INT32_MIN) == NULL && name_errno(INT32_MAX) == NULL);
  for (const struct name_number *e = name_errnos; e->name; e++) {
    CHECK(e->number > 0 && e->name[0] == 'E');
    CHECK(name_errno(e->number) != NULL);
  }
}

static void opcodes (void) {
  CHECK(same(name_op_short(IORING_OP_MSG_RING), "msg_ring"));
  CHECK(same(name_op_short(IORING_OP_URING_CMD128), "uring_cmd128"));
  CHECK(name_op_min_kernel(IORING_OP_MSG_RING) == NAMES_VERSION(5, 18));
  CHECK(name_op_min_kernel(IORING_OP_FIXED_FD_INSTALL) == NAMES_VERSION(6, 8));
  for (unsigned op = 0; op < name_ops(); op++) {
    CHECK(name_op_short(op) != NULL);
    CHECK(name_op_min_kernel(op) >= NAMES_VERSION(5, 1));
  }
  CHECK(name_op_short(name_ops()) == NULL);
  CHECK(name_op_short(UINT32_MAX) == NULL);
  CHECK(name_op_min_kernel(name_ops()) == 0);
}

static void versions (void) {
  CHECK(NAMES_VERSION(6, 13) < NAMES_VERSION(6, 18));
  CHECK(NAMES_VERSION(6, 18) < NAMES_VERSION(7, 0));
  CHECK(NAMES_MAJOR(name_kernel()) >= 5);
}

static void bits (void) {
  char buf[64];
  const char *all = "SINGLE_ISSUER|DEFER_TASKRUN";
  uint64_t both = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  CHECK(name_bits(name_setup_flags, both, buf, sizeof(buf)) == strlen(all));
  CHECK(same(buf, all));
  name_bits(name_setup_flags, 0, buf, sizeof(buf));
  CHECK(same(buf, "0"));
  name_bits(name_setup_flags, 0x40000000, buf, sizeof(buf));
  CHECK(same(buf, "0x40000000"));
  name_bits(name_sqe_flags, IOSQE_IO_LINK, buf, sizeof(buf));
  CHECK(same(buf, "IO_LINK"));
}

/* text that does not fit is cut off, and no byte behind the buffer changes */
static void short_buffers (void) {
  for (size_t len = 1; len < 40; len++) {
    char buf[64];
    size_t n;
    memset(buf, 'x', sizeof(buf));
    n = name_bits(name_setup_flags, UINT64_MAX, buf, len);
    CHECK(n < len && buf[n] == '\0' && buf[len] == 'x');
  }
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(errnos), TEST(opcodes), TEST(versions), TEST(bits),
    TEST(short_buffers),
  };
  return RUN(tests);
}
