/*
** msghdr: build message headers, reset them for each request, and parse what
** was received. Received descriptors must end in exactly one place: a
** uring.fd, or close().
*/

#include "compat.h"
#include "api/msghdr.h"

#include "ring/recvmsg_out.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/buf_ring.h"
#include "api/buffer.h"
#include "api/cmsg.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


/* ---- in C, without Lua ------------------------------------------------- */

static void close_unread (struct msg *m) {
  if (m->unread) cmsg_close(m->control, m->control_capacity);
  m->unread = false;
  /* guard: bytes left by an earlier request must not be read again */
  if (m->control_size == 0 && m->control)
    memset(m->control, 0, m->control_capacity);
}

/* Close its descriptors, except those that are being converted to Lua. */
static void drop_fds (struct msg *m) {
  if (!m->reading) close_unread(m);  /* guard: a pushed fd stays open */
  for (unsigned i = 0; i < m->sent.nfds; i++) close(m->sent.fds[i]);
  m->sent.nfds = 0;
}

static void msg_busy (struct refblock *b) {
  struct msg *m = (struct msg *)b;
  close_unread(m);
  memcpy(m->place, m->name.bytes, sizeof(m->place));  /* (clears it, too) */
  m->hdr.msg_namelen = m->name_capacity;
  m->hdr.msg_controllen = m->control_size ? m->control_size
                                          : m->control_capacity;
  for (unsigned i = 0; i < m->nheld; i++) refblock_fly(m->held[i].block);
}

static void msg_idle (struct refblock *b) {
  struct msg *m = (struct msg *)b;
  for (unsigned i = 0; i < m->nheld; i++) refblock_land(m->held[i].block);
  m->unread = m->control_capacity > 0 && m->control_size == 0;
  if (atomic_load(&b->retired)) drop_fds(m);
}

static void msg_end (struct refblock *b) {
  struct msg *m = (struct msg *)b;
  m->reading = false;
  drop_fds(m);
  for (unsigned i = 0; i < m->nheld; i++) refblock_release(m->held[i].block);
  free(m->sent.fds);
  free(m->held);
  free(m->control);
  account_refund(m->account, m->charged);
  free(m);
}

struct msg *msg_new (struct account *a, unsigned niov) {
  size_t size = sizeof(struct msg)
                + niov * (sizeof(struct iovec) + sizeof(struct held));
  struct msg *m;
  if (!account_charge(a, size))
    return NULL;
  m = calloc(1, sizeof(*m) + niov * sizeof(m->iov[0]));
  if (m) m->held = niov ? calloc(niov, sizeof(*m->held)) : NULL;
  if (m == NULL || (niov && m->held == NULL)) {
    free(m);
    account_refund(a, size);
    return NULL;
  }
  refblock_init(&m->block, msg_end);
  m->account = a;
  m->charged = size;
  m->block.busy = msg_busy;
  m->block.idle = msg_idle;
  m->hdr.msg_iov = m->iov;
  return m;
}

bool msg_has_moved (const struct refblock *b) {
  const struct msg *m = (const struct msg *)b;
  if (b->end != msg_end)
    return false;
  for (unsigned i = 0; i < m->nheld; i++)
    if (atomic_load(&m->held[i].block->moves) != m->held[i].moves)
      return true;
  return false;
}

bool msg_make_control (struct msg *m, size_t size) {
  if (!account_charge(m->account, size))
    return false;
  m->control = calloc(1, size);
  if (m->control == NULL) {
    account_refund(m->account, size);
    return false;
  }
  m->hdr.msg_control = m->control;
  m->charged += size;
  return true;
}


/* ---- make -------------------------------------------------------------- */

static struct msg **new_msghdr (lua_State *L) {
  return class_new(L, CLASS_MSGHDR, sizeof(struct msg *), 0);
}

static void hold_block (struct msg *m, struct refblock *b) {
  m->held[m->nheld++] = (struct held){ b, atomic_load(&b->moves) };
}

/* Check that the table on top is an array of at most `most` values. */
static void check_array (lua_State *L, lua_Unsigned most, int arg) {
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    if (!lua_isinteger(L, -1)
        || (lua_Unsigned)lua_tointeger(L, -1) - 1 >= most) {
      const char *key = luaL_tolstring(L, -1, NULL);
      luaL_argerror(L, arg, lua_pushfstring(L, "option 'iov': an array of %I "
        "has no '%s'", (LUAI_UACINT)most, key));
    }
  }
}

/* The integer at key `n` of the table on top, from 0 to `most`. */
static size_t iov_field (lua_State *L, lua_Integer n, const char *what,
                         size_t otherwise, size_t most, int arg) {
  lua_Integer i = (lua_Integer)otherwise;
  int type = lua_rawgeti(L, -1, n), ok = type == LUA_TNUMBER;
  if (type != LUA_TNIL) {
    if (ok) i = lua_tointegerx(L, -1, &ok);
    if (!ok || i < 0 || i > (lua_Integer)most)
      luaL_argerror(L, arg, lua_pushfstring(L, "option 'iov' has an array "
        "{ bytes, offset, length } whose %s is no integer from 0 to %I",
        what, (LUAI_UACINT)most));
  }
  lua_pop(L, 1);
  return (size_t)i;
}

/* The number of the message's next `len` bytes that are in the part, and the
** offset of the first. */
static size_t clip_to_part (struct msg_part *p, size_t len, bool copied,
                            size_t *at) {
  size_t begin = p->size, n;
  p->size += len;
  *at = 0;
  if (p->upto < begin || p->upto >= p->size)
    return 0;
  *at = p->upto - begin;
  n = len - *at;
  if (copied && n > p->most) n = p->most;
  if (copied) p->most -= n;
  p->upto += n;
  return n;
}

/* Add the value on top to the iov: a string, a buffer or lease, or
** { buffer, offset, len }. */
static void add_iov (lua_State *L, struct msg *m, struct msg_part *p,
                     int arg) {
  struct iovec *v = &m->iov[m->hdr.msg_iovlen];
  int top = lua_gettop(L);
  struct bytes b;
  size_t at = 0, len, skip, n;
  if (lua_istable(L, top)) {
    check_array(L, 3, arg);
    lua_rawgeti(L, top, 1);
    b = arg_bytes(L, top + 1, arg);
    lua_pushvalue(L, top);  /* (above the bytes, which stay referenced) */
    at = iov_field(L, 2, "offset", 0, b.size, arg);
    len = iov_field(L, 3, "length", b.size - at, b.size - at, arg);
  }
  else {
    b = arg_bytes(L, top, arg);
    len = b.size;
  }
  n = clip_to_part(p, len, b.block == NULL, &skip);
  if (n == 0 && len > 0) {
    lua_settop(L, top);
    return;
  }
  at += skip;
  if (b.block == NULL) {
    struct memory *copy = memory_new(m->account, n, b.at + at);
    if (copy == NULL)
      luaL_error(L, "not enough memory for a string of %I bytes%s",
                 (LUAI_UACINT)n, state_memory_note(L));
    m->strings = true;
    m->copied += n;
    hold_block(m, &copy->block);
    v->iov_base = copy->bytes;
  }
  else {
    refblock_retain(b.block);
    hold_block(m, b.block);
    v->iov_base = (void *)(uintptr_t)(b.at + at);
  }
  v->iov_len = n;
  m->hdr.msg_iovlen++;
  lua_settop(L, top);
}

void msg_check_vector (lua_State *L, int arg, bool out) {
  lua_Unsigned n = 0;
  if (lua_istable(L, arg)) n = lua_rawlen(L, arg);
  if (n < 1 || n > IOV_MAX)
    luaL_argerror(L, arg, "array of 1 to 1024 buffers expected");
  for (lua_Unsigned i = 1; i <= n; i++) {
    struct bytes b;
    lua_rawgeti(L, arg, (lua_Integer)i);
    if (out ? !bytes_at(L, -1, &b) : class_test(L, -1, CLASS_BUFFER) == NULL
                                     || !bytes_at(L, -1, &b))
      luaL_argerror(L, arg, lua_pushfstring(L, "value %I of the array is no "
        "%s", (LUAI_UACINT)i, out ? "string, open buffer or lease"
                                  : "open buffer"));
    lua_pop(L, 1);
  }
}

struct msg *msg_of_vector (lua_State *L, struct account *a, int arg) {
  unsigned n = (unsigned)lua_rawlen(L, arg);
  struct msg *m = msg_new(a, n);
  for (unsigned i = 0; m && i < n; i++) {
    struct bytes b = { NULL, 0, NULL };
    lua_rawgeti(L, arg, (lua_Integer)i + 1);
    bytes_at(L, -1, &b);
    lua_pop(L, 1);  /* (the array keeps it) */
    if (b.block) refblock_retain(b.block);
    else {
      struct memory *copy = memory_new(a, b.size, b.at);
      if (copy == NULL) {
        refblock_release(&m->block);
        return NULL;
      }
      b.block = &copy->block;
      b.at = copy->bytes;
    }
    hold_block(m, b.block);
    m->iov[m->hdr.msg_iovlen++] = (struct iovec){ (void *)(uintptr_t)b.at,
                                                  b.size };
  }
  return m;
}

/* 0, or -errno if a descriptor cannot be dup'ed. */
static int set_control (lua_State *L, struct msg *m, int arg) {
  struct control *c = &m->sent;
  int rc;
  c->capacity = control_size(L, lua_gettop(L), arg, &c->most);
  if (c->capacity == 0)
    return 0;
  c->fds = calloc(c->most + 1, sizeof(int));
  if (c->fds == NULL || !msg_make_control(m, c->capacity))
    luaL_error(L, "not enough memory for control messages%s",
               state_memory_note(L));
  c->at = m->control;
  rc = control_encode(L, lua_gettop(L), c);
  m->control_size = c->size;
  return rc;
}

/* Push the array of option `iov`, or one with the value of option `data`;
** returns its length. */
static lua_Unsigned open_iov (lua_State *L, int t) {
  lua_Unsigned n;
  if (options_given(L, t, "data")) {
    if (options_given(L, t, "iov"))
      luaL_argerror(L, t, "options 'data' and 'iov': one of them");
    lua_createtable(L, 1, 0);
    options_push(L, t, "data");
    lua_rawseti(L, -2, 1);
    return 1;
  }
  if (options_push(L, t, "iov") == LUA_TNIL)
    return 0;
  if (!lua_istable(L, -1))
    luaL_argerror(L, t, "option 'iov' must be an array");
  n = lua_rawlen(L, -1);
  if (n > IOV_MAX)
    luaL_argerror(L, t, "option 'iov' takes at most 1024 parts");
  check_array(L, n, t);
  return n;
}

struct msg *msghdr_push (lua_State *L, int t, const char *const *names,
                         struct msg_part *part, int *rc) {
  struct msg_part all = { 0, SIZE_MAX, 0, 0 };
  struct msg **own, *m;
  lua_Unsigned n;
  int iov;
  if (part == NULL) part = &all;
  part->upto = part->from;
  part->size = 0;
  stack_reserve(L, 10, NULL);
  options_open(L, t, names);
  own = new_msghdr(L);
  n = open_iov(L, t);
  iov = lua_gettop(L);
  m = *own = msg_new(state_of(L)->account, (unsigned)n);
  if (m == NULL)
    luaL_error(L, "not enough memory for a msghdr%s", state_memory_note(L));
  for (lua_Unsigned i = 1; i <= n; i++) {
    lua_rawgeti(L, iov, (lua_Integer)i);
    add_iov(L, m, part, t);
    lua_pop(L, 1);
  }
  if (options_push(L, t, "name") != LUA_TNIL) {
    m->name = arg_address_in(L, lua_gettop(L), t);
    m->name_capacity = m->name.len;
  }
  m->name_capacity = (unsigned)options_integer(L, t, "namelen",
                   (lua_Integer)m->name_capacity, 0, sizeof(m->place));
  if (m->name_capacity < m->name.len)
    luaL_argerror(L, t, "option 'namelen' is less than the name's own "
                  "length");
  m->hdr.msg_name = m->name_capacity ? m->place : NULL;
  m->control_capacity = (unsigned)options_integer(L, t, "controllen", 0, 0,
                                              CONTROL_MAX);
  m->hdr.msg_flags = (int)options_integer(L, t, "flags", 0, 0, INT32_MAX);
  if (part->from == 0 && options_given(L, t, "control")) {
    if (m->control_capacity > 0)
      luaL_argerror(L, t, "option 'control' is what to send, and "
                    "'controllen' the space for receiving: one of them");
    options_push(L, t, "control");
    *rc = set_control(L, m, t);
  }
  else if (m->control_capacity > 0 && !msg_make_control(m,
                                                        m->control_capacity))
    luaL_error(L, "not enough memory for control messages%s",
               state_memory_note(L));
  if (msg_has_moved(&m->block))  /* guard: a finalizer may have sent it */
    luaL_argerror(L, t, "a buffer in option 'iov' was sent away, in a message,"
                  " while it was read");
  lua_settop(L, iov - 1);
  return m;
}

static void weigh_msghdr (lua_State *L, struct msg *m) {
  m->weight = sizeof(*m) + m->copied + m->control_capacity + m->control_size
              + m->hdr.msg_iovlen * (sizeof(m->iov[0]) + sizeof(*m->held));
  pressure_hold(&state_of(L)->pressure, m->weight, m->sent.nfds);
}

static void msghdr_release (lua_State *L, struct msg **own) {
  struct msg *m = *own;
  *own = NULL;
  if (m == NULL)
    return;
  if (m->weight > 0)
    pressure_drop(&state_of(L)->pressure, m->weight, m->sent.nfds);
  m->weight = 0;
  refblock_release(&m->block);
}

/* Close it: once it is not in flight it has no descriptors any more. */
static void msghdr_retire (lua_State *L, struct msg **own) {
  struct msg *m = *own;
  atomic_store(&m->block.retired, true);  /* guard: SQEs that name it */
  refblock_retain(&m->block);
  msghdr_release(L, own);
  if (refblock_flying(&m->block) == 0) drop_fds(m);
  refblock_release(&m->block);
}

/* uring.msghdr{ name=, namelen=, control=, controllen=, iov=, flags= } */
int msghdr_new (lua_State *L) {
  static const char *const names[] = {
    "name", "namelen", "control", "controllen", "iov", "flags", NULL
  };
  int rc = 0;
  pressure_tell(L, 0, 0);
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  weigh_msghdr(L, msghdr_push(L, 1, names, NULL, &rc));
  return rc < 0 ? fail(L, -rc, "msghdr: a dup of a descriptor in its control")
                : 1;
}


/* ---- methods ----------------------------------------------------------- */

struct msg *msghdr_check (lua_State *L, int arg) {
  struct msg **own = class_check(L, arg, CLASS_MSGHDR);
  if (*own == NULL)
    luaL_argerror(L, arg, "attempt to use a closed msghdr");
  return *own;
}

static struct msg *check_idle (lua_State *L) {
  struct msg *m = msghdr_check(L, 1);
  if (refblock_flying(&m->block) > 0)  /* guard: the kernel writes to it */
    luaL_error(L, "this msghdr is in use: an operation in flight holds it");
  return m;
}

/* msghdr:name(): the sender of the received message; nil if it has no name */
static int msghdr_name (lua_State *L) {
  struct msg *m = check_idle(L);
  struct address a;
  if (m->hdr.msg_namelen == 0 || m->hdr.msg_name == NULL) {
    lua_pushnil(L);
    return 1;
  }
  address_set(&a, m->place, m->hdr.msg_namelen, m->name_capacity);
  if (a.any.sa_family == AF_UNSPEC) lua_pushnil(L);  /* (it has failed) */
  else sockaddr_push(L, &a);
  return 1;
}

/* msghdr:control(): the received control messages, once. (A second object
** keeps them, because a finalizer may close the first.) */
static int msghdr_control (lua_State *L) {
  struct msg **held = new_msghdr(L);
  struct msg *m = check_idle(L);
  unsigned char *at = m->control;
  size_t size = m->hdr.msg_controllen;
  refblock_retain(&m->block);
  *held = m;
  if (m->unread) at += cmsg_of_last_try(at, m->control_capacity, &size);
  else size = 0;
  m->reading = true;  /* (a finalizer may close it while they are pushed) */
  control_push(L, at, size);
  m->reading = m->unread = false;
  *held = NULL;
  refblock_release(&m->block);
  return 1;
}

static int msghdr_flags (lua_State *L) {
  lua_pushinteger(L, check_idle(L)->hdr.msg_flags);
  return 1;
}

static int msghdr_close (lua_State *L) {
  struct msg **own = class_check(L, 1, CLASS_MSGHDR);
  if (*own) {
    if (refblock_flying(&(*own)->block) > 0)
      return luaL_error(L, "cannot close a msghdr that is in use: an "
                        "operation in flight holds it");
    msghdr_retire(L, own);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* __close: it may be in flight, and is then closed when that ends. */
static int msghdr_scope_end (lua_State *L) {
  struct msg **own = class_check(L, 1, CLASS_MSGHDR);
  if (*own) msghdr_retire(L, own);
  return 0;
}

/* Collection is not a close: prepared SQEs that count it may be queued. */
static int msghdr_gc (lua_State *L) {
  struct msg **own = class_check(L, 1, CLASS_MSGHDR);
  const struct msg *m = *own;
  if (m && m->weight > 0)
    pressure_collected(&state_of(L)->pressure, m->weight, m->sent.nfds);
  msghdr_release(L, own);
  return 0;
}

static int msghdr_tostring (lua_State *L) {
  struct msg **own = class_check(L, 1, CLASS_MSGHDR);
  if (*own == NULL) lua_pushliteral(L, "uring.Msghdr (closed)");
  else lua_pushfstring(L, "uring.Msghdr (%d parts, name %d, control %d)",
                       (int)(*own)->hdr.msg_iovlen, (int)(*own)->name_capacity,
                       (int)((*own)->control_size ? (*own)->control_size
                                                  : (*own)->control_capacity));
  return 1;
}


/* ---- recvmsg_out ------------------------------------------------------- */

static void set_bool (lua_State *L, const char *key, bool b) {
  lua_pushboolean(L, b);
  lua_setfield(L, -2, key);
}

/* Push, at index 4, an empty object of the same class as the bytes at 1. It
** will keep the bytes, even if a finalizer closes the first object. (A string
** needs none.) */
static void push_holder (lua_State *L) {
  if (class_test(L, 1, CLASS_LEASE)) lease_push(L);
  else if (class_test(L, 1, CLASS_BUFFER))
    buffer_push(L);
  else lua_pushnil(L);
}

static void set_holder (lua_State *L, struct refblock *b) {
  struct lease **lease = class_test(L, 4, CLASS_LEASE);
  struct buffer *buffer = class_test(L, 4, CLASS_BUFFER);
  if (lease) lease_set(L, lease, (struct lease *)b);
  if (buffer) buffer_set(L, buffer, (struct memory *)b);
}

/* Only bytes that a recvmsg with this very layout has written contain
** descriptors; in any other bytes the peer has chosen the numbers. */
static bool has_fds (lua_State *L, const struct msg *m) {
  struct lease *const *l = class_test(L, 1, CLASS_LEASE);
  return l && (*l)->piece.layout.name == m->name_capacity
         && (*l)->piece.layout.control == m->control_capacity;
}

/* uring.recvmsg_out(bytes, msghdr [, len]): the message that recvmsg_multishot
** has put into a buffer, as { name, control, flags, payload, payloadlen,
** truncated } */
int msghdr_recvmsg_out (lua_State *L) {
  struct bytes b;
  struct msg *m;
  size_t size;
  struct received r;
  bool fds;
  lua_settop(L, 3);
  push_holder(L);
  lua_createtable(L, 0, 6);
  b = arg_bytes(L, 1, 1);
  m = msghdr_check(L, 2);
  size = (size_t)arg_optional(L, 3, (lua_Integer)b.size, 0,
                              (lua_Integer)b.size);
  if (!recvmsg_parse((unsigned char *)(uintptr_t)b.at, size, m->name_capacity,
                     m->control_capacity, &r))
    return fail(L, EBADMSG, "recvmsg_out: %u bytes are too short for the "
                "header, %u of name and %u of control", (unsigned)size,
                m->name_capacity, m->control_capacity);
  fds = has_fds(L, m);
  if (b.block) refblock_retain(b.block);
  set_holder(L, b.block);  /* guard: keeps the bytes from here on */
  if (r.name_size > 0) {
    struct address a;
    address_set(&a, r.name, r.name_size, sizeof(a.bytes));
    sockaddr_push(L, &a);
    lua_setfield(L, 5, "name");
  }
  lua_pushlstring(L, (const char *)r.payload, r.payload_size);
  lua_setfield(L, 5, "payload");
  lua_pushinteger(L, r.payload_full);
  lua_setfield(L, 5, "payloadlen");
  lua_pushinteger(L, r.flags);
  lua_setfield(L, 5, "flags");
  lua_createtable(L, 0, 3);
  set_bool(L, "name", r.name_full > r.name_size);
  set_bool(L, "control", (r.flags & MSG_CTRUNC) != 0);
  set_bool(L, "payload", (r.flags & MSG_TRUNC) != 0
                         || r.payload_full > r.payload_size);
  lua_setfield(L, 5, "truncated");
  if (fds) control_push(L, r.control, r.control_size);
  else {  /* (a copy: a finalizer may send the buffer away) */
    const char *copy = lua_pushlstring(L, (const char *)r.control,
                                       r.control_size);
    control_push_raw(L, (const unsigned char *)copy, r.control_size);
    lua_remove(L, -2);
  }
  lua_setfield(L, 5, "control");
  set_holder(L, NULL);
  if (b.block) refblock_release(b.block);
  return 1;
}


static const luaL_Reg methods[] = {
  {"name", msghdr_name},
  {"control", msghdr_control},
  {"flags", msghdr_flags},
  {"close", msghdr_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", msghdr_gc},
  {"__close", msghdr_scope_end},
  {"__tostring", msghdr_tostring},
  {NULL, NULL}
};

void msghdr_open (lua_State *L) {
  class_define(L, CLASS_MSGHDR, methods, meta, NULL);
}
