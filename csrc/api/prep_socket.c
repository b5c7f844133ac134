/*
** prep_socket: sockets: making them, connecting, sending and receiving.
**
** What is sent is a string's copy, a buffer or a lease; what is received goes
** into a buffer, or, with IOSQE_BUFFER_SELECT and set_buf_group, into one of
** a group's. Zero copy takes buffers and leases only, and completes twice:
** with the result, and with F_NOTIF when the memory is free again.
**
** Descriptors that are received or made are close-on-exec.
*/

#include "compat.h"
#include "api/sqe.h"

#include "base/names.h"
#include "api/buffer.h"
#include "api/msghdr.h"
#include "api/sockaddr.h"

#define ANY_SLOT  IORING_FILE_INDEX_ALLOC


/* ---- making, connecting ------------------------------------------------ */

static void makes_fd (struct request *q, bool direct, unsigned slot) {
  if (direct) {
    compat_set_file_slot(&q->sqe, slot);
    q->disposal = slot == ANY_SLOT ? DISPOSE_SLOT : DISPOSE_NOTHING;
  }
  else
    q->disposal = DISPOSE_FD;
}

/* sqe:prep_socket(domain, type [, protocol [, flags]]) */
static int socket_at (lua_State *L, bool direct, bool any) {
  struct request *q = sqe_self(L);
  int domain = (int)arg_integer(L, 2, 0, INT32_MAX);
  int type = (int)arg_integer(L, 3, 0, INT32_MAX);
  int protocol = (int)arg_optional(L, 4, 0, 0, INT32_MAX);
  unsigned slot = direct && !any ? arg_slot(L, 5) : ANY_SLOT;
  uint32_t flags = arg_flags(L, direct && !any ? 6 : 5);
  sqe_begin(L, q);
  io_uring_prep_socket(&q->sqe, domain, direct ? type : type | SOCK_CLOEXEC,
                       protocol, flags);
  makes_fd(q, direct, slot);
  return sqe_end(L, q);
}

static int prep_socket_ (lua_State *L) {
  return socket_at(L, false, false);
}

/* sqe:prep_socket_direct(domain, type, protocol, file_index [, flags]) */
static int prep_socket_direct (lua_State *L) {
  return socket_at(L, true, false);
}

/* sqe:prep_socket_direct_alloc(domain, type [, protocol [, flags]]) */
static int prep_socket_direct_alloc (lua_State *L) {
  return socket_at(L, true, true);
}

/* The kernel could write a peer's address only into memory that nobody would
** see change; the socket itself tells its peer. */
static int accept_at (lua_State *L, bool multi, bool direct) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint32_t flags = arg_flags(L, 3);
  unsigned slot = !direct ? 0 : multi ? ANY_SLOT : arg_slot(L, 4);
  sqe_begin(L, q);
  io_uring_prep_accept(&q->sqe, fd.number, NULL, NULL,
                       (int)(direct ? flags : flags | SOCK_CLOEXEC));
  if (multi) {
    q->sqe.ioprio |= IORING_ACCEPT_MULTISHOT;
    q->req_flags |= REQ_MULTI;
  }
  makes_fd(q, direct, slot);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_accept(fd [, flags]) */
static int prep_accept (lua_State *L) {
  return accept_at(L, false, false);
}

/* sqe:prep_accept_direct(fd, flags, file_index) */
static int prep_accept_direct (lua_State *L) {
  return accept_at(L, false, true);
}

/* sqe:prep_multishot_accept(fd [, flags]) */
static int prep_multishot_accept (lua_State *L) {
  return accept_at(L, true, false);
}

/* sqe:prep_multishot_accept_direct(fd [, flags]) */
static int prep_multishot_accept_direct (lua_State *L) {
  return accept_at(L, true, true);
}

static int with_address (lua_State *L, bool bind) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  struct address a = arg_address(L, 3);
  struct memory *m = sqe_memory(L, sizeof(a.bytes), a.bytes);
  struct sockaddr *to = (struct sockaddr *)(void *)m->bytes;
  sqe_begin(L, q);
  if (bind) io_uring_prep_bind(&q->sqe, fd.number, to, a.len);
  else io_uring_prep_connect(&q->sqe, fd.number, to, a.len);
  sqe_pin_memory(q, &m->block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_connect(fd, address) */
static int prep_connect (lua_State *L) {
  return with_address(L, false);
}

/* sqe:prep_bind(fd, address) */
static int prep_bind (lua_State *L) {
  return with_address(L, true);
}

/* sqe:prep_listen(fd [, backlog]) */
static int prep_listen (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  int backlog = (int)arg_optional(L, 3, SOMAXCONN, 0, INT32_MAX);
  sqe_begin(L, q);
  io_uring_prep_listen(&q->sqe, fd.number, backlog);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_shutdown(fd, how) */
static int prep_shutdown (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  int how = (int)arg_integer(L, 3, 0, INT32_MAX);
  sqe_begin(L, q);
  io_uring_prep_shutdown(&q->sqe, fd.number, how);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}


/* ---- sending ----------------------------------------------------------- */

static struct bytes arg_uncopied (lua_State *L, int arg, int len, int at) {
  if (lua_type(L, arg) == LUA_TSTRING)
    luaL_argerror(L, arg, "zero copy takes a buffer or a lease: a string's "
                  "memory is Lua's own");
  return sqe_bytes(L, arg, len, at);
}

static void set_sqe_address (struct request *q, const struct address *a,
                         struct memory *m) {
  q->sqe.addr2 = (uint64_t)(uintptr_t)m->bytes;
  q->sqe.addr_len = (uint16_t)a->len;
  q->pin[0] = &m->block;
}

/* sqe:prep_send(fd, bytes [, len [, flags [, at]]]) */
static int prep_send (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint32_t flags = arg_flags(L, 5);
  struct bytes b = sqe_bytes(L, 3, 4, 6);
  sqe_begin(L, q);
  io_uring_prep_send(&q->sqe, fd.number, b.at, b.size, (int)flags);
  sqe_pin_memory(q, b.block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_send_bundle(fd [, len [, flags]]): what a group has, in order */
static int prep_send_bundle (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  size_t len = (size_t)arg_optional(L, 3, 0, 0, INT32_MAX);
  uint32_t flags = arg_flags(L, 4);
  sqe_begin(L, q);
  io_uring_prep_send_bundle(&q->sqe, fd.number, len, (int)flags);
  q->sqe.flags |= IOSQE_BUFFER_SELECT;
  q->min_kernel = NAMES_VERSION(6, 10);
  q->req_flags |= REQ_MULTI;
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_sendto(fd, bytes, len, flags, address [, at]) */
static int prep_sendto (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint32_t flags = arg_flags(L, 5);
  struct bytes b = arg_bytes(L, 3, 3);  /* (the first wrong one is named) */
  struct address a = arg_address(L, 6);
  struct memory *to;
  b = sqe_bytes(L, 3, 4, 7);
  to = memory_new(sizeof(a.bytes), a.bytes);
  if (to == NULL) {
    refblock_release(b.block);
    return luaL_error(L, "not enough memory for an address");
  }
  sqe_begin(L, q);
  io_uring_prep_send(&q->sqe, fd.number, b.at, b.size, (int)flags);
  set_sqe_address(q, &a, to);
  q->min_kernel = NAMES_VERSION(6, 1);
  sqe_pin_memory(q, b.block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_send_zc(fd, bytes [, len [, flags [, zc_flags [, at]]]]) */
static int prep_send_zc (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint32_t flags = arg_flags(L, 5);
  unsigned zc_flags = (unsigned)arg_optional(L, 6, 0, 0, UINT16_MAX);
  struct bytes b = arg_uncopied(L, 3, 4, 7);
  sqe_begin(L, q);
  io_uring_prep_send_zc(&q->sqe, fd.number, b.at, b.size, (int)flags,
                        zc_flags);
  q->req_flags |= REQ_MULTI;
  sqe_pin_memory(q, b.block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_send_set_addr(address), on a send that was prepared */
static int prep_send_set_addr (lua_State *L) {
  struct request *q = sqe_self(L);
  struct address a = arg_address(L, 2);
  struct memory *m;
  if (q->sqe.opcode != IORING_OP_SEND && q->sqe.opcode != IORING_OP_SEND_ZC)
    return luaL_argerror(L, 1, "prepare a send first: prep_send or "
                         "prep_send_zc");
  m = sqe_memory(L, sizeof(a.bytes), a.bytes);
  if (q->pin[0]) refblock_release(q->pin[0]);
  set_sqe_address(q, &a, m);
  return sqe_end(L, q);
}

static int sendmsg_at (lua_State *L, bool zc) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  struct msg *m = msghdr_check(L, 3);
  uint32_t flags = arg_flags(L, 4);
  if (m->control_capacity > 0)
    luaL_argerror(L, 3, "this msghdr has 'controllen', room for receiving: "
                  "make one with 'control' for sending");
  refblock_retain(&m->block);
  sqe_begin(L, q);
  if (zc) io_uring_prep_sendmsg_zc(&q->sqe, fd.number, &m->hdr, flags);
  else io_uring_prep_sendmsg(&q->sqe, fd.number, &m->hdr, flags);
  if (zc) q->req_flags |= REQ_MULTI;
  sqe_pin_memory(q, &m->block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_sendmsg(fd, msghdr [, flags]) */
static int prep_sendmsg (lua_State *L) {
  return sendmsg_at(L, false);
}

/* sqe:prep_sendmsg_zc(fd, msghdr [, flags]) */
static int prep_sendmsg_zc (lua_State *L) {
  return sendmsg_at(L, true);
}


/* ---- receiving --------------------------------------------------------- */

/* Into a buffer; or nil, and the kernel picks one of a group's. */
static int recv_at (lua_State *L, bool multi) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint32_t flags = arg_flags(L, 5);
  struct bytes b = { NULL, 0, NULL };
  if (lua_isnoneornil(L, 3))
    b.size = (size_t)arg_optional(L, 4, 0, 0, INT32_MAX);
  else if (multi)
    luaL_argerror(L, 3, "nil expected: a multishot receives into the buffers "
                  "of a group (set_buf_group)");
  else
    b = sqe_writable_bytes(L, 3, 4, 6);
  sqe_begin(L, q);
  io_uring_prep_recv(&q->sqe, fd.number, (void *)(uintptr_t)b.at, b.size,
                     (int)flags);
  if (multi) {
    q->sqe.ioprio |= IORING_RECV_MULTISHOT;
    q->req_flags |= REQ_MULTI;
  }
  if (b.block) sqe_pin_memory(q, b.block);
  else q->sqe.flags |= IOSQE_BUFFER_SELECT;
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_recv(fd, buffer | nil [, len [, flags [, at]]]) */
static int prep_recv (lua_State *L) {
  return recv_at(L, false);
}

/* sqe:prep_recv_multishot(fd, nil [, len [, flags]]) */
static int prep_recv_multishot (lua_State *L) {
  return recv_at(L, true);
}

static int recvmsg_at (lua_State *L, bool multi) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  struct msg *m = msghdr_check(L, 3);
  uint32_t flags = arg_flags(L, 4) | MSG_CMSG_CLOEXEC;
  if (m->strings)
    luaL_argerror(L, 3, "this msghdr has strings in its iov, which are for "
                  "sending only: receive into buffers");
  if (m->control_size > 0)
    luaL_argerror(L, 3, "this msghdr has 'control' to be sent: make one with "
                  "'controllen' for receiving");
  refblock_retain(&m->block);
  sqe_begin(L, q);
  io_uring_prep_recvmsg(&q->sqe, fd.number, &m->hdr, flags);
  if (multi) {
    q->sqe.ioprio |= IORING_RECV_MULTISHOT;
    q->sqe.flags |= IOSQE_BUFFER_SELECT;
    q->req_flags |= REQ_MULTI;
  }
  q->layout = (struct recvmsg_layout){ (uint16_t)m->name_capacity,
                             (uint16_t)m->control_capacity };
  sqe_pin_memory(q, &m->block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_recvmsg(fd, msghdr [, flags]) */
static int prep_recvmsg (lua_State *L) {
  return recvmsg_at(L, false);
}

/* sqe:prep_recvmsg_multishot(fd, msghdr [, flags]) */
static int prep_recvmsg_multishot (lua_State *L) {
  return recvmsg_at(L, true);
}


/* ---- legacy groups ----------------------------------------------------- */

/* sqe:prep_provide_buffers(buffer, len, nr, bgid [, bid]): nr buffers of len
** bytes, which are the kernel's until the ring is closed */
static int prep_provide_buffers (lua_State *L) {
  struct request *q = sqe_self(L);
  struct memory *m = buffer_check(L, 2);
  lua_Integer len = arg_integer(L, 3, 1, INT32_MAX);
  lua_Integer nr = arg_integer(L, 4, 1, UINT16_MAX);
  int bgid = (int)arg_integer(L, 5, 0, UINT16_MAX);
  int bid = (int)arg_optional(L, 6, 0, 0, UINT16_MAX);
  if ((uint64_t)len * (uint64_t)nr > m->size)
    return luaL_argerror(L, 3, lua_pushfstring(L,
             "a buffer of %I bytes has no room for %I times %I",
             (LUAI_UACINT)m->size, (LUAI_UACINT)nr, (LUAI_UACINT)len));
  refblock_retain(&m->block);
  sqe_begin(L, q);
  io_uring_prep_provide_buffers(&q->sqe, m->bytes, (int)len, (int)nr, bgid,
                                bid);
  q->req_flags |= REQ_KEPT;
  sqe_pin_memory(q, &m->block);
  return sqe_end(L, q);
}

/* sqe:prep_remove_buffers(nr, bgid) */
static int prep_remove_buffers (lua_State *L) {
  struct request *q = sqe_self(L);
  int nr = (int)arg_integer(L, 2, 1, UINT16_MAX);
  int bgid = (int)arg_integer(L, 3, 0, UINT16_MAX);
  sqe_begin(L, q);
  io_uring_prep_remove_buffers(&q->sqe, nr, bgid);
  return sqe_end(L, q);
}


static const luaL_Reg preps[] = {
  {"prep_socket", prep_socket_},
  {"prep_socket_direct", prep_socket_direct},
  {"prep_socket_direct_alloc", prep_socket_direct_alloc},
  {"prep_accept", prep_accept},
  {"prep_accept_direct", prep_accept_direct},
  {"prep_multishot_accept", prep_multishot_accept},
  {"prep_multishot_accept_direct", prep_multishot_accept_direct},
  {"prep_connect", prep_connect},
  {"prep_bind", prep_bind},
  {"prep_listen", prep_listen},
  {"prep_shutdown", prep_shutdown},
  {"prep_send", prep_send},
  {"prep_send_bundle", prep_send_bundle},
  {"prep_sendto", prep_sendto},
  {"prep_send_zc", prep_send_zc},
  {"prep_send_set_addr", prep_send_set_addr},
  {"prep_sendmsg", prep_sendmsg},
  {"prep_sendmsg_zc", prep_sendmsg_zc},
  {"prep_recv", prep_recv},
  {"prep_recv_multishot", prep_recv_multishot},
  {"prep_recvmsg", prep_recvmsg},
  {"prep_recvmsg_multishot", prep_recvmsg_multishot},
  {"prep_provide_buffers", prep_provide_buffers},
  {"prep_remove_buffers", prep_remove_buffers},
  {NULL, NULL}
};

void prep_socket_open (lua_State *L) {
  class_extend(L, CLASS_SQE, preps);
}
