/*
** prep_wait: the preps of nop, timeouts, polls, and the cancelling of
** requests.
**
** What must not break: a prep that names another request takes its operation,
** never a number, for the kernel's user_data is the library's own (op_table.h)
** and no caller knows it.
*/

#include "compat.h"
#include "api/prep_build.h"
#include "api/sqe.h"

#include "base/names.h"
#include "lua/args.h"


static void timeout_set_multishot (lua_State *L, struct request *q) {
  (void)L;
  if (q->sqe.timeout_flags & IORING_TIMEOUT_MULTISHOT) {
    q->req_flags |= REQ_MULTI;
    q->min_kernel = NAMES_VERSION(6, 4);
  }
}

/* Without an operation it cancels all that match; with IORING_ASYNC_CANCEL_OP
** those of the opcode that is the third argument. */
static void cancel_matching (lua_State *L, struct request *q) {
  if (q->req_flags & REQ_NAMES_OP)
    return;
  q->sqe.len = (uint32_t)arg_optional(L, 4, 0, 0, UINT8_MAX);
  if (!(q->sqe.cancel_flags
        & (IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_OP)))
    luaL_argerror(L, 2, "operation expected, or nil with "
             "IORING_ASYNC_CANCEL_ANY or IORING_ASYNC_CANCEL_OP as flags");
  if (q->sqe.cancel_flags & IORING_ASYNC_CANCEL_OP)
    q->min_kernel = NAMES_VERSION(6, 6);
}

static const struct prep preps[] = {
  PREP(nop, KIND(NOP), BARE(NONE)),
  /* seconds [, count [, flags]]: -ETIME when it is over, 0 if `count` other
     requests completed first */
  PREP_FINISH(timeout, timeout_set_multishot, KIND(TIMEOUT, .sqe.len = 1),
              ARG(DURATION, addr), ARG(OPT_U32, off), FLAGS),
  /* fd, poll_mask */
  PREP(poll_add, KIND(POLL_ADD), ARG(FD, fd), ARG(POLL, poll32_events)),
  PREP(poll_multishot, KIND(POLL_ADD, .sqe.len = IORING_POLL_ADD_MULTI,
                            .req_flags = REQ_MULTI),
       ARG(FD, fd), ARG(POLL, poll32_events)),
  /* operation [, flags]; or nil, flags [, opcode] */
  PREP_FINISH(cancel, cancel_matching, KIND(ASYNC_CANCEL),
              ARG(OPT_OPERATION, addr), FLAGS),
  /* fd [, flags] */
  PREP(cancel_fd,
       KIND(ASYNC_CANCEL, .sqe.cancel_flags = IORING_ASYNC_CANCEL_FD),
       ARG(FD, fd), FLAGS),
  /* operation */
  PREP(poll_remove, KIND(POLL_REMOVE), ARG(OPERATION, addr)),
  /* operation [, flags] */
  PREP(timeout_remove, KIND(TIMEOUT_REMOVE), ARG(OPERATION, addr), FLAGS),
  /* seconds, operation [, flags] */
  PREP(timeout_update,
       KIND(TIMEOUT_REMOVE, .sqe.timeout_flags = IORING_TIMEOUT_UPDATE),
       ARG(DURATION, off), ARG(OPERATION, addr), FLAGS),
  { 0 }
};

void prep_wait_open (lua_State *L) {
  prep_define(L, preps);
}
