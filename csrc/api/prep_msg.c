/*
** prep_msg: the preps that send messages to rings.
**
** A target is a ring of this state, a reference (`ring:ref()`), or a plain
** number. What must not break: no message corrupts the completion queue of its
** target.
*/

#include "compat.h"
#include "api/prep_build.h"
#include "api/sqe.h"

/* Flags of a CQE that liburing acts on when it walks the queue: it would skip
** a message with F_SKIP, and advance by two CQEs at F_32. */
#define UNSAFE_CQE_FLAGS  (IORING_CQE_F_SKIP | IORING_CQE_F_32)

#define SENDS_FD(...) \
  KIND(MSG_RING, .sqe.addr = IORING_MSG_SEND_FD, __VA_ARGS__)


static void check_cqe_flags (lua_State *L, struct request *q) {
  if (q->sqe.file_index & UNSAFE_CQE_FLAGS)  /* guard: the reader's queue */
    luaL_argerror(L, 6, "cqe_flags must not have the bits 0x8020 "
                  "(IORING_CQE_F_SKIP, IORING_CQE_F_32): they would "
                  "corrupt the reader's queue");
}

static const struct prep preps[] = {
  /* target, len, data [, flags] */
  PREP(msg_ring, KIND(MSG_RING), ARG(TARGET, fd), ARG(LEN32, len),
       ARG(OPT_BITS64, off), FLAGS),
  /* target, len, data, flags, cqe_flags */
  PREP_FINISH(msg_ring_cqe_flags, check_cqe_flags,
              KIND(MSG_RING, .sqe.msg_ring_flags = IORING_MSG_RING_FLAGS_PASS),
              ARG(TARGET, fd), ARG(LEN32, len), ARG(OPT_BITS64, off), FLAGS,
              ARG(U32, file_index)),
  /* target, source_fd, target_fd, data [, flags] */
  PREP(msg_ring_fd, SENDS_FD(), ARG(TARGET, fd), ARG(INT, addr3),
       BARE(SLOT), ARG(OPT_BITS64, off), FLAGS),
  /* target, source_fd, data [, flags] */
  PREP(msg_ring_fd_alloc, SENDS_FD(.sqe.file_index = ANY_SLOT),
       ARG(TARGET, fd), ARG(INT, addr3), ARG(OPT_BITS64, off), FLAGS),
  { 0 }
};

void prep_msg_open (lua_State *L) {
  prep_define(L, preps);
}
