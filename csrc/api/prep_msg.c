/*
** prep_msg: messages between rings.
**
** A target is a ring of this state, a reference (`ring:ref()`), or a plain
** number for those who know what they do. The first two are named by the
** ring's handle, which knows when the ring has been closed.
*/

#include "compat.h"
#include "api/sqe.h"

#include "base/names.h"
#include "api/ref_object.h"
#include "api/ring_object.h"

/* Bits of a CQE's flags that liburing acts on when it walks the queue: it
** would skip a message that says F_SKIP, and step over two at F_32. */
#define UNSAFE_CQE_FLAGS  (IORING_CQE_F_SKIP | IORING_CQE_F_32)


struct target {
  int number;
  struct handle *ring;
};

static struct target arg_target (lua_State *L, int arg) {
  struct target t = { -1, NULL };
  if (lua_type(L, arg) == LUA_TNUMBER)
    t.number = (int)arg_integer(L, arg, INT32_MIN, INT32_MAX);
  else if (class_test(L, arg, CLASS_RING))
    t.ring = ring_check(L, arg)->handle;
  else if ((t.ring = reference_test(L, arg)) == NULL)
    luaL_argerror(L, arg, lua_pushfstring(L,
      "ring expected (a ring, a reference or a descriptor's number), got %s",
      luaL_typename(L, arg)));
  return t;
}

static void set_target (struct request *q, const struct target *t) {
  if (t->ring) sqe_pin_target(q, t->ring);
}

/* sqe:prep_msg_ring(target, len, data [, flags]) */
static int msg_ring (lua_State *L) {
  struct request *q = sqe_self(L);
  struct target t = arg_target(L, 2);
  uint32_t len = arg_len32(L, 3);
  uint64_t data = arg_bits64(L, 4);
  uint32_t flags = arg_flags(L, 5);
  sqe_begin(L, q);
  io_uring_prep_msg_ring(&q->sqe, t.number, len, data, flags);
  set_target(q, &t);
  return sqe_end(L, q);
}

/* sqe:prep_msg_ring_cqe_flags(target, len, data, flags, cqe_flags) */
static int msg_ring_cqe_flags (lua_State *L) {
  struct request *q = sqe_self(L);
  struct target t = arg_target(L, 2);
  uint32_t len = arg_len32(L, 3);
  uint64_t data = arg_bits64(L, 4);
  uint32_t flags = arg_flags(L, 5);
  uint32_t cqe_flags = (uint32_t)arg_integer(L, 6, 0, UINT32_MAX);
  if (cqe_flags & UNSAFE_CQE_FLAGS)  /* guard: the reader's queue */
    return luaL_argerror(L, 6, "cqe_flags must not have the bits 0x8020 "
                         "(IORING_CQE_F_SKIP, IORING_CQE_F_32): they would "
                         "corrupt the reader's queue");
  sqe_begin(L, q);
  io_uring_prep_msg_ring_cqe_flags(&q->sqe, t.number, len, data, flags,
                                   cqe_flags);
  set_target(q, &t);
  q->min_kernel = NAMES_VERSION(6, 3);
  return sqe_end(L, q);
}

/* sqe:prep_msg_ring_fd(target, source_fd, target_fd, data [, flags]) */
static int msg_ring_fd (lua_State *L) {
  struct request *q = sqe_self(L);
  struct target t = arg_target(L, 2);
  int source = (int)arg_integer(L, 3, 0, INT32_MAX);
  int slot = (int)arg_slot(L, 4);
  uint64_t data = arg_bits64(L, 5);
  uint32_t flags = arg_flags(L, 6);
  sqe_begin(L, q);
  io_uring_prep_msg_ring_fd(&q->sqe, t.number, source, slot, data, flags);
  set_target(q, &t);
  q->min_kernel = NAMES_VERSION(6, 0);
  return sqe_end(L, q);
}

/* sqe:prep_msg_ring_fd_alloc(target, source_fd, data [, flags]) */
static int msg_ring_fd_alloc (lua_State *L) {
  struct request *q = sqe_self(L);
  struct target t = arg_target(L, 2);
  int source = (int)arg_integer(L, 3, 0, INT32_MAX);
  uint64_t data = arg_bits64(L, 4);
  uint32_t flags = arg_flags(L, 5);
  sqe_begin(L, q);
  io_uring_prep_msg_ring_fd_alloc(&q->sqe, t.number, source, data, flags);
  set_target(q, &t);
  q->min_kernel = NAMES_VERSION(6, 0);
  return sqe_end(L, q);
}


static const luaL_Reg preps[] = {
  {"prep_msg_ring", msg_ring},
  {"prep_msg_ring_cqe_flags", msg_ring_cqe_flags},
  {"prep_msg_ring_fd", msg_ring_fd},
  {"prep_msg_ring_fd_alloc", msg_ring_fd_alloc},
  {NULL, NULL}
};

void prep_msg_open (lua_State *L) {
  class_extend(L, CLASS_SQE, preps);
}
