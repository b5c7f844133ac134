/* recvmsg_out: bytes that a peer has influenced. */

#include "check.h"
#include "ring/recvmsg_out.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_open (int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

static void descriptors_are_closed_once (void) {
  _Alignas(struct cmsghdr) unsigned char bytes[CMSG_SPACE(2 * sizeof(int))];
  struct cmsghdr h = { CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
  int fds[2] = { dup(0), dup(0) };
  memset(bytes, 0, sizeof(bytes));
  memcpy(bytes, &h, sizeof(h));
  memcpy(bytes + CMSG_LEN(0), fds, sizeof(fds));
  cmsg_close(bytes, sizeof(bytes));
  CHECK(!is_open(fds[0]) && !is_open(fds[1]));
  /* the numbers belong to other files now */
  CHECK(dup2(0, fds[0]) == fds[0] && dup2(0, fds[1]) == fds[1]);
  cmsg_close(bytes, sizeof(bytes));
  CHECK(is_open(fds[0]) && is_open(fds[1]));
  close(fds[0]);
  close(fds[1]);
}

/* Write a message of one int at `at`; returns the place of the next one. */
static size_t put (unsigned char *bytes, size_t at, int value) {
  struct cmsghdr h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, 77 };
  memcpy(bytes + at, &h, sizeof(h));
  memcpy(bytes + at + CMSG_LEN(0), &value, sizeof(value));
  return at + CMSG_SPACE(sizeof(int));
}

static void the_last_try_counts (void) {
  _Alignas(struct cmsghdr) unsigned char bytes[CMSG_SPACE(sizeof(int)) * 4];
  const size_t one = CMSG_SPACE(sizeof(int));
  size_t size, at;
  memset(bytes, 0, sizeof(bytes));
  size = 0;  /* nothing was received */
  CHECK(cmsg_of_last_try(bytes, sizeof(bytes), &size) == 0 && size == 0);
  at = put(bytes, put(bytes, 0, 1), 2);
  size = at;  /* one try */
  CHECK(cmsg_of_last_try(bytes, sizeof(bytes), &size) == 0 && size == at);
  size = one;  /* two tries */
  CHECK(cmsg_of_last_try(bytes, sizeof(bytes), &size) == one && size == one);
  size = 0;  /* three tries, and the last has written nothing */
  CHECK(cmsg_of_last_try(bytes, sizeof(bytes), &size) == at && size == 0);
  size = sizeof(bytes);  /* it has failed */
  CHECK(cmsg_of_last_try(bytes, sizeof(bytes), &size) == at && size == 0);
  size = one - 4;  /* the last one was cut off */
  CHECK(cmsg_of_last_try(bytes, at - 4, &size) == one && size == one - 4);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(descriptors_are_closed_once),
    TEST(the_last_try_counts),
  };
  return RUN(tests);
}
