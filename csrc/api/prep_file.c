/*
** prep_file: the preps of open files: read, write, sync, move, close.
**
** The strings of writes are copied into a block of the SQE's; only buffers are
** used by the kernel without a copy.
*/

#include "compat.h"
#include "api/prep_build.h"
#include "api/sqe.h"

#include <sys/epoll.h>


/* An event is packed on x86-64 alone: 12 bytes there, 16 elsewhere. */
static void check_events (lua_State *L, struct request *q) {
  const struct memory *m = (const struct memory *)q->pin[OP_PIN_MEMORY];
  size_t most = m->size / sizeof(struct epoll_event);
  if (q->sqe.len > most)
    luaL_argerror(L, most > 0 ? 4 : 3, lua_pushfstring(L, "no room for %I "
      "events of %d bytes in a buffer of %I: more expected",
      (LUAI_UACINT)q->sqe.len, (int)sizeof(struct epoll_event),
      (LUAI_UACINT)m->size));
}

const struct request
  kind_read = KIND_INIT(READ),
  kind_write = KIND_INIT(WRITE),
  kind_fsync = KIND_INIT(FSYNC),
  kind_ftruncate = KIND_INIT(FTRUNCATE);

static const struct prep preps[] = {
  /* fd, buffer [, nbytes [, offset [, at]]] */
  PREP(read, kind_read, ARG(FD, fd), ARG(BUFFER, addr), ARG(LEN, len),
       ARG(OPT_OFFSET, off), BARE(START)),
  /* fd, string | buffer | lease [, nbytes [, offset [, at]]] */
  PREP(write, kind_write, ARG(FD, fd), ARG(BYTES, addr), ARG(LEN, len),
       ARG(OPT_OFFSET, off), BARE(START)),
  /* fd, { buffer, … } [, offset [, flags]] */
  PREP(readv, KIND(READV), ARG(FD, fd), BARE(VECTOR_IN), ARG(OPT_OFFSET, off)),
  PREP(readv2, KIND(READV), ARG(FD, fd), BARE(VECTOR_IN), ARG(OPT_OFFSET, off),
       FLAGS),
  /* fd, { string | buffer | lease, … } [, offset [, flags]] */
  PREP(writev, KIND(WRITEV), ARG(FD, fd), BARE(VECTOR_OUT),
       ARG(OPT_OFFSET, off)),
  PREP(writev2, KIND(WRITEV), ARG(FD, fd), BARE(VECTOR_OUT),
       ARG(OPT_OFFSET, off), FLAGS),
  /* fd, buffer, nbytes, offset, buf_index [, at]: in a registered buffer */
  PREP(read_fixed, KIND(READ_FIXED), ARG(FD, fd), ARG(BUFFER, addr),
       ARG(LEN, len), ARG(OPT_OFFSET, off), ARG(U16, buf_index), BARE(START)),
  PREP(write_fixed, KIND(WRITE_FIXED), ARG(FD, fd), ARG(UNCOPIED, addr),
       ARG(LEN, len), ARG(OPT_OFFSET, off), ARG(U16, buf_index), BARE(START)),
  /* fd, { buffer, … }, offset, flags, buf_index: all in that buffer */
  PREP(readv_fixed, KIND(READV_FIXED), ARG(FD, fd), BARE(VECTOR_IN),
       ARG(OPT_OFFSET, off), FLAGS, ARG(U16, buf_index)),
  PREP(writev_fixed, KIND(WRITEV_FIXED), ARG(FD, fd), BARE(VECTOR_OUT),
       ARG(OPT_OFFSET, off), FLAGS, ARG(U16, buf_index)),
  /* fd, nbytes, offset, bgid: into the buffers of a group */
  PREP(read_multishot, KIND(READ_MULTISHOT, .sqe.flags = IOSQE_BUFFER_SELECT,
                            .req_flags = REQ_MULTI),
       ARG(FD, fd), ARG(OPT_INT, len), ARG(OPT_OFFSET, off),
       ARG(U16, buf_group)),
  /* fd [, fsync_flags] */
  PREP(fsync, kind_fsync, ARG(FD, fd), FLAGS),
  /* fd, len, offset [, flags]: all to the end with a len of 0 */
  PREP(sync_file_range, KIND(SYNC_FILE_RANGE), ARG(FD, fd), ARG(U32, len),
       ARG(OFFSET, off), FLAGS),
  /* fd, mode, offset, len */
  PREP(fallocate, KIND(FALLOCATE), ARG(FD, fd), ARG(U32, len),
       ARG(OFFSET, off), ARG(OFFSET, addr)),
  /* fd, len */
  PREP(ftruncate, kind_ftruncate, ARG(FD, fd), ARG(OFFSET, off)),
  /* fd, offset, len, advice */
  PREP(fadvise, KIND(FADVISE), ARG(FD, fd), ARG(OFFSET, off), ARG(U32, len),
       FLAGS),
  PREP(fadvise64, KIND(FADVISE), ARG(FD, fd), ARG(OFFSET, off),
       ARG(OFFSET, addr), FLAGS),
  /* fd_in, off_in, fd_out, off_out, nbytes [, splice_flags]; an offset of -1
     is the file's position, and a pipe has no other */
  PREP(splice, KIND(SPLICE), BARE(SECOND), ARG(OPT_OFFSET, splice_off_in),
       ARG(FD, fd), ARG(OPT_OFFSET, off), ARG(U32, len), FLAGS),
  /* fd_in, fd_out, nbytes [, splice_flags] */
  PREP(tee, KIND(TEE), BARE(SECOND), ARG(FD, fd), ARG(U32, len), FLAGS),
  /* epfd, fd, op [, events [, data]] */
  PREP(epoll_ctl, KIND(EPOLL_CTL), ARG(FD, fd), BARE(SECOND), ARG(U32, len),
       ARG(EVENTS, addr), BARE(DATA)),
  /* epfd, buffer, maxevents [, flags] */
  PREP_FINISH(epoll_wait, check_events, KIND(EPOLL_WAIT), ARG(FD, fd),
              ARG(BUFFER, addr), ARG(SIZE, len), FLAGS),
  /* fd: a number, which is free afterwards */
  PREP(close, KIND(CLOSE, .req_flags = REQ_NUMBER), ARG(NUMBER, fd)),
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
