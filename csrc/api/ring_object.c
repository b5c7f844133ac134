/*
** ring_object: make a ring, queue, close. After any call that may run
** a finalizer, a hook or a metamethod the ring must be checked again: it may
** have been closed.
*/

#include "compat.h"
#include "api/ring_object.h"

#include "base/fork_id.h"
#include "base/names.h"
#include "ring/ring_buffers.h"
#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/operation.h"
#include "api/probe.h"
#include "api/ref_object.h"
#include "api/sqe.h"
#include "api/ring_check.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#define CLOSE_BOUND  1000000000  /* ns that a close may drain */
#define RING_FDS  2              /* its own, and perhaps an eventfd */


/* ---- make -------------------------------------------------------------- */

static size_t ring_weight (const struct ring *r) {
  return r->io.sq.ring_entries * sizeof(struct io_uring_sqe)
         + r->io.cq.ring_entries * sizeof(struct io_uring_cqe);
}

/* The same before it is made. */
static size_t ring_estimate (const struct ring_options *o) {
  unsigned cq = o->cq_entries ? o->cq_entries : 8 * o->entries;
  return o->entries * sizeof(struct io_uring_sqe)
         + cq * sizeof(struct io_uring_cqe);
}

/* The first kernel that has all of these flags; 0: every one has. */
static unsigned setup_flags_min_kernel (unsigned flags) {
  static const struct name_since latest[] = {
    { IORING_SETUP_SQ_REWIND, NAMES_VERSION(7, 0) },
    { IORING_SETUP_SQE_MIXED, NAMES_VERSION(6, 19) },
    { IORING_SETUP_CQE_MIXED, NAMES_VERSION(6, 18) },
    { IORING_SETUP_HYBRID_IOPOLL, NAMES_VERSION(6, 13) },
  };
  return name_flags_min_kernel(latest, sizeof(latest) / sizeof(*latest),
                               flags);
}

/* Why the kernel gave EINVAL. */
static void explain_einval (const struct ring_options *o, char *buf,
                            size_t len) {
  unsigned since = setup_flags_min_kernel(o->flags), k = name_kernel();
  if (k < since)
    snprintf(buf, len, "flags 0x%x need Linux %u.%u (this is %u.%u)",
             o->flags, NAMES_MAJOR(since), NAMES_MINOR(since),
             NAMES_MAJOR(k), NAMES_MINOR(k));
  else
    snprintf(buf, len, "the kernel refuses this combination of entries and "
             "flags (entries %u, flags 0x%x)", o->entries, o->flags);
}

int ring_new (lua_State *L, const struct ring_options *o, struct ring **out) {
  struct state *s = state_of(L);
  struct ring *r;
  int rc;
  *out = NULL;
  pressure_make_room(L, ring_estimate(o));
  pressure_tell(L, 0, RING_FDS);
  r = class_new(L, CLASS_RING, sizeof(*r), 0);
  rc = ring_open(r, &s->handles, o);
  if (rc == 0 && !account_charge(s->account, ring_weight(r))) {
    ring_close(r, 0);
    return fail(L, ENOMEM, "cannot make a ring%s", state_memory_note(L));
  }
  if (rc < 0) {
    char buf[512];
    const char *why = probe_refusal(-rc, buf, sizeof(buf));
    if (rc == -EINVAL) explain_einval(o, buf, sizeof(buf));
    return why ? fail(L, -rc, "cannot make a ring: %s", why)
               : fail(L, -rc, "cannot make a ring");
  }
  ring_set_account(r, s->account);
  pressure_hold(&s->pressure, ring_weight(r), RING_FDS);
  r->callbacks = s->callbacks;
  r->next = s->rings;
  r->pprev = &s->rings;
  if (r->next) r->next->pprev = &r->next;
  s->rings = r;
  *out = r;
  return 1;
}

int ring_new_lua (lua_State *L) {
  static const char *const names[] = {
    "entries", "cq_entries", "flags", "sq_thread_cpu", "sq_thread_idle",
    "attach_wq", NULL
  };
  struct ring_options o = {0};
  struct ring *r;
  lua_settop(L, 1);
  options_open(L, 1, names);
  o.entries = (unsigned)options_integer(L, 1, "entries", 64, 1, 32768);
  o.cq_entries = (unsigned)options_integer(L, 1, "cq_entries", 0, 1, 65536);
  o.exact = options_given(L, 1, "flags");
  o.flags = (unsigned)options_integer(L, 1, "flags", 0, 0, UINT32_MAX);
  o.sq_thread_cpu = (unsigned)options_integer(L, 1, "sq_thread_cpu", 0, 0,
                                              INT32_MAX);
  o.sq_thread_idle = (unsigned)options_integer(L, 1, "sq_thread_idle", 0, 0,
                                               INT32_MAX);
  if (options_push(L, 1, "attach_wq") != LUA_TNIL) {
    if (class_test(L, 2, CLASS_RING) == NULL)
      return luaL_argerror(L, 1, "option 'attach_wq' must be a ring");
    o.wq_fd = ring_check_in(L, 2, 1)->io.ring_fd;
    o.flags |= IORING_SETUP_ATTACH_WQ;
    o.exact = true;
  }
  return ring_new(L, &o, &r);
}


/* ---- queue ------------------------------------------------------------- */

/* A buffer of an incremental group serves several completions. A datagram
** could be cut off at its end, or the header that recvmsg_multishot writes not
** fit there, unless the program has set a `min_left` that is large enough.
** (The type of a direct descriptor is not known.) */
static void check_group (lua_State *L, const struct ring *r, int arg,
                         const struct request *q) {
  const struct buf_group *g = ring_group(r, q->sqe.buf_group);
  bool message = q->sqe.opcode == IORING_OP_RECVMSG
                 && (q->req_flags & REQ_MULTI);
  uint32_t before = message ? (uint32_t)sizeof(struct io_uring_recvmsg_out)
                              + q->layout.name + q->layout.control : 0;
  int type = SOCK_STREAM;
  socklen_t len = sizeof(type);
  if (g == NULL || !g->inc || g->min_left > before)
    return;
  if ((q->sqe.opcode == IORING_OP_RECV || q->sqe.opcode == IORING_OP_RECVMSG
       || q->sqe.opcode == IORING_OP_READ)
      && !(q->sqe.flags & IOSQE_FIXED_FILE))
    getsockopt(request_fd(q), SOL_SOCKET, SO_TYPE, &type, &len);
  if (type != SOCK_STREAM)
    luaL_argerror(L, arg, "a group with IOU_PBUF_RING_INC would cut datagrams "
                  "off: use one without, or with a min_left that is at least "
                  "as much as the largest takes");
  if (message)
    luaL_argerror(L, arg, lua_pushfstring(L, "a group with IOU_PBUF_RING_INC "
      "needs a min_left of more than %d here: so much lies before the bytes "
      "of each message, the header, name and control messages", (int)before));
}

void ring_check_requests (lua_State *L, struct ring *r, int first, int n,
                          const struct request **requests, int array) {
  const struct state *s = state_of(L);
  bool drained = r->ops.drained;
  int zero_copy = 0;
  if (n > (int)r->io.sq.ring_entries)
    luaL_argerror(L, array ? array : first, lua_pushfstring(L,
      "a chain of %d does not fit into a ring of %d entries", n,
      (int)r->io.sq.ring_entries));
  for (int i = n - 1; i >= 0; i--) {
    int arg = array ? array : first + i;
    const struct request *q = sqe_check_in(L, s, first + i, arg);
    requests[i] = q;
    if ((q->sqe.flags
         | (q->req_flags & (REQ_NAMES_OP | REQ_SILENT | REQ_MULTI))) == 0)
      continue;  /* (there is nothing to check) */
    if (i == n - 1
        && (q->sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)))
      luaL_argerror(L, arg, "the last sqe of a call must not have a link "
                    "flag: give the whole chain to one call");
    if ((q->req_flags & REQ_NAMES_OP) && q->ring_id != r->id)
      luaL_argerror(L, arg, "the operation that this sqe names is on another "
                    "ring");
    if (q->sqe.flags & IOSQE_BUFFER_SELECT) check_group(L, r, arg, q);
    if ((q->req_flags & REQ_SILENT) && (q->req_flags & REQ_MULTI))
      luaL_argerror(L, arg, "this request completes more than once, and "
                    "CQE_SKIP_SUCCESS is for requests that complete once");
    if (q->sqe.flags & IOSQE_IO_DRAIN) {
      ring_check_drain(L, r, arg, false);
      drained = true;
    }
    if (op_notifies(q->sqe.opcode)) zero_copy = arg;
  }
  if (drained && zero_copy)  /* guard: no close would get its memory back */
    luaL_argerror(L, zero_copy, "a send without a copy that the kernel delays "
                  "for IO_DRAIN waits for its own notification for ever: use "
                  "a ring on which nothing has had IO_DRAIN");
}

int ring_push_failed (lua_State *L, const struct ring *r, int rc) {
  if (rc == -EPIPE) {  /* three values: it has no completion with flags */
    fail_result(L, IORING_OP_MSG_RING, -1, 0, rc, 0);
    lua_pop(L, 1);
    return 3;
  }
  /* (an operation uses a dup of the Lua file) */
  if (rc == -EMFILE)
    return fail(L, EMFILE, "queue on ring (fd %d): no descriptor is left for "
                "a dup of the Lua file", r->io.ring_fd);
  if (rc == -EBADF && fcntl(r->io.ring_fd, F_GETFD) >= 0)
    return fail(L, EBADF, "queue on ring (fd %d): the Lua file's number was "
                "closed, and not by its close()", r->io.ring_fd);
  return fail_enter(L, -rc, r->io.ring_fd);
}

#define PUSH_MAX 16

/* ring:queue(sqe, …): an operation for each sqe */
static int ring_object_queue (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  int n = lua_gettop(L) - 1;
  const struct request *few[8];
  struct op *ops_few[8];
  const struct request **requests = few;
  struct op **ops = ops_few;
  int rc;
  if (n < 1) luaL_typeerror(L, 2, class_name(CLASS_SQE));
  stack_reserve(L, n + 10, "too many sqes");
  if (n > 8) {
    char *arrays = lua_newuserdatauv(L, (size_t)n * 2 * sizeof(void *), 0);
    requests = (const struct request **)(void *)arrays;
    ops = (struct op **)(void *)(arrays + (size_t)n * sizeof(void *));
  }
  else
    lua_pushnil(L);
  for (int i = 0; i < n; i++) sqe_check(L, 2 + i);
  for (int i = 0; i < n; i++)  /* all that can raise comes first */
    operation_new(L, 1, sqe_check(L, 2 + i));
  /* guard: from here on no finalizer runs that could close it */
  ring_check(L, 1);
  ring_check_requests(L, r, 2, n, requests, 0);
  rc = ring_push(r, requests, (unsigned)n, r->driven ? OP_LOOPED : 0, ops);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  if (r->watch) r->callbacks->queued(r);
  for (int i = 0; i < n; i++)
    operation_set(lua_touserdata(L, i - n), ops[i]);
  return n;
}

/* ring:push(sqe, …): the same without operations: true. Completions are told
** apart by their data. */
static int ring_object_push (lua_State *L) {
  struct ring *r = ring_check_by_hand(L, 1);
  int n = lua_gettop(L) - 1, rc;
  const struct request *requests[PUSH_MAX];
  struct op *ops[PUSH_MAX];
  if (n < 1) luaL_typeerror(L, 2, class_name(CLASS_SQE));
  if (n > PUSH_MAX)
    return luaL_argerror(L, 2, "at most 16 sqes expected: a longer chain is "
                         "for queue");
  ring_check_requests(L, r, 2, n, requests, 0);
  rc = n == 1 ? ring_push_one(r, requests[0], 0, ops)
              : ring_push(r, requests, (unsigned)n, 0, ops);
  if (rc < 0)
    return ring_push_failed(L, r, rc);
  if (r->watch) r->callbacks->queued(r);
  lua_pushboolean(L, 1);
  return 1;
}


/* ---- inspect ----------------------------------------------------------- */

static int ring_object_fd (lua_State *L) {
  lua_pushinteger(L, ring_check_open(L, 1, 1)->io.ring_fd);
  return 1;
}

static int ring_object_ref (lua_State *L) {
  struct ring *r = ring_check_open(L, 1, 1);
  struct reference *reference = reference_new(L);
  ring_check_open(L, 1, 1);  /* (a finalizer may have closed it) */
  ring_bind_loop(r);  /* (what others send from now on must not fail) */
  refblock_retain(&r->handle->block);
  reference->ring = r->handle;
  return 1;
}

static int push_bits (lua_State *L, const struct name_bit *names,
                      unsigned bits) {
  char text[512];
  name_bits(names, bits, text, sizeof(text));
  lua_pushinteger(L, bits);
  lua_pushstring(L, text);
  return 2;
}

/* The flags in force: the number, and the names. */
static int ring_object_flags (lua_State *L) {
  return push_bits(L, name_setup_flags, ring_check_open(L, 1, 1)->io.flags);
}

static int ring_object_features (lua_State *L) {
  return push_bits(L, name_features, ring_check_open(L, 1, 1)->io.features);
}

static int ring_object_stats (lua_State *L) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  const struct op_table *t = &r->ops;
  uint64_t pauses = r->open && r->pausing;  /* (no request of the program's) */
  struct { const char *name; uint64_t value; } const fields[] = {
    {"submitted", t->submitted - pauses}, {"completed", t->completed},
    {"silent", t->silent}, {"in_flight", t->flying - pauses},
    {"internal", t->internal - pauses}, {"stale", t->stale},
    {"messages", r->stats.messages}, {"waiting", r->stats.waiting},
    {"high_water", r->stats.most_waiting}, {"disposed", r->stats.disposed},
    {"leaked", r->stats.leaked}, {"overflowed", r->stats.overflowed},
    {"forged_doorbells", r->stats.forged_doorbells},
    {"enters", r->stats.enters}, {"cqes", r->stats.cqes},
    {"lost", r->open ? sys_cq_lost(&r->io) : 0},
    {"sq_entries", r->open ? r->io.sq.ring_entries : 0},
    {"cq_entries", r->open ? r->io.cq.ring_entries : 0},
  };
  lua_createtable(L, 0, (int)(sizeof(fields) / sizeof(*fields)) + 1);
  for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
    lua_pushinteger(L, (lua_Integer)fields[i].value);
    lua_setfield(L, -2, fields[i].name);
  }
  lua_pushnumber(L, r->stats.enters == 0 ? 0
                 : (lua_Number)r->stats.cqes / (lua_Number)r->stats.enters);
  lua_setfield(L, -2, "cqes_per_enter");
  return 1;
}

static int ring_object_tostring (lua_State *L) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  if (!r->open) lua_pushliteral(L, "uring.Ring (closed)");
  else lua_pushfstring(L, "uring.Ring (fd %d)", r->io.ring_fd);
  return 1;
}


/* ---- close ------------------------------------------------------------- */

unsigned ring_object_end (lua_State *L, struct ring *r, int64_t bound) {
  struct state *s = state_of(L);
  size_t weight = ring_weight(r);
  unsigned kept;
  /* guard: from now on senders in other states are refused */
  if (r->fork_id == fork_id()) handle_mark_closed(r->handle);
  pressure_drop(&s->pressure, weight, RING_FDS);
  ring_cancel_uses(s->rings, r->handle);
  kept = ring_close(r, bound);
  s->recent_object = NULL;  /* guard: it may be this one */
  account_refund(r->account, weight);
  return kept;
}

static int ring_object_close (lua_State *L) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  if (r->open) {
    unsigned kept;
    if (r->is_loop_ring)
      return luaL_error(L, "this is the loop's own ring: it closes with its "
                        "state");
    ring_check(L, 1);
    kept = ring_object_end(L, r, CLOSE_BOUND);
    if (kept > 0)
      return fail(L, EBUSY, "the ring is closed, but %u of its operations "
                  "did not end: their memory is kept for ever, for the "
                  "kernel may still write to it", kept);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int ring_object_gc (lua_State *L) {
  struct ring *r = class_check(L, 1, CLASS_RING);
  struct state *s = state_of(L);
  if (r->open) {
    int64_t left = state_close_left(s);
    pressure_collected(&s->pressure, ring_weight(r), RING_FDS);
    ring_object_end(L, r, left);
    state_close_ended(s);
  }
  return 0;
}


static const luaL_Reg methods[] = {
  {"queue", ring_object_queue},
  {"push", ring_object_push},
  {"fd", ring_object_fd},
  {"ref", ring_object_ref},
  {"flags", ring_object_flags},
  {"features", ring_object_features},
  {"stats", ring_object_stats},
  {"close", ring_object_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", ring_object_gc},
  {"__close", ring_object_close},
  {"__tostring", ring_object_tostring},
  {NULL, NULL}
};

void ring_object_open (lua_State *L) {
  class_define(L, CLASS_RING, methods, meta, NULL);
}
