/*
** prep_wait: the preps of nop, timeouts, polls, futexes, the ends of
** processes, and the cancelling of requests.
**
** What must not break: a prep that names another request takes its operation,
** never a number, for the kernel's user_data is the library's own (op_table.h)
** and no caller knows it.
*/

#include "compat.h"
#include "api/prep_build.h"
#include "api/sqe.h"

#include "lua/args.h"

#include <signal.h>


static void timeout_set_multishot (lua_State *L, struct request *q) {
  (void)L;
  if (q->sqe.timeout_flags & IORING_TIMEOUT_MULTISHOT)
    q->req_flags |= REQ_MULTI;
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
}

/* (The user_data of a poll is the library's, and stays.) */
static void check_poll_flags (lua_State *L, struct request *q) {
  if (q->sqe.len & ~(IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI
                     | IORING_POLL_ADD_LEVEL))
    luaL_argerror(L, 4, "IORING_POLL_ADD_MULTI or IORING_POLL_ADD_LEVEL "
                  "expected");
}

static void check_futex (lua_State *L, struct request *q) {
  const struct memory *m = (const struct memory *)q->pin[OP_PIN_MEMORY];
  size_t at = q->sqe.addr - (uintptr_t)m->bytes, size = sizeof(uint32_t);
  if ((unsigned)q->sqe.fd & FUTEX2_NUMA)  /* guard: the kernel sets the node */
    size *= 2;
  if (at % size != 0 || m->size - at < size)
    luaL_argerror(L, at > 0 ? 7 : 2, size == sizeof(uint32_t)
                  ? "4 bytes at a multiple of 4 expected"
                  : "8 bytes at a multiple of 8 expected, of which the last 4 "
                    "are the node");
}

static void check_siginfo (lua_State *L, struct request *q) {
  const struct memory *m = (const struct memory *)q->pin[OP_PIN_MEMORY];
  if (m && m->size < sizeof(siginfo_t))
    luaL_argerror(L, 4, "buffer of 128 bytes or more expected (a siginfo_t)");
}

const struct request
  kind_nop = KIND_INIT(NOP),
  kind_timeout = KIND_INIT(TIMEOUT, .sqe.len = 1),
  kind_poll_add = KIND_INIT(POLL_ADD),
  kind_poll_multishot = KIND_INIT(POLL_ADD, .sqe.len = IORING_POLL_ADD_MULTI,
                                  .req_flags = REQ_MULTI);

static const struct prep preps[] = {
  PREP(nop, kind_nop, BARE(NONE)),
  /* seconds [, count [, flags]]: -ETIME when it is over, 0 if `count` other
     requests completed first */
  PREP_FINISH(timeout, timeout_set_multishot, kind_timeout,
              ARG(DURATION, addr), ARG(OPT_U32, off), FLAGS),
  /* fd, poll_mask */
  PREP(poll_add, kind_poll_add, ARG(FD, fd), ARG(POLL, poll32_events)),
  PREP(poll_multishot, kind_poll_multishot, ARG(FD, fd),
       ARG(POLL, poll32_events)),
  /* operation [, flags]; or nil, flags [, opcode] */
  PREP_FINISH(cancel, cancel_matching, KIND(ASYNC_CANCEL),
              ARG(OPT_OPERATION, addr), FLAGS),
  /* fd [, flags] */
  PREP(cancel_fd,
       KIND(ASYNC_CANCEL, .sqe.cancel_flags = IORING_ASYNC_CANCEL_FD),
       ARG(FD, fd), FLAGS),
  /* operation, poll_mask [, flags] */
  PREP_FINISH(poll_update, check_poll_flags,
              KIND(POLL_REMOVE, .sqe.len = IORING_POLL_UPDATE_EVENTS),
              ARG(OPERATION, addr), ARG(POLL, poll32_events),
              ARG(OPT_U32, len)),
  /* operation */
  PREP(poll_remove, KIND(POLL_REMOVE), ARG(OPERATION, addr)),
  /* operation [, flags] */
  PREP(timeout_remove, KIND(TIMEOUT_REMOVE), ARG(OPERATION, addr), FLAGS),
  /* seconds, operation [, flags] */
  PREP(timeout_update,
       KIND(TIMEOUT_REMOVE, .sqe.timeout_flags = IORING_TIMEOUT_UPDATE),
       ARG(DURATION, off), ARG(OPERATION, addr), FLAGS),
  /* seconds [, flags]: the last of a chain; limits the time of the member
     before it */
  PREP(link_timeout, KIND(LINK_TIMEOUT, .sqe.len = 1), ARG(DURATION, addr),
       FLAGS),
  /* buffer, val, mask, futex_flags [, flags [, at]]: wait until the 4 bytes at
     `at` are woken; EAGAIN if they are not `val` */
  PREP_FINISH(futex_wait, check_futex, KIND(FUTEX_WAIT), ARG(BUFFER, addr),
              ARG(OPT_BITS64, off), ARG(OPT_BITS64, addr3), ARG(U32, fd),
              FLAGS, BARE(START)),
  /* buffer, val, mask, futex_flags [, flags [, at]]: wake `val` waits */
  PREP_FINISH(futex_wake, check_futex, KIND(FUTEX_WAKE), ARG(BUFFER, addr),
              ARG(OPT_BITS64, off), ARG(OPT_BITS64, addr3), ARG(U32, fd),
              FLAGS, BARE(START)),
  /* idtype, id, buffer | nil, options [, flags] */
  PREP_FINISH(waitid, check_siginfo, KIND(WAITID), ARG(U32, len),
              ARG(INT, fd), ARG(OPT_BUFFER, off), ARG(U32, file_index),
              FLAGS),
  { 0 }
};

void prep_wait_open (lua_State *L) {
  prep_define(L, preps);
}
