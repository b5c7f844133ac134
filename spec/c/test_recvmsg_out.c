/* recvmsg_out: what a peer has a say in. */

#include "check.h"
#include "recvmsg_out.h"

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
  /* the numbers are another's now */
  CHECK(dup2(0, fds[0]) == fds[0] && dup2(0, fds[1]) == fds[1]);
  cmsg_close(bytes, sizeof(bytes));
  CHECK(is_open(fds[0]) && is_open(fds[1]));
  close(fds[0]);
  close(fds[1]);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(descriptors_are_closed_once),
  };
  return RUN(tests);
}
