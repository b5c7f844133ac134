/* ref: a ring's number stays taken for as long as anybody may use it. */

#include "check.h"
#include "ref.h"

#include <fcntl.h>
#include <unistd.h>

static bool is_open (int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void has_a_dup_of_its_own (void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  struct ref *ref = ref_new(fd);
  int dup;
  CHECK(ref != NULL && ref->fd != fd && !ref_closed(ref));
  dup = ref->fd;
  CHECK((fcntl(dup, F_GETFD) & FD_CLOEXEC) != 0);
  close(fd);
  CHECK(is_open(dup));
  block_retain(&ref->block);
  block_release(&ref->block);
  CHECK(is_open(dup));
  block_release(&ref->block);
  CHECK(!is_open(dup));
}

static void closed_is_told_and_keeps_the_number (void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  struct ref *ref = ref_new(fd);
  unsigned before = ref_closings();
  ref_close(ref);
  CHECK(ref_closed(ref) && ref_closings() != before);
  close(fd);
  fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(fd != ref->fd && is_open(ref->fd));
  close(fd);
  block_release(&ref->block);
}

static void a_bad_descriptor_has_none (void) {
  errno = 0;
  CHECK(ref_new(-1) == NULL && errno == EBADF);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(has_a_dup_of_its_own), TEST(closed_is_told_and_keeps_the_number),
    TEST(a_bad_descriptor_has_none),
  };
  return RUN(tests);
}
