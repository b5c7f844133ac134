/*
** prep_file: the preps that open, read, write and close.
**
** Paths and the strings of writes are copied into a block of the SQE's; only
** buffers are used by the kernel without a copy. What must not break: a file
** that is opened is close-on-exec, and closed if its result is not taken.
*/

#include "compat.h"
#include "api/prep_build.h"
#include "api/sqe.h"

#include <fcntl.h>


/* A direct descriptor is in no process's table: openat refuses the flag. */
static void openat_clear_cloexec (lua_State *L, struct request *q) {
  (void)L;
  q->sqe.open_flags &= ~(uint32_t)O_CLOEXEC;
}

static const struct prep preps[] = {
  /* dfd, path [, flags [, mode]] */
  PREP(openat,
       KIND(OPENAT, .sqe.open_flags = O_CLOEXEC, .disposal = DISPOSE_FD),
       ARG(FD, fd), ARG(PATH, addr), FLAGS, ARG(OPT_MODE, len)),
  /* dfd, path, flags, mode, file_index */
  PREP_FINISH(openat_direct, openat_clear_cloexec,
              KIND(OPENAT, .disposal = DISPOSE_SLOT),
              ARG(FD, fd), ARG(PATH, addr), FLAGS, ARG(OPT_MODE, len),
              BARE(SLOT)),
  /* fd, buffer [, nbytes [, offset [, at]]] */
  PREP(read, KIND(READ), ARG(FD, fd), ARG(BUFFER, addr), ARG(LEN, len),
       ARG(OPT_OFFSET, off), BARE(START)),
  /* fd, string | buffer | lease [, nbytes [, offset [, at]]] */
  PREP(write, KIND(WRITE), ARG(FD, fd), ARG(BYTES, addr), ARG(LEN, len),
       ARG(OPT_OFFSET, off), BARE(START)),
  /* fd: a number, which is free afterwards */
  PREP(close, KIND(CLOSE), ARG(NUMBER, fd)),
  /* file_index */
  PREP(close_direct, KIND(CLOSE), BARE(INDEX)),
  /* file_index [, flags] */
  PREP(fixed_fd_install, KIND(FIXED_FD_INSTALL, .sqe.flags = IOSQE_FIXED_FILE,
                              .disposal = DISPOSE_FD),
       ARG(INT, fd), FLAGS),
  { 0 }
};

void prep_file_open (lua_State *L) {
  prep_define(L, preps);
}
