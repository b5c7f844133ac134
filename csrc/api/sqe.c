/*
** sqe: see the header. It has the class, its setters, and the checks before an
** SQE is queued. What must not break: each pin of the request has one count,
** which is released when another request replaces it or the SQE is collected;
** and no SQE is queued that names what was closed since.
*/

#include "api/sqe.h"

#include "base/names.h"
#include "api/msghdr.h"

#include <string.h>

#define PIN_AUX OP_PIN_AUX
#define PIN_MEMORY OP_PIN_MEMORY
#define PIN_FD OP_PIN_FD

/* All flags that an SQE may have; a ring may still refuse some. */
#define IOSQE_ALL \
  (IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK \
   | IOSQE_ASYNC | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS)

/* The opcode of an SQE that no prep has been called on: the kernel has none of
** this number. */
#define UNPREPARED 255


struct sqe {               /* the userdata */
  struct request q;        /* first */
  size_t copied;           /* bytes of memory that only the SQE keeps */
  uint8_t hidden;          /* fields with addresses of the library's memory */
};

int sqe_new (lua_State *L) {
  struct sqe *s;
  pressure_tell(L, 0, 0);
  s = class_new(L, CLASS_SQE, sizeof(*s), 1);
  s->q.sqe.opcode = UNPREPARED;
  return 1;
}

struct request *sqe_self (lua_State *L) {
  return class_check(L, 1, CLASS_SQE);
}

const struct request *sqe_check (lua_State *L, int arg) {
  return sqe_check_in(L, state_of(L), arg, arg);
}

static void check_memory (lua_State *L, const struct request *q, int arg) {
  const struct refblock *b = q->pin[PIN_MEMORY];
  if (atomic_load(&b->retired))
    luaL_argerror(L, arg, "the buffer or msghdr of this sqe was closed or "
                  "resized after it was prepared: prepare it again");
  if (atomic_load(&b->moves) != q->moves  /* guard: another state's bytes */
      || msg_has_moved(b))  /* guard: so are these */
    luaL_argerror(L, arg, "a buffer of this sqe was sent away, in a message, "
                  "after it was prepared: prepare it with another");
}

const struct request *sqe_check_in (lua_State *L, const struct state *s,
                                    int index, int arg) {
  const struct request *q = class_at(L, s, index, CLASS_SQE);
  if (q == NULL)
    luaL_typeerror(L, arg, class_name(CLASS_SQE));
  if (q->pin[PIN_FD] == NULL && q->pin[PIN_MEMORY] == NULL
      && q->sqe.opcode != UNPREPARED
      && !(q->req_flags & (REQ_FILE | REQ_SECOND)))
    return q;
  if (q->sqe.opcode == UNPREPARED)
    luaL_argerror(L, arg, "nothing is prepared in this sqe: call one of its "
                  "prep_ methods first");
  if ((q->pin[PIN_FD] && handle_closed((struct handle *)q->pin[PIN_FD]))
      || ((q->req_flags & REQ_SECOND)
          && handle_closed((struct handle *)q->pin[PIN_AUX])))
    luaL_argerror(L, arg, "the descriptor that this sqe names was closed "
                  "after it was prepared: prepare it again");
  if (q->req_flags & REQ_FILE) {
    const luaL_Stream *file;
    lua_getiuservalue(L, index, 1);
    file = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (file->closef == NULL)
      luaL_argerror(L, arg, "the file that this sqe names was closed after it "
                    "was prepared: prepare it again");
  }
  if ((q->req_flags & REQ_READS) && q->pin[PIN_MEMORY])
    check_memory(L, q, arg);
  return q;
}

static void sqe_release (lua_State *L, struct request *q) {
  struct sqe *s = (struct sqe *)q;
  if (s->copied > 0) pressure_drop(&state_of(L)->pressure, s->copied, 0);
  s->copied = 0;
  for (int i = 0; i < OP_PINS; i++) {
    struct refblock *b = q->pin[i];
    q->pin[i] = NULL;
    if (b) refblock_release(b);
  }
}

void sqe_assign (lua_State *L, struct request *q, const struct request *from,
                 int anchor) {
  if (anchor) lua_pushvalue(L, anchor);
  else lua_pushnil(L);
  if ((q->req_flags | from->req_flags) & REQ_FILE) lua_setiuservalue(L, 1, 1);
  sqe_release(L, q);
  *q = *from;
  ((struct sqe *)q)->hidden = 0;
}

void sqe_hide (struct request *q, unsigned fields) {
  ((struct sqe *)q)->hidden |= (uint8_t)fields;
}

/* Count the memory that it has copied for the collector. */
static void sqe_count_copied (lua_State *L, struct sqe *s) {
  if (s->copied == 0 && s->q.pin[PIN_MEMORY]) {
    s->copied = memory_alone(s->q.pin[PIN_MEMORY]);
    pressure_hold(&state_of(L)->pressure, s->copied, 0);
  }
}


/* ---- the kernel that it needs ------------------------------------------ */

/* The first kernel that has all of these flags; 0: every one has. */
static unsigned rw_flags_min_kernel (uint32_t flags) {
  static const struct name_since latest[] = {
    { RWF_NOSIGNAL, NAMES_VERSION(6, 18) },
    { RWF_DONTCACHE, NAMES_VERSION(6, 14) },
    { RWF_ATOMIC, NAMES_VERSION(6, 11) },
    { RWF_NOAPPEND, NAMES_VERSION(6, 9) },
  };
  return name_flags_min_kernel(latest, sizeof(latest) / sizeof(*latest),
                               flags);
}

/* (In other opcodes this field has other flags.) */
static bool has_rw_flags (unsigned opcode) {
  switch (opcode) {
    case IORING_OP_READ: case IORING_OP_READV: case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE: case IORING_OP_WRITEV: case IORING_OP_WRITE_FIXED:
    case IORING_OP_READV_FIXED: case IORING_OP_WRITEV_FIXED:
      return true;
    default:
      return false;
  }
}

/* The first kernel that has what is asked for beside the opcode, of what Linux
** 6.1 may lack; 0: every kernel that has the opcode. */
static unsigned sqe_min_kernel (const struct io_uring_sqe *s) {
  switch (s->opcode) {
    case IORING_OP_MSG_RING:
      return (s->msg_ring_flags & IORING_MSG_RING_FLAGS_PASS)
             ? NAMES_VERSION(6, 3) : 0;
    case IORING_OP_TIMEOUT:
      return (s->timeout_flags & IORING_TIMEOUT_MULTISHOT)
             ? NAMES_VERSION(6, 4) : 0;
    case IORING_OP_ASYNC_CANCEL:
      return (s->cancel_flags & (IORING_ASYNC_CANCEL_OP
                                 | IORING_ASYNC_CANCEL_USERDATA))
             ? NAMES_VERSION(6, 6) : 0;
    case IORING_OP_URING_CMD:
      return NAMES_VERSION(6, 7);  /* (those of sockets) */
    case IORING_OP_ACCEPT:
      return (s->ioprio & (IORING_ACCEPT_DONTWAIT | IORING_ACCEPT_POLL_FIRST))
             ? NAMES_VERSION(6, 10) : 0;
    case IORING_OP_SEND: case IORING_OP_SENDMSG:
    case IORING_OP_RECV: case IORING_OP_RECVMSG:
      if (s->opcode == IORING_OP_RECV && s->file_index > 0)
        return NAMES_VERSION(6, 17);  /* (see set_optlen) */
      return (s->ioprio & IORING_RECVSEND_BUNDLE) ? NAMES_VERSION(6, 10) : 0;
    case IORING_OP_SEND_ZC: case IORING_OP_SENDMSG_ZC:
      if (s->opcode == IORING_OP_SENDMSG_ZC
          && (s->ioprio & IORING_RECVSEND_FIXED_BUF))
        return NAMES_VERSION(6, 15);
      return (s->ioprio & IORING_SEND_ZC_REPORT_USAGE)
             ? NAMES_VERSION(6, 2) : 0;
    default:
      return has_rw_flags(s->opcode)
             ? rw_flags_min_kernel((uint32_t)s->rw_flags) : 0;
  }
}

int sqe_end (lua_State *L, struct request *q) {
  sqe_count_copied(L, (struct sqe *)q);
  q->min_kernel = (uint16_t)sqe_min_kernel(&q->sqe);
  q->sqe.user_data = 0;
  lua_settop(L, 1);
  return 1;
}


/* ---- setters ----------------------------------------------------------- */

static struct request *sqe_prepared (lua_State *L) {
  struct request *q = sqe_self(L);
  if (q->sqe.opcode == UNPREPARED)
    luaL_argerror(L, 1, "setters come after the prep, which clears the sqe");
  return q;
}

/* As in liburing it replaces all flags. */
static int s_set_flags (lua_State *L) {
  struct request *q = sqe_prepared(L);
  lua_Integer flags = arg_integer(L, 2, 0, 255);
  if (flags & ~(lua_Integer)IOSQE_ALL)
    return luaL_argerror(L, 2, "flags of IOSQE_ expected");
  q->sqe.flags = (uint8_t)flags;
  q->req_flags &= (uint16_t)~REQ_SILENT;
  if (flags & IOSQE_CQE_SKIP_SUCCESS) q->req_flags |= REQ_SILENT;
  return sqe_end(L, q);
}

static int s_set_data64 (lua_State *L) {
  struct request *q = sqe_prepared(L);
  q->data = (uint64_t)arg_integer(L, 2, LUA_MININTEGER, LUA_MAXINTEGER);
  return sqe_end(L, q);
}

/* The bit of ioprio that makes it complete more than once; 0 if the opcode
** always does, or another field decides. */
static unsigned multi_bit (unsigned opcode) {
  switch (opcode) {
    case IORING_OP_ACCEPT: return IORING_ACCEPT_MULTISHOT;
    case IORING_OP_RECV: case IORING_OP_RECVMSG: return IORING_RECV_MULTISHOT;
    case IORING_OP_SEND: return IORING_RECVSEND_BUNDLE;
    default: return 0;
  }
}

void sqe_check_ioprio (lua_State *L, int arg, unsigned opcode,
                       unsigned ioprio) {
  if ((opcode == IORING_OP_SEND || opcode == IORING_OP_SEND_ZC)
      && (ioprio & IORING_SEND_VECTORIZED))
    luaL_argerror(L, arg, "IORING_SEND_VECTORIZED would take the bytes for an "
                  "array of addresses: use prep_sendmsg or prep_sendmsg_zc");
}

static int s_set_ioprio (lua_State *L) {
  struct request *q = sqe_prepared(L);
  unsigned multi = multi_bit(q->sqe.opcode);
  unsigned ioprio = (unsigned)arg_integer(L, 2, 0, UINT16_MAX);
  sqe_check_ioprio(L, 2, q->sqe.opcode, ioprio);
  q->sqe.ioprio = (uint16_t)ioprio;
  if (multi) {  /* a wait for one completion would lose the others */
    q->req_flags &= (uint16_t)~REQ_MULTI;
    if (q->sqe.ioprio & multi) q->req_flags |= REQ_MULTI;
  }
  return sqe_end(L, q);
}

static int s_set_rw_flags (lua_State *L) {
  struct request *q = sqe_prepared(L);
  uint32_t flags = (uint32_t)arg_integer(L, 2, 0, UINT32_MAX);
  if (!has_rw_flags(q->sqe.opcode))
    return luaL_argerror(L, 1, "prepare a read or a write first: prep_read or "
                         "prep_write");
  q->sqe.rw_flags = (int)flags;
  return sqe_end(L, q);
}

static int s_set_personality (lua_State *L) {
  struct request *q = sqe_prepared(L);
  q->sqe.personality = (uint16_t)arg_integer(L, 2, 0, UINT16_MAX);
  return sqe_end(L, q);
}

static int s_set_buf_group (lua_State *L) {
  struct request *q = sqe_prepared(L);
  q->sqe.buf_group = (uint16_t)arg_integer(L, 2, 0, UINT16_MAX);
  return sqe_end(L, q);
}

/* (The same field as the group: a request uses one or the other.) */
static int s_set_buf_index (lua_State *L) {
  struct request *q = sqe_prepared(L);
  q->sqe.buf_index = (uint16_t)arg_integer(L, 2, 0, UINT16_MAX);
  return sqe_end(L, q);
}

/* How much a multishot receive takes in all. */
static int s_set_optlen (lua_State *L) {
  struct request *q = sqe_prepared(L);
  uint32_t len = (uint32_t)arg_integer(L, 2, 0, UINT32_MAX);
  if (q->sqe.opcode != IORING_OP_RECV || !(q->req_flags & REQ_MULTI))
    return luaL_argerror(L, 1, "prepare a prep_recv_multishot first");
  q->sqe.file_index = len;
  return sqe_end(L, q);
}


/* ---- inspection -------------------------------------------------------- */

static int s_index (lua_State *L) {
  const struct sqe *self = class_check(L, 1, CLASS_SQE);
  const struct request *q = &self->q;
  const struct io_uring_sqe *s = &q->sqe;
  const char *k;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
    return 1;
  if (lua_type(L, 2) != LUA_TSTRING)
    return 1;
  k = lua_tostring(L, 2);
  if (s->opcode == UNPREPARED) return 1;
#define FIELD(name, value) \
  if (strcmp(k, name) == 0) \
    { lua_pushinteger(L, (lua_Integer)(value)); return 1; }
  FIELD("opcode", s->opcode)
  FIELD("flags", s->flags)
  FIELD("ioprio", s->ioprio)
  FIELD("fd", request_fd(q))
  if (!(self->hidden & HIDDEN_OFF)) FIELD("off", s->off)
  FIELD("len", s->len)
  FIELD("rw_flags", (uint32_t)s->rw_flags)
  FIELD("user_data", q->data)
  FIELD("buf_index", s->buf_index)
  FIELD("buf_group", s->buf_group)
  FIELD("personality", s->personality)
  FIELD("file_index", s->file_index)
  if (!(self->hidden & HIDDEN_ADDR3)) FIELD("addr3", s->addr3)
  /* (an address of the library's memory is not shown) */
  if (!(q->req_flags & REQ_READS)) FIELD("addr", s->addr)
#undef FIELD
  return 1;  /* nil */
}

static int sqe_tostring (lua_State *L) {
  const struct sqe *self = class_check(L, 1, CLASS_SQE);
  const struct request *q = &self->q;
  char flags[128];
  if (q->sqe.opcode == UNPREPARED) {
    lua_pushliteral(L, "uring.Sqe (nothing prepared)");
    return 1;
  }
  name_bits(name_sqe_flags, q->sqe.flags, flags, sizeof(flags));
  lua_pushfstring(L, "uring.Sqe (%s fd=%d len=%I off=%I flags=%s data=%I)",
                  name_op_short(q->sqe.opcode), request_fd(q),
                  (LUAI_UACINT)q->sqe.len,
                  self->hidden & HIDDEN_OFF ? (LUAI_UACINT)0
                                            : (LUAI_UACINT)q->sqe.off, flags,
                  (LUAI_UACINT)q->data);
  return 1;
}

static int sqe_gc (lua_State *L) {
  struct sqe *s = class_check(L, 1, CLASS_SQE);
  pressure_collected(&state_of(L)->pressure, s->copied, 0);
  sqe_release(L, &s->q);
  return 0;
}


static const luaL_Reg setters[] = {
  {"set_flags", s_set_flags},
  {"set_data64", s_set_data64},
  {"set_ioprio", s_set_ioprio},
  {"set_rw_flags", s_set_rw_flags},
  {"set_personality", s_set_personality},
  {"set_buf_group", s_set_buf_group},
  {"set_buf_index", s_set_buf_index},
  {"set_optlen", s_set_optlen},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", sqe_gc},
  {"__tostring", sqe_tostring},
  {NULL, NULL}
};

void sqe_open (lua_State *L) {
  class_define(L, CLASS_SQE, setters, meta, s_index);
}
