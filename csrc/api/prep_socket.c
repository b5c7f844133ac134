/*
** prep_socket: the preps that make sockets, connect, send and receive.
**
** A send takes a copy of a string, a buffer or a lease. A receive writes to
** a buffer, or, with IOSQE_BUFFER_SELECT and set_buf_group, to a buffer of
** a group. Zero copy takes buffers and leases only, and completes twice: with
** the result, and with F_NOTIF when the memory is free again. The requests of
** the sockets of tasks (csrc/net) are of the kinds here too.
**
** What must not break: every descriptor that is received or made is
** close-on-exec.
*/

#include "compat.h"
#include "api/prep_build.h"
#include "api/sqe.h"

/* A socket with a descriptor is close-on-exec. A direct descriptor is in no
** process's table, and the kernel refuses the flag. */
#define MAKES_FD     .disposal = DISPOSE_FD
#define MAKES_SLOT   .disposal = DISPOSE_SLOT
#define IN_ANY_SLOT  MAKES_SLOT, .sqe.file_index = ANY_SLOT

#define SELECTS  .sqe.flags = IOSQE_BUFFER_SELECT
#define ACCEPTS_MANY \
  .sqe.ioprio = IORING_ACCEPT_MULTISHOT, .req_flags = REQ_MULTI
#define RECEIVES_MANY \
  .sqe.ioprio = IORING_RECV_MULTISHOT, .req_flags = REQ_MULTI, SELECTS

/* No accept has memory for the peer's address: the caller could not see it
** change. getpeername(2) has the address. */
const struct request
  kind_accept = KIND_INIT(ACCEPT, .sqe.accept_flags = SOCK_CLOEXEC, MAKES_FD),
  kind_multishot_accept = KIND_INIT(ACCEPT, .sqe.accept_flags = SOCK_CLOEXEC,
                                    MAKES_FD, ACCEPTS_MANY),
  kind_connect = KIND_INIT(CONNECT),
  kind_send = KIND_INIT(SEND),
  kind_send_zc = KIND_INIT(SEND_ZC, .req_flags = REQ_MULTI),
  kind_sendmsg = KIND_INIT(SENDMSG, .sqe.len = 1),
  kind_sendmsg_zc = KIND_INIT(SENDMSG_ZC, .sqe.len = 1,
                              .req_flags = REQ_MULTI),
  kind_recv = KIND_INIT(RECV),
  kind_recv_multishot = KIND_INIT(RECV, RECEIVES_MANY),
  kind_recvmsg = KIND_INIT(RECVMSG, .sqe.msg_flags = MSG_CMSG_CLOEXEC,
                           .sqe.len = 1),
  kind_recvmsg_multishot = KIND_INIT(RECVMSG, .sqe.len = 1,
                                     .sqe.msg_flags = MSG_CMSG_CLOEXEC,
                                     RECEIVES_MANY);


/* sqe:prep_send_set_addr(address), after the prep of a send */
static int prep_send_set_addr (lua_State *L) {
  struct request *q = sqe_self(L);
  struct address a = arg_address(L, 2);
  struct memory *m;
  if (q->sqe.opcode != IORING_OP_SEND && q->sqe.opcode != IORING_OP_SEND_ZC)
    return luaL_argerror(L, 1, "prepare a send first: prep_send or "
                         "prep_send_zc");
  m = memory_new(state_of(L)->account, a.len, a.bytes);
  if (m == NULL)
    return luaL_error(L, "not enough memory for an address%s",
                      state_memory_note(L));
  if (q->pin[OP_PIN_AUX]) refblock_release(q->pin[OP_PIN_AUX]);
  q->pin[OP_PIN_AUX] = &m->block;
  request_address(q, &a);
  q->sqe.addr2 = (uintptr_t)m->bytes;
  sqe_hide(q, HIDDEN_OFF);
  return sqe_end(L, q);
}

static void check_zc_flags (lua_State *L, struct request *q) {
  sqe_check_ioprio(L, 6, q->sqe.opcode, q->sqe.ioprio);
}

static void check_provided (lua_State *L, struct request *q) {
  const struct memory *m = (const struct memory *)q->pin[OP_PIN_MEMORY];
  if ((uint64_t)q->sqe.len * (uint64_t)q->sqe.fd > m->size)
    luaL_argerror(L, 3, lua_pushfstring(L,
      "a buffer of %I bytes has no room for %I times %I",
      (LUAI_UACINT)m->size, (LUAI_UACINT)q->sqe.fd, (LUAI_UACINT)q->sqe.len));
}

static void check_command (lua_State *L, struct request *q) {
  switch (q->sqe.cmd_op) {
    case SOCKET_URING_OP_SIOCINQ: case SOCKET_URING_OP_SIOCOUTQ:
      return;
    case SOCKET_URING_OP_GETSOCKOPT:
      if (lua_type(L, 6) != LUA_TSTRING)  /* (it would be lost in a copy) */
        return;
      luaL_argerror(L, 6, "buffer for the option's value expected");
      return;
    case SOCKET_URING_OP_SETSOCKOPT:
      return;
    default:
      luaL_argerror(L, 2, "SOCKET_URING_OP_SIOCINQ, _SIOCOUTQ, _GETSOCKOPT or "
                    "_SETSOCKOPT expected");
  }
}

static const struct prep preps[] = {
  /* domain, type [, protocol [, flags]] */
  PREP(socket, KIND(SOCKET, .sqe.off = SOCK_CLOEXEC, MAKES_FD), ARG(INT, fd),
       ARG(INT, off), ARG(OPT_INT, len), FLAGS),
  /* domain, type, protocol, file_index [, flags] */
  PREP(socket_direct, KIND(SOCKET, MAKES_SLOT), ARG(INT, fd), ARG(INT, off),
       ARG(OPT_INT, len), BARE(SLOT), FLAGS),
  /* domain, type [, protocol [, flags]] */
  PREP(socket_direct_alloc, KIND(SOCKET, IN_ANY_SLOT), ARG(INT, fd),
       ARG(INT, off), ARG(OPT_INT, len), FLAGS),
  /* fd [, flags] */
  PREP(accept, kind_accept, ARG(FD, fd), FLAGS),
  PREP(multishot_accept, kind_multishot_accept, ARG(FD, fd), FLAGS),
  /* fd, flags, file_index */
  PREP(accept_direct, KIND(ACCEPT, MAKES_SLOT), ARG(FD, fd), FLAGS,
       BARE(SLOT)),
  /* fd [, flags] */
  PREP(multishot_accept_direct, KIND(ACCEPT, IN_ANY_SLOT, ACCEPTS_MANY),
       ARG(FD, fd), FLAGS),
  /* fd, address */
  PREP(connect, kind_connect, ARG(FD, fd), BARE(ADDRESS)),
  PREP(bind, KIND(BIND), ARG(FD, fd), BARE(ADDRESS)),
  /* fd [, backlog] */
  PREP(listen, KIND(LISTEN), ARG(FD, fd), ARG(OPT_BACKLOG, len)),
  /* fd, how */
  PREP(shutdown, KIND(SHUTDOWN), ARG(FD, fd), ARG(INT, len)),

  /* fd, bytes [, len [, flags [, at]]] */
  PREP(send, kind_send, ARG(FD, fd), ARG(BYTES, addr), ARG(LEN, len), FLAGS,
       BARE(START)),
  /* fd [, len [, flags]]: the buffers of a group, in order */
  PREP(send_bundle,
       KIND(SEND, .sqe.ioprio = IORING_RECVSEND_BUNDLE, SELECTS,
            .req_flags = REQ_MULTI),
       ARG(FD, fd), ARG(OPT_INT, len), FLAGS),
  /* fd, bytes, len, flags, address [, at] */
  PREP(sendto, KIND(SEND), ARG(FD, fd), ARG(BYTES, addr), ARG(LEN, len), FLAGS,
       BARE(ADDRESS), BARE(START)),
  /* fd, bytes [, len [, flags [, zc_flags [, at]]]] */
  PREP_FINISH(send_zc, check_zc_flags, kind_send_zc, ARG(FD, fd),
              ARG(UNCOPIED, addr), ARG(LEN, len), FLAGS, ARG(OPT_U16, ioprio),
              BARE(START)),
  /* fd, buffer | lease, len, flags, zc_flags, buf_index [, at] */
  PREP_FINISH(send_zc_fixed, check_zc_flags,
              KIND(SEND_ZC, .sqe.ioprio = IORING_RECVSEND_FIXED_BUF,
                   .req_flags = REQ_MULTI),
              ARG(FD, fd), ARG(UNCOPIED, addr), ARG(LEN, len), FLAGS,
              ARG(OPT_U16, ioprio), ARG(U16, buf_index), BARE(START)),
  /* fd, msghdr [, flags] */
  PREP(sendmsg, kind_sendmsg, ARG(FD, fd), BARE(MSG_OUT), FLAGS),
  PREP(sendmsg_zc, kind_sendmsg_zc, ARG(FD, fd), BARE(MSG_OUT), FLAGS),
  /* fd, msghdr, flags, buf_index */
  PREP(sendmsg_zc_fixed,
       KIND(SENDMSG_ZC, .sqe.len = 1, .req_flags = REQ_MULTI,
            .sqe.ioprio = IORING_RECVSEND_FIXED_BUF),
       ARG(FD, fd), BARE(MSG_OUT), FLAGS, ARG(U16, buf_index)),
  /* cmd_op, fd [, level [, optname [, bytes [, optlen]]]] */
  PREP_FINISH(cmd_sock, check_command,
              KIND(URING_CMD), ARG(U32, cmd_op), ARG(FD, fd),
              ARG_LOW(OPT_U32, addr), ARG_HIGH(OPT_U32, addr),
              ARG(OPT_BYTES, addr3), ARG(LEN, file_index)),

  /* fd, buffer | nil [, len [, flags [, at]]] */
  PREP(recv, kind_recv, ARG(FD, fd), ARG(BUFFER_OR_NIL, addr), ARG(LEN, len),
       FLAGS, BARE(START)),
  /* fd, nil [, len [, flags]] */
  PREP(recv_multishot, kind_recv_multishot, ARG(FD, fd), ARG(NIL, addr),
       ARG(LEN, len), FLAGS),
  /* fd, msghdr [, flags] */
  PREP(recvmsg, kind_recvmsg, ARG(FD, fd), BARE(MSG_IN), FLAGS),
  PREP(recvmsg_multishot, kind_recvmsg_multishot, ARG(FD, fd), BARE(MSG_IN),
       FLAGS),

  /* buffer, len, nr, bgid [, bid]: nr buffers of len bytes, which the kernel
     has until the ring is closed */
  PREP_FINISH(provide_buffers, check_provided,
              KIND(PROVIDE_BUFFERS, .req_flags = REQ_KEPT),
              ARG(BUFFER, addr), ARG(SIZE, len), ARG(COUNT, fd),
              ARG(U16, buf_group), ARG(OPT_U16, off)),
  /* nr, bgid */
  PREP(remove_buffers, KIND(REMOVE_BUFFERS), ARG(COUNT, fd),
       ARG(U16, buf_group)),
  { 0 }
};

void prep_socket_open (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"prep_send_set_addr", prep_send_set_addr},
    {NULL, NULL}
  };
  class_extend(L, CLASS_SQE, methods);
  prep_define(L, preps);
}
