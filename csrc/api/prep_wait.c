/*
** prep_wait: nothing, time, readiness, and the ends of other requests.
**
** A call that names another request takes its operation, never a number: the
** kernel's user_data is the library's own (op.h), and nobody else knows it.
*/

#include "compat.h"
#include "api/sqe.h"

#include "base/clock.h"
#include "base/names.h"
#include "api/operation.h"

#include <poll.h>


/* sqe:prep_nop() */
static int prep_nop (lua_State *L) {
  struct request *q = sqe_self(L);
  sqe_begin(L, q);
  io_uring_prep_nop(&q->sqe);
  return sqe_end(L, q);
}


/* ---- time -------------------------------------------------------------- */

static struct memory *timespec (lua_State *L, int64_t ns) {
  struct __kernel_timespec ts;
  ts.tv_sec = ns / 1000000000;
  ts.tv_nsec = ns % 1000000000;
  return sqe_memory(L, sizeof(ts), &ts);
}

/* sqe:prep_timeout(seconds [, count [, flags]]): -ETIME when it is over, 0
** when `count` other completions came first. */
static int prep_timeout (lua_State *L) {
  struct request *q = sqe_self(L);
  int64_t ns = arg_duration(L, 2);
  unsigned count = (unsigned)arg_optional(L, 3, 0, 0, UINT32_MAX);
  uint32_t flags = arg_flags(L, 4);
  struct memory *m = timespec(L, ns);
  sqe_begin(L, q);
  io_uring_prep_timeout(&q->sqe, (struct __kernel_timespec *)m->bytes, count,
                        flags);
  sqe_pin_memory(q, &m->block);
  if (flags & IORING_TIMEOUT_MULTISHOT) {
    q->req_flags |= REQ_MULTI;
    q->min_kernel = NAMES_VERSION(6, 4);
  }
  return sqe_end(L, q);
}


/* ---- readiness --------------------------------------------------------- */

static int poll_at (lua_State *L, bool multi) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  unsigned mask = (unsigned)arg_integer(L, 3, 0, UINT32_MAX);
  sqe_begin(L, q);
  if (multi) io_uring_prep_poll_multishot(&q->sqe, fd.number, mask);
  else io_uring_prep_poll_add(&q->sqe, fd.number, mask);
  if (multi) q->req_flags |= REQ_MULTI;
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_poll_add(fd, poll_mask) */
static int prep_poll_add (lua_State *L) {
  return poll_at(L, false);
}

/* sqe:prep_poll_multishot(fd, poll_mask) */
static int prep_poll_multishot (lua_State *L) {
  return poll_at(L, true);
}


/* ---- the ends of others ------------------------------------------------ */

static uint64_t arg_named (lua_State *L, int arg, uint64_t *ring_id) {
  struct operation *o = class_test(L, arg, CLASS_OPERATION);
  if (o == NULL && lua_type(L, arg) == LUA_TNUMBER)
    luaL_argerror(L, arg, "operation expected, got a number: user_data is "
                  "the library's own; give what ring:queue returned");
  o = operation_check(L, arg);
  *ring_id = o->ring->id;
  return o->token;
}

static int end_named (lua_State *L, struct request *q, uint64_t ring_id) {
  q->ring_id = ring_id;
  q->req_flags |= REQ_NAMES_OP;
  return sqe_end(L, q);
}

/* sqe:prep_cancel(operation [, flags]), or of all that match:
** sqe:prep_cancel(nil, IORING_ASYNC_CANCEL_ANY), and with ..._CANCEL_OP the
** opcode as third argument */
static int prep_cancel (lua_State *L) {
  struct request *q = sqe_self(L);
  uint32_t flags = arg_flags(L, 3);
  if (lua_isnoneornil(L, 2)) {
    uint32_t opcode = (uint32_t)arg_optional(L, 4, 0, 0, UINT8_MAX);
    if (!(flags & (IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_OP)))
      return luaL_argerror(L, 2, "operation expected, or nil with "
               "IORING_ASYNC_CANCEL_ANY or IORING_ASYNC_CANCEL_OP as flags");
    sqe_begin(L, q);
    io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, &q->sqe, -1, NULL, opcode, 0);
    q->sqe.cancel_flags = flags;
    if (flags & IORING_ASYNC_CANCEL_OP) q->min_kernel = NAMES_VERSION(6, 6);
    return sqe_end(L, q);
  }
  else {
    uint64_t ring_id, token = arg_named(L, 2, &ring_id);
    sqe_begin(L, q);
    io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, &q->sqe, -1, NULL, 0, 0);
    q->sqe.addr = token;
    q->sqe.cancel_flags = flags;
    return end_named(L, q, ring_id);
  }
}

/* sqe:prep_cancel_fd(fd [, flags]) */
static int prep_cancel_fd (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint32_t flags = arg_flags(L, 3);
  sqe_begin(L, q);
  io_uring_prep_cancel_fd(&q->sqe, fd.number, flags);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_poll_remove(operation) */
static int prep_poll_remove (lua_State *L) {
  struct request *q = sqe_self(L);
  uint64_t ring_id, token = arg_named(L, 2, &ring_id);
  sqe_begin(L, q);
  io_uring_prep_rw(IORING_OP_POLL_REMOVE, &q->sqe, -1, NULL, 0, 0);
  q->sqe.addr = token;
  return end_named(L, q, ring_id);
}

/* sqe:prep_timeout_remove(operation [, flags]) */
static int prep_timeout_remove (lua_State *L) {
  struct request *q = sqe_self(L);
  uint64_t ring_id, token = arg_named(L, 2, &ring_id);
  uint32_t flags = arg_flags(L, 3);
  sqe_begin(L, q);
  io_uring_prep_timeout_remove(&q->sqe, token, flags);
  return end_named(L, q, ring_id);
}

/* sqe:prep_timeout_update(seconds, operation [, flags]) */
static int prep_timeout_update (lua_State *L) {
  struct request *q = sqe_self(L);
  int64_t ns = arg_duration(L, 2);
  uint64_t ring_id, token = arg_named(L, 3, &ring_id);
  uint32_t flags = arg_flags(L, 4);
  struct memory *m = timespec(L, ns);
  sqe_begin(L, q);
  io_uring_prep_timeout_update(&q->sqe, (struct __kernel_timespec *)m->bytes,
                               token, flags);
  sqe_pin_memory(q, &m->block);
  return end_named(L, q, ring_id);
}


static const luaL_Reg preps[] = {
  {"prep_nop", prep_nop},
  {"prep_timeout", prep_timeout},
  {"prep_poll_add", prep_poll_add},
  {"prep_poll_multishot", prep_poll_multishot},
  {"prep_cancel", prep_cancel},
  {"prep_cancel_fd", prep_cancel_fd},
  {"prep_poll_remove", prep_poll_remove},
  {"prep_timeout_remove", prep_timeout_remove},
  {"prep_timeout_update", prep_timeout_update},
  {NULL, NULL}
};

void prep_wait_open (lua_State *L) {
  class_extend(L, CLASS_SQE, preps);
}
