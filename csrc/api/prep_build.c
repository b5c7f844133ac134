/*
** prep_build: runs the prep_ methods. Each is a row of the table in its
** family's file (prep_file, prep_path, prep_msg, prep_socket, prep_wait); here
** is the one function that reads the arguments by the row and builds the
** request.
**
** The new request is built next to the SQE's. First all arguments are read,
** which may raise; then what needs a copy is copied; then the SQE's request is
** replaced by the new one, and nothing raises any more. What must not break:
** no count is taken before the copy, so that a raise leaves none behind; and
** nothing allocates in Lua, so that no finalizer closes what an argument
** names.
*/

#include "compat.h"
#include "api/prep_build.h"

#include "lua/args.h"
#include "api/buffer.h"
#include "api/fd.h"
#include "api/operation.h"
#include "api/ref_object.h"
#include "api/sqe.h"
#include "api/ring_check.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/epoll.h>

#define ALIGNED(n)  (((n) + 15) & ~(size_t)15)


/* ---- requests ---------------------------------------------------------- */

static void put_address (struct request *q, unsigned place, const void *p) {
  uint64_t n = (uintptr_t)p;
  memcpy((unsigned char *)&q->sqe + place, &n, sizeof(n));
}

bool request_copy (struct account *a, struct request *q,
                   const struct copied *p, unsigned n) {
  struct memory *m;
  size_t size = 0;
  if (n == 0)
    return true;
  for (unsigned i = 0; i < n; i++)
    size = (i > 0 ? ALIGNED(size + 1) : 0) + p[i].size;
  m = memory_new(a, size, n == 1 ? p->from : NULL);
  if (m == NULL)
    return false;
  size = 0;
  for (unsigned i = 0; i < n; i++) {
    if (n > 1) memcpy(m->bytes + size, p[i].from, p[i].size);
    put_address(q, p[i].place, m->bytes + size);
    size = ALIGNED(size + p[i].size + 1);
  }
  q->pin[q->pin[OP_PIN_MEMORY] ? 0 : OP_PIN_MEMORY] = &m->block;
  q->req_flags |= REQ_READS;
  return true;
}

void request_first (struct request *q, struct fd_arg fd) {
  q->sqe.fd = fd.number;
  if (fd.handle) q->pin[OP_PIN_FD] = &fd.handle->block;
  else q->req_flags |= fd.anchor ? REQ_FILE : REQ_NUMBER;
}

void request_second (struct request *q, struct fd_arg fd) {
  request_set_second(&q->sqe, fd.number);
  if (fd.handle) {
    q->pin[OP_PIN_AUX] = &fd.handle->block;
    q->req_flags |= REQ_SECOND;
  }
}

uint8_t request_address (struct request *q, const struct address *a) {
  if (q->sqe.opcode == IORING_OP_SEND || q->sqe.opcode == IORING_OP_SEND_ZC) {
    q->sqe.addr_len = (uint16_t)a->len;
    return PLACE(addr2);
  }
  q->sqe.off = a->len;
  return PLACE(addr);
}

void request_lend (struct request *q, unsigned place, const void *at,
                   struct refblock *b) {
  put_address(q, place, at);
  q->moves = atomic_load(&b->moves);
  q->pin[OP_PIN_MEMORY] = b;
  q->req_flags |= REQ_READS;
}

void request_msg (struct request *q, struct msg *m) {
  request_lend(q, PLACE(addr), &m->hdr, &m->block);
  q->layout = (struct recvmsg_layout){ (uint16_t)m->name_capacity,
                                       (uint16_t)m->control_capacity };
}


/* (The flag is refused for a slot, which is in no process's table.) */
void request_how (struct request *q, struct open_how *how) {
  if (q->disposal == DISPOSE_FD) how->flags |= O_CLOEXEC;
  else how->flags &= ~(__u64)O_CLOEXEC;
  q->sqe.len = sizeof(*how);
}


/* ---- arguments --------------------------------------------------------- */

struct prep_call {
  struct request q;          /* the new one: its counts are yet to be taken */
  int anchor;                /* index of a Lua file that it names, or 0 */
  unsigned hidden;           /* see sqe_hide */
  struct copied copies[PREP_ARGS];
  unsigned ncopies;
  union {                    /* copied from here */
    struct address address;
    struct __kernel_timespec ts;
    struct open_how how;
    struct epoll_event event;
  };
  int vector;                /* argument that is an array of bytes, or 0 */
};

static const struct {
  lua_Integer min, max;
  bool optional;
  lua_Integer otherwise;
} ranges[ARG_INTEGERS] = {
  [ARG_INT] = { 0, INT32_MAX, false, 0 },
  [ARG_OPT_INT] = { 0, INT32_MAX, true, 0 },
  [ARG_SIZE] = { 1, INT32_MAX, false, 0 },
  [ARG_U32] = { 0, UINT32_MAX, false, 0 },
  [ARG_OPT_U32] = { 0, UINT32_MAX, true, 0 },
  [ARG_U16] = { 0, UINT16_MAX, false, 0 },
  [ARG_OPT_U16] = { 0, UINT16_MAX, true, 0 },
  [ARG_COUNT] = { 1, UINT16_MAX, false, 0 },
  [ARG_LEN32] = { INT32_MIN, UINT32_MAX, false, 0 },
  [ARG_OPT_BITS64] = { LUA_MININTEGER, LUA_MAXINTEGER, true, 0 },
  [ARG_OFFSET] = { 0, LUA_MAXINTEGER, false, 0 },
  [ARG_OPT_OFFSET] = { -1, LUA_MAXINTEGER, true, -1 },
  [ARG_OPT_MODE] = { 0, 07777, true, 0 },
  [ARG_OPT_BACKLOG] = { 0, INT32_MAX, true, SOMAXCONN },
  [ARG_POLL] = { 0, UINT32_MAX, false, 0 },
};

static void put (struct request *q, const struct prep_arg *a, uint64_t n) {
  void *at = (unsigned char *)&q->sqe + a->place;
  if (a->place == PLACE(fd)) q->sqe.fd = (int)n;
  else if (a->size == sizeof(__u64)) *(__u64 *)at |= n;
  else if (a->size == sizeof(__u32)) *(__u32 *)at |= (__u32)n;
  else *(__u16 *)at |= (__u16)n;
}

static void hide_address (struct prep_call *c, unsigned place) {
  if (place == PLACE(off)) c->hidden |= HIDDEN_OFF;
  else if (place == PLACE(addr3)) c->hidden |= HIDDEN_ADDR3;
}

static void add_copy (struct prep_call *c, const void *from, size_t size,
                      unsigned place) {
  c->copies[c->ncopies++] = (struct copied){ from, size, (uint8_t)place };
  hide_address(c, place);
}

static void read_fd (lua_State *L, struct prep_call *c, int arg) {
  struct fd_arg fd = arg_fd(L, arg);
  request_first(&c->q, fd);
  c->anchor = fd.anchor;  /* (a collected file would be closed) */
}

static void read_second (lua_State *L, struct request *q, int arg) {
  struct fd_arg fd = arg_fd(L, arg);
  if (fd.anchor)
    luaL_argerror(L, arg, "uring.fd, socket or number expected: a Lua file "
                  "may only be the first descriptor of a request");
  request_second(q, fd);
}

static int arg_number (lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TNUMBER)
    luaL_argerror(L, arg, lua_pushfstring(L,
      "descriptor's number expected, got %s; what owns its number is closed "
      "by its own close()", arg_typename(L, arg)));
  return (int)arg_integer(L, arg, INT32_MIN, INT32_MAX);
}

/* A ring of this state or a reference (`ring:ref()`): the request names the
** ring's handle, which knows whether the ring was closed. Or a plain number,
** which is not checked. */
static int arg_target (lua_State *L, struct request *q, int arg) {
  struct handle *ring;
  if (lua_type(L, arg) == LUA_TNUMBER)
    return (int)arg_integer(L, arg, INT32_MIN, INT32_MAX);
  if (class_test(L, arg, CLASS_RING)) ring = ring_check(L, arg)->handle;
  else if ((ring = reference_test(L, arg)) == NULL)
    luaL_argerror(L, arg, lua_pushfstring(L,
      "ring expected (a ring, a reference or a descriptor's number), got %s",
      arg_typename(L, arg)));
  q->pin[OP_PIN_AUX] = &ring->block;
  q->req_flags |= REQ_TARGET;
  return -1;
}

/* The operation's token. The ring that the request is queued on checks that
** the operation is its own. */
static uint64_t arg_named (lua_State *L, struct request *q, int arg) {
  struct operation *o = class_test(L, arg, CLASS_OPERATION);
  if (o == NULL && lua_type(L, arg) == LUA_TNUMBER)
    luaL_argerror(L, arg, "operation expected, got a number: user_data is "
                  "the library's own; give what ring:queue returned");
  o = operation_check(L, arg);
  q->ring_id = o->ring->id;
  q->req_flags |= REQ_NAMES_OP;
  return o->token;
}

/* A slot that the caller names is for the caller to dispose of. */
static void read_slot (struct request *q, unsigned slot) {
  compat_set_file_slot(&q->sqe, slot);
  if (slot != ANY_SLOT) q->disposal = DISPOSE_NOTHING;
}

static void read_path (lua_State *L, struct prep_call *c,
                       const struct prep_arg *a, int arg) {
  size_t len;
  const char *path;
  luaL_checktype(L, arg, LUA_TSTRING);
  path = lua_tolstring(L, arg, &len);
  if (strlen(path) != len)
    luaL_argerror(L, arg, a->kind == ARG_PATH
                          ? "path contains a zero byte"
                          : "name without zero bytes expected");
  add_copy(c, path, len, a->place);
}

static struct __kernel_timespec arg_timespec (lua_State *L, int arg) {
  int64_t ns = arg_duration(L, arg);
  struct __kernel_timespec ts = { 0 };
  ts.tv_sec = ns / 1000000000;
  ts.tv_nsec = ns % 1000000000;
  return ts;
}

/* { flags =, mode =, resolve = }. (lua_next allocates nothing.) */
static void read_how (lua_State *L, struct prep_call *c,
                      const struct prep_arg *a, int arg) {
  memset(&c->how, 0, sizeof(c->how));
  luaL_checktype(L, arg, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, arg)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2)
                                                     : "";
    __u64 *field = strcmp(key, "flags") == 0 ? &c->how.flags
                   : strcmp(key, "mode") == 0 ? &c->how.mode
                   : strcmp(key, "resolve") == 0 ? &c->how.resolve : NULL;
    if (field == NULL || !lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0)
      luaL_argerror(L, arg, "table with the integers 'flags', 'mode' and "
                    "'resolve' expected");
    *field = (__u64)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  request_how(&c->q, &c->how);
  add_copy(c, &c->how, sizeof(c->how), a->place);
}

static void read_events (lua_State *L, struct prep_call *c,
                         const struct prep_arg *a, int arg) {
  memset(&c->event, 0, sizeof(c->event));
  c->event.events = (uint32_t)arg_optional(L, arg, 0, 0, UINT32_MAX);
  c->event.data.u64 = (uint64_t)arg_optional(L, arg + 1, 0, LUA_MININTEGER,
                                             LUA_MAXINTEGER);
  add_copy(c, &c->event, sizeof(c->event), a->place);
}

/* The argument of that kind which belongs to `a`; NULL if there is none. */
static const struct prep_arg *later_arg (const struct prep_arg *a, int kind) {
  while (a->kind != ARG_NONE && a->kind != kind) a++;
  return a->kind == kind ? a : NULL;
}

/* Bytes to be read or written, limited by the arguments for offset and
** length. */
static void read_bytes (lua_State *L, struct prep_call *c,
                        const struct prep_arg *a, struct bytes b, int arg) {
  const struct prep_arg *start = later_arg(a, ARG_START);
  const struct prep_arg *len = later_arg(a, ARG_LEN);
  if (start) {
    size_t at = (size_t)arg_optional(L, arg + (int)(start - a), 0, 0,
                                     (lua_Integer)b.size);
    b.at += at;
    b.size -= at;
  }
  if (len) {  /* (the kernel's limit of one request) */
    lua_Integer most = b.size > INT32_MAX ? INT32_MAX : (lua_Integer)b.size;
    b.size = (size_t)arg_optional(L, arg + (int)(len - a), most, 0, most);
    put(&c->q, len, b.size);
  }
  if (b.block == NULL) add_copy(c, b.at, b.size, a->place);
  else {
    request_lend(&c->q, a->place, b.at, b.block);
    hide_address(c, a->place);
  }
}

/* A buffer to be written to; or nil: then the kernel selects a buffer of
** a group, and the length limits how much of it is used. */
static void read_buffer (lua_State *L, struct prep_call *c,
                         const struct prep_arg *a, int arg) {
  bool select = a->kind == ARG_BUFFER_OR_NIL || a->kind == ARG_NIL;
  if (a->kind == ARG_OPT_BUFFER && lua_isnoneornil(L, arg))
    return;
  if (select && lua_isnoneornil(L, arg)) {
    c->q.sqe.flags |= IOSQE_BUFFER_SELECT;
    put(&c->q, a + 1, (uint64_t)arg_optional(L, arg + 1, 0, 0, INT32_MAX));
  }
  else if (a->kind == ARG_NIL)
    luaL_argerror(L, arg, "nil expected: a multishot receives into the "
                  "buffers of a group (set_buf_group)");
  else {
    struct memory *m = buffer_check(L, arg);
    struct bytes b = { m->bytes, m->size, &m->block };
    read_bytes(L, c, a, b, arg);
  }
}

static void read_msg (lua_State *L, struct request *q, bool out, int arg) {
  struct msg *m = msghdr_check(L, arg);
  if (out && m->control_capacity > 0)
    luaL_argerror(L, arg, "this msghdr has 'controllen', room for receiving: "
                  "make one with 'control' for sending");
  if (!out && m->strings)
    luaL_argerror(L, arg, "this msghdr has strings in its iov, which are for "
                  "sending only: receive into buffers");
  if (!out && m->control_size > 0)
    luaL_argerror(L, arg, "this msghdr has 'control' to be sent: make one "
                  "with 'controllen' for receiving");
  request_msg(q, m);
}

static void read_integer (lua_State *L, struct request *q,
                          const struct prep_arg *a, int arg) {
  lua_Integer n = ranges[a->kind].otherwise;
  if (!ranges[a->kind].optional || !lua_isnoneornil(L, arg))
    n = arg_integer(L, arg, ranges[a->kind].min, ranges[a->kind].max);
  put(q, a, a->kind == ARG_POLL ? __io_uring_prep_poll_mask((unsigned)n)
                                : (uint64_t)n);
}

static void read_arg (lua_State *L, struct prep_call *c,
                      const struct prep_arg *a, int arg) {
  struct request *q = &c->q;
  switch (a->kind) {
    case ARG_FD: read_fd(L, c, arg); break;
    case ARG_NUMBER: q->sqe.fd = arg_number(L, arg); break;
    case ARG_SLOT: read_slot(q, arg_slot(L, arg)); break;
    case ARG_INDEX:
      read_slot(q, (unsigned)arg_integer(L, arg, 0, INT32_MAX));
      q->sqe.fd = 0;
      break;
    case ARG_SECOND: read_second(L, q, arg); break;
    case ARG_TARGET: q->sqe.fd = arg_target(L, q, arg); break;
    case ARG_OPERATION: put(q, a, arg_named(L, q, arg)); break;
    case ARG_OPT_OPERATION:
      if (!lua_isnoneornil(L, arg)) put(q, a, arg_named(L, q, arg));
      break;
    case ARG_DURATION:
      c->ts = arg_timespec(L, arg);
      add_copy(c, &c->ts, sizeof(c->ts), a->place);
      break;
    case ARG_PATH: case ARG_NAME: read_path(L, c, a, arg); break;
    case ARG_HOW: read_how(L, c, a, arg); break;
    case ARG_EVENTS: read_events(L, c, a, arg); break;
    case ARG_ADDRESS:
      c->address = arg_address(L, arg);
      add_copy(c, c->address.bytes, c->address.len,
               request_address(q, &c->address));
      break;
    case ARG_BUFFER: case ARG_OPT_BUFFER: case ARG_BUFFER_OR_NIL:
    case ARG_NIL:
      read_buffer(L, c, a, arg);
      break;
    case ARG_VECTOR_OUT: case ARG_VECTOR_IN:
      msg_check_vector(L, arg, a->kind == ARG_VECTOR_OUT);
      c->vector = arg;
      break;
    case ARG_BYTES: case ARG_OPT_BYTES: case ARG_UNCOPIED:
      if (a->kind == ARG_OPT_BYTES && lua_isnoneornil(L, arg)) break;
      if (a->kind == ARG_UNCOPIED && lua_type(L, arg) == LUA_TSTRING)
        luaL_argerror(L, arg, "zero copy takes a buffer or a lease: "
                      "a string's memory is Lua's own");
      read_bytes(L, c, a, arg_bytes(L, arg, arg), arg);
      break;
    case ARG_LEN: case ARG_START: case ARG_DATA:
      break;  /* (read with the argument before) */
    case ARG_MSG_OUT: case ARG_MSG_IN:
      read_msg(L, q, a->kind == ARG_MSG_OUT, arg);
      break;
    default: read_integer(L, q, a, arg);
  }
}


/* ---- preps ------------------------------------------------------------- */

/* Copy what is to be copied; raises if there is no memory, and then the
** request is unchanged. */
static void copy_arguments (lua_State *L, struct prep_call *c) {
  struct account *a = state_of(L)->account;
  if (!request_copy(a, &c->q, c->copies, c->ncopies))
    luaL_error(L, "not enough memory for %I bytes%s",
               (LUAI_UACINT)c->copies[c->ncopies - 1].size,
               state_memory_note(L));
  if (c->vector) {  /* (a request with an array has no other copies) */
    struct msg *m = msg_of_vector(L, a, c->vector);
    if (m == NULL) {
      luaL_error(L, "not enough memory for an array of buffers%s",
                 state_memory_note(L));
      return;  /* (not reached, which the compiler does not know) */
    }
    request_lend(&c->q, PLACE(addr), m->iov, &m->block);
    c->q.sqe.len = (uint32_t)m->hdr.msg_iovlen;
  }
}

/* The method of the row that is upvalue 2. */
static int prep_run (lua_State *L) {
  const struct prep *p = lua_touserdata(L, lua_upvalueindex(2));
  struct request *own = sqe_self(L);
  struct refblock *named[OP_PINS];
  struct prep_call c;
  c.q = *p->kind;
  c.anchor = 0;
  c.hidden = 0;
  c.ncopies = 0;
  c.vector = 0;
  for (int i = 0; p->args[i].kind != ARG_NONE; i++)
    read_arg(L, &c, &p->args[i], i + 2);
  if (p->finish) p->finish(L, &c.q);
  memcpy(named, c.q.pin, sizeof(named));
  copy_arguments(L, &c);
  for (int i = 0; i < OP_PINS; i++)
    if (named[i]) refblock_retain(named[i]);
  sqe_assign(L, own, &c.q, c.anchor);
  if (c.hidden) sqe_hide(own, c.hidden);
  return sqe_end(L, own);
}

void prep_define (lua_State *L, const struct prep *rows) {
  int state = lua_gettop(L);
  class_push_methods(L, state, CLASS_SQE);
  for (; rows->name; rows++) {
    lua_pushvalue(L, state);
    lua_pushlightuserdata(L, (void *)(uintptr_t)rows);
    lua_pushcclosure(L, prep_run, 2);
    lua_setfield(L, -2, rows->name);
  }
  lua_settop(L, state);
}
