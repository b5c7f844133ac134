/*
** register: calls of io_uring_register(2): file tables, an eventfd, enabling a
** ring, the synchronous cancel, and the message from no ring. A descriptor's
** number must be read after the last call that may run Lua, which could close
** it.
*/

#include "compat.h"
#include "api/register.h"

#include "base/clock.h"
#include "base/names.h"
#include "ring/ring_buffers.h"
#include "ring/ring_submit.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/operation.h"
#include "api/probe.h"
#include "api/register_internal.h"
#include "api/ring_check.h"
#include "api/sqe.h"

#include <string.h>

#define MAX_FILES  (1 << 20)


int register_result (lua_State *L, struct ring *r, int rc,
                     const char *what) {
  if (rc < 0)
    return fail_on_ring(L, -rc, r->io.ring_fd, what);
  lua_pushboolean(L, 1);
  return 1;
}

int register_number (lua_State *L, struct ring *r, int rc,
                     const char *what) {
  if (rc < 0)
    return register_result(L, r, rc, what);
  lua_pushinteger(L, rc);
  return 1;
}

void register_tags (lua_State *L, int arg, uint64_t *tags, unsigned n) {
  luaL_checktype(L, arg, LUA_TTABLE);
  if (lua_rawlen(L, arg) != n)
    luaL_argerror(L, arg, "array with a tag for each expected");
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, arg, (lua_Integer)i + 1);
    if (!lua_isinteger(L, -1))
      luaL_argerror(L, arg, "array of integers expected");
    tags[i] = (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
}

/* An array of descriptors (-1 or false is an empty slot) as C ints, in a
** userdata that is left on the stack. */
static int *arg_files (lua_State *L, int arg, unsigned *n) {
  lua_Integer len;
  int *fds;
  luaL_checktype(L, arg, LUA_TTABLE);
  len = luaL_len(L, arg);
  if (len < 1 || len > MAX_FILES)
    luaL_argerror(L, arg, "array of 1 to 1048576 descriptors expected");
  *n = (unsigned)len;
  lua_createtable(L, (int)len, 0);
  for (lua_Integer i = 1; i <= len; i++) {
    lua_geti(L, arg, i);
    lua_rawseti(L, -2, i);
  }
  fds = lua_newuserdatauv(L, (size_t)len * sizeof(*fds), 0);
  /* (from here on no Lua runs that could close one of them) */
  for (lua_Integer i = 1; i <= len; i++) {
    lua_rawgeti(L, -2, i);
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) fds[i - 1] = -1;
    else fds[i - 1] = arg_fd_in(L, lua_gettop(L), arg).number;
    lua_pop(L, 1);
  }
  return fds;
}

/* ring:register_files{ fd, … } */
static int register_files (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  unsigned n;
  int *fds = arg_files(L, 2, &n);
  ring_check(L, 1);  /* (a metamethod of the array may have closed it) */
  return register_result(L, r, sys_register(r->io.ring_fd,
                                            IORING_REGISTER_FILES, fds, n),
                         "register_files");
}

/* The same with the array of their tags at `arg + 1`. */
static int *arg_tagged_files (lua_State *L, int arg, unsigned *n,
                              uint64_t **tags) {
  lua_Unsigned len = lua_istable(L, arg) ? lua_rawlen(L, arg) : 0;
  int *fds;
  if (len < 1 || len > MAX_FILES) arg_files(L, arg, n);  /* (it raises) */
  *tags = lua_newuserdatauv(L, len * sizeof(**tags), 0);
  register_tags(L, arg + 1, *tags, (unsigned)len);
  fds = arg_files(L, arg, n);  /* last, for it reads the numbers */
  if (*n != len)
    luaL_argerror(L, arg + 1, "array with a tag for each expected");
  return fds;
}

/* ring:register_files_tags({ fd, … }, { tag, … }) */
static int register_files_tags (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct io_uring_rsrc_register reg;
  uint64_t *tags;
  memset(&reg, 0, sizeof(reg));
  reg.data = (uint64_t)(uintptr_t)arg_tagged_files(L, 2, &reg.nr, &tags);
  reg.tags = (uint64_t)(uintptr_t)tags;
  ring_check(L, 1);
  return register_result(L, r, sys_register(r->io.ring_fd,
                         IORING_REGISTER_FILES2, &reg, sizeof(reg)),
                         "register_files_tags");
}

/* ring:register_files_sparse(n) */
static int register_files_sparse (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct io_uring_rsrc_register reg;
  int rc;
  memset(&reg, 0, sizeof(reg));
  reg.nr = (unsigned)arg_integer(L, 2, 1, MAX_FILES);
  reg.flags = IORING_RSRC_REGISTER_SPARSE;
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_FILES2, &reg,
                    sizeof(reg));
  if (rc == -EMFILE)
    return fail(L, EMFILE, "register_files_sparse(%u): more slots than this "
                "process may have files open: ulimit -n", reg.nr);
  return register_result(L, r, rc, "register_files_sparse");
}

/* ring:register_files_update(offset, { fd, … }): the number updated */
static int register_files_update (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct io_uring_files_update up;
  unsigned n;
  int rc;
  memset(&up, 0, sizeof(up));
  up.offset = (unsigned)arg_integer(L, 2, 0, INT32_MAX);
  up.fds = (uint64_t)(uintptr_t)arg_files(L, 3, &n);
  ring_check(L, 1);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_FILES_UPDATE, &up, n);
  return register_number(L, r, rc, "register_files_update");
}

/* ring:register_files_update_tag(offset, { fd, … }, { tag, … }): the number
** updated */
static int register_files_update_tag (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct io_uring_rsrc_update2 up;
  uint64_t *tags;
  int rc;
  memset(&up, 0, sizeof(up));
  up.offset = (unsigned)arg_integer(L, 2, 0, INT32_MAX);
  up.data = (uint64_t)(uintptr_t)arg_tagged_files(L, 3, &up.nr, &tags);
  up.tags = (uint64_t)(uintptr_t)tags;
  ring_check(L, 1);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_FILES_UPDATE2, &up,
                    sizeof(up));
  return register_number(L, r, rc, "register_files_update_tag");
}

/* ring:register_file_alloc_range(offset, len) */
static int register_file_alloc_range (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  struct io_uring_file_index_range range;
  memset(&range, 0, sizeof(range));
  range.off = (unsigned)arg_integer(L, 2, 0, INT32_MAX);
  range.len = (unsigned)arg_integer(L, 3, 0, INT32_MAX);
  return register_result(L, r, sys_register(r->io.ring_fd,
                                   IORING_REGISTER_FILE_ALLOC_RANGE, &range,
                                   0), "register_file_alloc_range");
}

/* ring:unregister_files() */
static int unregister_files (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  return register_result(L, r, ring_unregister(r, IORING_UNREGISTER_FILES),
                         "unregister_files");
}

/* ring:enable_rings(): only the calling thread may enter from now on */
static int enable_rings (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  return register_result(L, r, ring_bind(r), "enable_rings");
}

static int register_eventfd_for (lua_State *L, unsigned opcode,
                                 const char *what) {
  struct ring *r = ring_check(L, 1);
  struct fd_arg fd = arg_fd(L, 2);
  int rc;
  if (r->watch && !r->callbacks->unwatch(r))
    return luaL_argerror(L, 1, "the loop watches this ring through an "
                         "eventfd of its own while tasks wait on it, and a "
                         "ring can have only one");
  rc = sys_register(r->io.ring_fd, opcode, &fd.number, 1);
  if (rc >= 0) r->eventfd = true;
  return register_result(L, r, rc, what);
}

/* ring:register_eventfd(fd) */
static int register_eventfd (lua_State *L) {
  return register_eventfd_for(L, IORING_REGISTER_EVENTFD, "register_eventfd");
}

/* ring:register_eventfd_async(fd): only for what did not complete at once */
static int register_eventfd_async (lua_State *L) {
  return register_eventfd_for(L, IORING_REGISTER_EVENTFD_ASYNC,
                              "register_eventfd_async");
}

/* ring:cq_eventfd_toggle(enabled): is the eventfd signalled? */
static int cq_eventfd_toggle (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  luaL_checktype(L, 2, LUA_TBOOLEAN);
  if (!r->eventfd)
    return fail(L, ENXIO, "cq_eventfd_toggle: no eventfd was registered");
  return register_result(L, r, io_uring_cq_eventfd_toggle(&r->io,
                         lua_toboolean(L, 2)), "cq_eventfd_toggle");
}

/* ring:unregister_eventfd() */
static int unregister_eventfd (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  int rc;
  if (!r->eventfd)
    return fail(L, ENXIO, "unregister_eventfd: none was registered");
  rc = sys_register(r->io.ring_fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
  if (rc >= 0) r->eventfd = false;
  return register_result(L, r, rc, "unregister_eventfd");
}

/* What register_sync_cancel's options, at 2, say: which operations. */
static void read_sync_cancel (lua_State *L, const struct ring *r,
                              struct io_uring_sync_cancel_reg *reg) {
  reg->fd = -1;
  reg->timeout.tv_sec = reg->timeout.tv_nsec = -1;
  reg->flags = (unsigned)options_integer(L, 2, "flags", 0, 0, UINT32_MAX);
  if (options_push(L, 2, "timeout") != LUA_TNIL) {
    int64_t ns;
    if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
      luaL_argerror(L, 2, "option 'timeout' must be seconds, 0 or more");
    ns = arg_duration(L, lua_gettop(L));
    if (ns != CLOCK_NEVER) {
      reg->timeout.tv_sec = ns / 1000000000;
      reg->timeout.tv_nsec = ns % 1000000000;
    }
  }
  lua_settop(L, 2);
  if (options_push(L, 2, "op") != LUA_TNIL) {
    struct operation *o = class_test(L, 3, CLASS_OPERATION);
    struct op *op;
    if (o == NULL)
      luaL_argerror(L, 2, "option 'op' must be an operation: user_data is the "
                    "library's own");
    if (o->ring != r)
      luaL_argerror(L, 2, "option 'op' is an operation of another ring");
    op = operation_op(o);
    reg->addr = op ? op_first_unfinished(op)->token : o->token;
  }
  else if (options_push(L, 2, "fd") != LUA_TNIL) {
    /* (no finalizer runs after this, to close it) */
    reg->fd = arg_fd_in(L, lua_gettop(L), 2).number;
    reg->flags |= IORING_ASYNC_CANCEL_FD;
  }
  else if (options_given(L, 2, "opcode")) {
    compat_set_cancel_opcode(reg, (unsigned)options_integer(L, 2, "opcode",
                                                            0, 0, 255));
    reg->flags |= IORING_ASYNC_CANCEL_OP;
  }
  else if (!(reg->flags & IORING_ASYNC_CANCEL_ANY))
    luaL_argerror(L, 2, "what to cancel: op, fd or opcode, or "
                  "IORING_ASYNC_CANCEL_ANY among the flags");
}

/* ring:register_sync_cancel{ op= | fd= | opcode=, flags=, timeout= }: cancel
** the matching operations and wait until that is done; their number */
static int register_sync_cancel (lua_State *L) {
  static const char *const names[] = {
    "op", "fd", "opcode", "flags", "timeout", NULL
  };
  struct ring *r = ring_check(L, 1);
  struct io_uring_sync_cancel_reg reg;
  int rc;
  memset(&reg, 0, sizeof(reg));
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  options_open(L, 2, names);
  read_sync_cancel(L, r, &reg);
  ring_check(L, 1);
  do rc = ring_enter(r, 0, SYS_FOREVER); while (rc == -EINTR);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_SYNC_CANCEL, &reg, 1);
  if (rc == -EINVAL && name_kernel() < NAMES_VERSION(6, 6)
      && (reg.flags & (IORING_ASYNC_CANCEL_OP | IORING_ASYNC_CANCEL_USERDATA)))
    return fail(L, EINVAL, "register_sync_cancel by opcode needs Linux 6.6");
  return register_number(L, r, rc, "register_sync_cancel");
}


/* uring.register_sync_msg(sqe): a message from no ring (since Linux 6.13) */
int register_sync_msg (lua_State *L) {
  const struct request *q = sqe_check(L, 1);
  struct io_uring_sqe sqe = q->sqe;
  struct handle *target = request_handle(q);
  int rc;
  if (sqe.opcode != IORING_OP_MSG_RING || sqe.addr != IORING_MSG_DATA)
    return luaL_argerror(L, 1, "an sqe prepared by prep_msg_ring or "
                         "prep_msg_ring_cqe_flags expected");
  if (sqe.flags != 0)
    return luaL_argerror(L, 1, "a sync message has no ring and so no flags "
                         "of IOSQE_");
  if (target) sqe.fd = handle_use(target);
  rc = sys_register(-1, IORING_REGISTER_SEND_MSG_RING, &sqe, 1);
  if (target && sqe.fd >= 0) handle_done(target);
  if (rc < 0 && target && handle_closed(target)) rc = -EPIPE;
  if (rc < 0) {
    if (rc == -EINVAL && !probe_sync_msg()) {
      unsigned k = name_kernel();
      return fail(L, EINVAL, "register_sync_msg needs Linux 6.13 (this is "
                  "%u.%u)", NAMES_MAJOR(k), NAMES_MINOR(k));
    }
    fail_result(L, IORING_OP_MSG_RING, sqe.fd, q->min_kernel, rc, 0);
    lua_pop(L, 1);
    return 3;
  }
  lua_pushboolean(L, 1);
  return 1;
}


static const luaL_Reg methods[] = {
  {"register_files", register_files},
  {"register_files_tags", register_files_tags},
  {"register_files_sparse", register_files_sparse},
  {"register_files_update", register_files_update},
  {"register_files_update_tag", register_files_update_tag},
  {"register_file_alloc_range", register_file_alloc_range},
  {"unregister_files", unregister_files},
  {"register_eventfd", register_eventfd},
  {"register_eventfd_async", register_eventfd_async},
  {"cq_eventfd_toggle", cq_eventfd_toggle},
  {"unregister_eventfd", unregister_eventfd},
  {"register_sync_cancel", register_sync_cancel},
  {"enable_rings", enable_rings},
  {NULL, NULL}
};

void register_open (lua_State *L) {
  class_extend(L, CLASS_RING, methods);
}
