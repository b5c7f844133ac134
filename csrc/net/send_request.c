/*
** send_request: what a send or connect asks of the kernel. A string is copied
** into the request's memory, a buffer or lease goes as it is. What must not
** break: no request names memory of Lua's.
*/

#include "compat.h"
#include "net/send.h"

#include "lua/options.h"
#include "api/buffer.h"
#include "api/prep_build.h"
#include "api/sockaddr.h"
#include "net/datagram.h"

#include <errno.h>
#include <string.h>

/* What is shorter is copied in less time than it takes to do without, even
** where the interface does not copy (bench/zero_copy.lua). */
#define ZERO_COPY 49152u


static void set_size (lua_State *L, size_t upto, size_t size) {
  lua_pushinteger(L, (lua_Integer)upto);
  lua_replace(L, UPTO);
  lua_pushinteger(L, (lua_Integer)size);
  lua_replace(L, SIZE);
}

/* (A stream takes all, or says how much it took.) */
static unsigned sending_flags (const struct socket *s) {
  return MSG_NOSIGNAL | (socket_streams(s) ? MSG_WAITALL : 0);
}

static int prepare_bytes (lua_State *L, struct socket *s,
                          struct request *q) {
  struct bytes b = arg_bytes(L, DATA, DATA);
  const struct address *to = lua_touserdata(L, TO);
  size_t from = (size_t)lua_tointeger(L, FROM), size = b.size - from;
  struct copied copies[2];
  unsigned n = 0;
  luaL_argcheck(L, from <= b.size, DATA, "it was made smaller meanwhile");
  if (size > INT32_MAX) size = INT32_MAX;
  if (b.block == NULL && socket_streams(s) && size > PIECE) size = PIECE;
  if (b.block == NULL && size > PIECE && datagram_too_long(s, size))
    return -EMSGSIZE;
  set_size(L, from + size, b.size);
  *q = request_of(&kind_send, s->out.waitq.fd);
  q->sqe.len = (uint32_t)size;
  q->sqe.msg_flags = sending_flags(s);
  if (b.block) {
    refblock_retain(b.block);
    request_lend(q, PLACE(addr), b.at + from, b.block);
  }
  else copies[n++] = (struct copied){ b.at + from, size, PLACE(addr) };
  if (to)
    copies[n++] = (struct copied){ to->bytes, to->len,
                                   request_address(q, to) };
  return request_copy(q, copies, n) ? 0 : -ENOMEM;
}

static int prepare_connect (lua_State *L, struct request *q, int fd) {
  const struct address *to = lua_touserdata(L, TO);
  struct copied copy = { to->bytes, to->len, 0 };
  *q = request_of(&kind_connect, fd);
  copy.place = request_address(q, to);
  return request_copy(q, &copy, 1) ? 0 : -ENOMEM;
}

static const char *const message_options[] = {
  "data", "iov", "name", "control", "flags", NULL
};

/* It is the request's alone: dups of descriptors are closed when that has
** gone, and not when somebody collects garbage. */
static struct msg *push_msghdr (lua_State *L, struct msg_part *part,
                                 int *rc) {
  struct msg *m = msghdr_push(L, DATA, message_options, part, rc);
  *(struct msg **)lua_touserdata(L, -1) = NULL;
  return m;
}

static int prepare_message (lua_State *L, struct socket *s,
                            struct request *q, int how) {
  struct msg_part part = { (size_t)lua_tointeger(L, FROM), PIECE, 0, 0 };
  struct msg *m;
  int rc = 0;
  if (how == SEND_MESSAGES) {  /* it takes the array's place for a while */
    lua_pushvalue(L, DATA);
    lua_rawgeti(L, DATA, lua_tointeger(L, SENT) + 1);
    luaL_argcheck(L, lua_istable(L, -1), DATA, "array of messages expected");
    lua_replace(L, DATA);
  }
  m = push_msghdr(L, &part, &rc);
  if (part.upto < part.size && !socket_streams(s)) {  /* whole,
                                                    or not at all */
    refblock_release(&m->block);
    m = NULL;
    rc = -EMSGSIZE;
    if (!datagram_too_long(s, part.size)) {
      rc = 0;
      part.most = SIZE_MAX;
      m = push_msghdr(L, &part, &rc);
    }
  }
  if (how == SEND_MESSAGES) {
    lua_pushvalue(L, LAST + 1);
    lua_replace(L, DATA);
  }
  set_size(L, part.upto, part.size);
  if (m == NULL)
    return rc;
  if (part.from > part.size) {
    refblock_release(&m->block);
    luaL_argerror(L, DATA, "it was made smaller meanwhile");
  }
  *q = request_of(&kind_sendmsg, s->out.waitq.fd);
  request_msg(q, m);
  q->sqe.msg_flags = (unsigned)m->hdr.msg_flags | sending_flags(s);
  return rc;
}

bool send_worth_no_copy (const struct socket *s, int how, bool buffer,
                         size_t size) {
  return s->zero_copy && size >= ZERO_COPY
         && (how == SEND ? buffer : how == SEND_MESSAGE);
}

int send_prepare (lua_State *L, struct socket *s, struct request *q) {
  int how = (int)lua_tointeger(L, HOW);
  int rc = 0;
  if (how == SEND) rc = prepare_bytes(L, s, q);
  else if (how == CONNECT) rc = prepare_connect(L, q, s->out.waitq.fd);
  else rc = prepare_message(L, s, q, how);
  if (rc == 0 && !send_piece(L)
      && send_worth_no_copy(s, how, lua_type(L, DATA) == LUA_TUSERDATA,
                            (size_t)(lua_tointeger(L, SIZE)
                                     - lua_tointeger(L, FROM)))) {
    q->sqe.opcode = how == SEND ? IORING_OP_SEND_ZC : IORING_OP_SENDMSG_ZC;
    q->sqe.ioprio |= IORING_SEND_ZC_REPORT_USAGE;
  }
  lua_settop(L, LAST);
  return rc;
}

void send_check_messages (lua_State *L) {
  int array = lua_gettop(L) + 1;
  lua_pushvalue(L, DATA);
  for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, array); i++) {
    if (lua_rawgeti(L, array, i) != LUA_TTABLE)
      luaL_argerror(L, DATA, "array of messages expected");
    lua_replace(L, DATA);
    options_open(L, DATA, message_options);
    lua_pushliteral(L, "data");
    if (lua_rawget(L, DATA) != LUA_TNIL) arg_bytes(L, array + 1, DATA);
    lua_pushliteral(L, "name");
    if (lua_rawget(L, DATA) != LUA_TNIL)
      arg_address_in(L, array + 2, DATA);
    if (options_given(L, DATA, "iov") || options_given(L, DATA, "control")
        || options_given(L, DATA, "flags")) {
      int rc = 0;  /* (what can fail at run time fails when its turn comes) */
      struct msg_part none = { 0, 0, 0, 0 };
      refblock_release(&push_msghdr(L, &none, &rc)->block);
    }
    lua_settop(L, array);
  }
  lua_replace(L, DATA);
}
