/*
** send_request: see send.h. What a send or connect asks of the kernel, whose
** turn it is to ask, and how it is described. What must not break: no request
** names memory of Lua's. A string is copied into memory of the request; a
** buffer or lease goes as it is, and is pinned.
*/

#include "compat.h"
#include "net/send.h"

#include "lua/errors.h"
#include "lua/options.h"
#include "api/prep_build.h"
#include "net/datagram.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The least size for zero copy. To copy less takes less time, even if the
** interface does not copy (bench/zero_copy.lua). */
#define ZERO_COPY 49152u

/* Datagrams of one sendmmsg call. */
#define MAX_BATCH 64


/* ---- turns ------------------------------------------------------------- */

static bool send_in_flight (const struct socket *s) {
  const struct op *op = s->ring ? socket_op(s, &s->out) : NULL;
  return op && op->state == OP_FLYING && !(op->op_flags & OP_NOTIFYING);
}

bool send_in_turn (const struct socket *s, struct wait_node *node) {
  const struct task *holder = s->out.waitq.holder;
  return !send_in_flight(s)
         && (holder ? &holder->node == node
                    : turnq_may_take(&s->out.waitq.q, node, 1));
}

bool send_busy (const struct socket *s, struct wait_node *node) {
  /* guard: what was written goes first */
  return socket_is_ordered(s) && (output_size(&s->output) > 0
                                  || !send_in_turn(s, node));
}

void send_end_turn (lua_State *L, struct socket *s, struct wait_node *node) {
  if (node == NULL || !object_waitq_unhold(&s->out.waitq, node))
    turnq_end_turn(&s->out.waitq.q, node);
  if (s->d && s->out.waitq.q.turns == 0
      && !(socket_is_ordered(s) && send_in_flight(s)))
    turnq_wake(state_of(L)->loop, &s->out.waitq.q);
}

bool send_prefers_call (const struct loop *loop) {
  return loop->cheap || (loop->first == NULL
                         && sys_sq_ready(&loop->ring->io) == 0);
}

bool send_at_once (const struct socket *s, const struct bytes *b,
                   const struct address *to, ssize_t *n) {
  *n = sendto(s->out.waitq.fd, b->at, b->size, MSG_DONTWAIT | MSG_NOSIGNAL,
              to ? &to->any : NULL, to ? to->len : 0);
  if (*n < 0) *n = -errno;
  return *n != -EAGAIN && *n != -EINTR;
}


/* ---- the write buffer -------------------------------------------------- */

static inline struct socket *socket_of_output (struct output *o) {
  return (struct socket *)((char *)o - offsetof(struct socket, output));
}

static void send_output_check (lua_State *L, int arg) {
  struct socket *s = socket_check(L, arg);
  if (!socket_is_stream(s))
    luaL_argerror(L, arg, "a socket of messages has no bytes to write: use "
                  "its send");
  s->ring = state_of(L)->loop ? state_of(L)->loop->ring : NULL;
}

static bool send_output_may_take (struct output *o, struct wait_node *node) {
  return send_in_turn(socket_of_output(o), node);
}

static void send_output_end_turn (lua_State *L, struct output *o,
                                  struct wait_node *node) {
  send_end_turn(L, socket_of_output(o), node);
}

void send_output_open (lua_State *L) {
  static const struct output_ops ops = {
    send_output_check, send_output_may_take, send_output_end_turn, NULL, NULL
  };
  struct state *s = lua_touserdata(L, -1);
  s->socket_output = &ops;
}


/* ---- requests ---------------------------------------------------------- */

static void send_set_size (lua_State *L, size_t upto, size_t size) {
  lua_pushinteger(L, (lua_Integer)upto);
  lua_replace(L, UPTO);
  lua_pushinteger(L, (lua_Integer)size);
  lua_replace(L, SIZE);
}

/* (A stream sends all, or the result is how much it sent.) */
static unsigned send_flags (const struct socket *s) {
  return MSG_NOSIGNAL | (socket_is_stream(s) ? MSG_WAITALL : 0);
}

bool send_worth_zero_copy (const struct socket *s, int how, bool buffer,
                           size_t size) {
  return s->zero_copy && size >= ZERO_COPY
         && (how == SEND ? buffer : how == SEND_MESSAGE);
}

/* A send of what is at DATA and of the SIZE that was set. */
static struct request send_request_of (lua_State *L, const struct socket *s,
                                       int how) {
  size_t left = (size_t)(lua_tointeger(L, SIZE) - lua_tointeger(L, FROM));
  bool buffer = lua_type(L, DATA) == LUA_TUSERDATA;
  bool zero_copy = !send_piece(L)
                   && send_worth_zero_copy(s, how, buffer, left);
  const struct request *kind = how == SEND ? &kind_send : &kind_sendmsg;
  struct request q;
  if (zero_copy) kind = how == SEND ? &kind_send_zc : &kind_sendmsg_zc;
  q = request_of(kind, s->out.waitq.fd);
  if (zero_copy) q.sqe.ioprio = IORING_SEND_ZC_REPORT_USAGE;
  q.sqe.msg_flags = send_flags(s);
  return q;
}

static int send_prepare_bytes (lua_State *L, struct socket *s,
                               struct request *q) {
  struct bytes b = arg_bytes(L, DATA, DATA);
  const struct address *to = lua_touserdata(L, TO);
  size_t from = (size_t)lua_tointeger(L, FROM), size = b.size - from;
  struct copied copies[2];
  unsigned n = 0;
  luaL_argcheck(L, from <= b.size, DATA, "it was made smaller meanwhile");
  if (size > INT32_MAX) size = INT32_MAX;
  if (b.block == NULL && socket_is_stream(s) && size > PIECE) size = PIECE;
  if (b.block == NULL && size > PIECE && datagram_too_long(s, size))
    return -EMSGSIZE;
  send_set_size(L, from + size, b.size);
  *q = send_request_of(L, s, SEND);
  q->sqe.len = (uint32_t)size;
  if (b.block) {
    refblock_retain(b.block);
    request_lend(q, PLACE(addr), b.at + from, b.block);
  }
  else copies[n++] = (struct copied){ b.at + from, size, PLACE(addr) };
  if (to)
    copies[n++] = (struct copied){ to->bytes, to->len,
                                   request_address(q, to) };
  return request_copy(state_of(L)->account, q, copies, n) ? 0 : -ENOMEM;
}

static int send_prepare_connect (lua_State *L, struct request *q, int fd) {
  const struct address *to = lua_touserdata(L, TO);
  struct copied copy = { to->bytes, to->len, 0 };
  *q = request_of(&kind_connect, fd);
  copy.place = request_address(q, to);
  return request_copy(state_of(L)->account, q, &copy, 1) ? 0 : -ENOMEM;
}

static const char *const message_options[] = {
  "data", "iov", "name", "control", "flags", NULL
};

/* Only the request has it, and no userdata: so its dups of descriptors are
** closed when the request has completed, and not when garbage is collected. */
static struct msg *send_prepare_msghdr (lua_State *L, struct msg_part *part,
                                        int *rc) {
  struct msg *m = msghdr_push(L, DATA, message_options, part, rc);
  *(struct msg **)lua_touserdata(L, -1) = NULL;
  return m;
}

static int send_prepare_message (lua_State *L, struct socket *s,
                                 struct request *q, int how) {
  struct msg_part part = { (size_t)lua_tointeger(L, FROM), PIECE, 0, 0 };
  struct msg *m;
  int rc = 0;
  if (how == SEND_MESSAGES) {  /* it is at DATA for a while */
    lua_pushvalue(L, DATA);
    lua_rawgeti(L, DATA, lua_tointeger(L, SENT) + 1);
    luaL_argcheck(L, lua_istable(L, -1), DATA, "array of messages expected");
    lua_replace(L, DATA);
  }
  m = send_prepare_msghdr(L, &part, &rc);
  if (part.upto < part.size && !socket_is_stream(s)) {  /* no pieces */
    refblock_release(&m->block);
    m = NULL;
    rc = -EMSGSIZE;
    if (!datagram_too_long(s, part.size)) {
      rc = 0;
      part.most = SIZE_MAX;
      m = send_prepare_msghdr(L, &part, &rc);
    }
  }
  if (how == SEND_MESSAGES) {
    lua_pushvalue(L, LAST + 1);
    lua_replace(L, DATA);
  }
  send_set_size(L, part.upto, part.size);
  if (m == NULL)
    return rc;
  if (part.from > part.size) {
    refblock_release(&m->block);
    luaL_argerror(L, DATA, "it was made smaller meanwhile");
  }
  *q = send_request_of(L, s, how);
  request_msg(q, m);
  q->sqe.msg_flags |= (unsigned)m->hdr.msg_flags;
  return rc;
}

int send_prepare (lua_State *L, struct socket *s, struct request *q) {
  int how = (int)lua_tointeger(L, HOW);
  int rc = 0;
  if (how == SEND) rc = send_prepare_bytes(L, s, q);
  else if (how == CONNECT) rc = send_prepare_connect(L, q, s->out.waitq.fd);
  else rc = send_prepare_message(L, s, q, how);
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
    if (options_push(L, DATA, "data") != LUA_TNIL)
      arg_bytes(L, array + 1, DATA);
    if (options_push(L, DATA, "name") != LUA_TNIL)
      arg_address_in(L, array + 2, DATA);
    if (options_given(L, DATA, "iov") || options_given(L, DATA, "control")
        || options_given(L, DATA, "flags")) {
      int rc = 0;  /* (errors of the system are for its send) */
      struct msg_part none = { 0, 0, 0, 0 };
      refblock_release(&send_prepare_msghdr(L, &none, &rc)->block);
    }
    lua_settop(L, array);
  }
  lua_replace(L, DATA);
}


/* ---- sendmmsg ---------------------------------------------------------- */

/* The parts of a message that its mmsghdr refers to. */
struct parts {
  struct iovec data;
  const struct address *name;
  struct address parsed;      /* if the name is a string */
};

static bool plain_name (lua_State *L, int index, struct parts *p) {
  const char *text;
  size_t n;
  p->name = class_at(L, state_of(L), index, CLASS_SOCKADDR);
  if (p->name != NULL)
    return true;
  if (lua_type(L, index) != LUA_TSTRING)
    return false;
  text = lua_tolstring(L, index, &n);
  memset(&p->parsed, 0, sizeof(p->parsed));
  p->name = &p->parsed;
  return address_parse(&p->parsed, text, n) == NULL;
}

/* Is the message on top of the stack plain? (By lua_next, which creates no
** strings.) */
static bool plain_message (lua_State *L, struct parts *p) {
  int message = lua_gettop(L);
  bool plain = true, has_data = false;
  p->name = NULL;
  lua_pushnil(L);
  while (plain && lua_next(L, message)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2)
                                                     : "";
    if (strcmp(key, "data") == 0) {
      struct bytes b;
      plain = has_data = bytes_at(L, lua_gettop(L), &b);
      if (plain) {
        p->data.iov_base = (void *)(uintptr_t)b.at;
        p->data.iov_len = b.size;
      }
    }
    else
      plain = strcmp(key, "name") == 0 && plain_name(L, lua_gettop(L), p);
    lua_pop(L, 1);
  }
  lua_settop(L, message);
  return plain && has_data;
}

static void fill_mmsghdr (struct mmsghdr *m, struct parts *p) {
  memset(m, 0, sizeof(*m));
  m->msg_hdr.msg_iov = &p->data;
  m->msg_hdr.msg_iovlen = 1;
  if (p->name) {
    m->msg_hdr.msg_name = (void *)(uintptr_t)p->name->bytes;
    m->msg_hdr.msg_namelen = p->name->len;
  }
}

unsigned sendmmsg_plain (lua_State *L, const struct socket *s, int array,
                         lua_Integer first) {
  struct mmsghdr messages[MAX_BATCH];
  struct parts parts[MAX_BATCH];
  unsigned n = 0;
  int sent;
  while (n < MAX_BATCH) {
    bool plain = lua_rawgeti(L, array, first + (lua_Integer)n) == LUA_TTABLE
                 && plain_message(L, &parts[n]);
    lua_pop(L, 1);
    if (!plain) break;
    fill_mmsghdr(&messages[n], &parts[n]);
    n++;
  }
  sent = n > 0 ? sendmmsg(s->out.waitq.fd, messages, n,
                          MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
  return sent > 0 ? (unsigned)sent : 0;
}


/* ---- descriptions ------------------------------------------------------ */

/* Push the address of the message that failed, as a string; or NULL and
** nil. */
static const char *send_push_address (lua_State *L, int how) {
  const struct address *to = lua_touserdata(L, TO);
  if (how == SEND_MESSAGE || how == SEND_MESSAGES) {
    if (how == SEND_MESSAGE) lua_pushvalue(L, DATA);
    else lua_rawgeti(L, DATA, lua_tointeger(L, SENT) + 1);
    if (lua_istable(L, -1))  /* (the array may have changed) */
      options_push(L, lua_gettop(L), "name");
    if (lua_type(L, -1) == LUA_TSTRING)
      return lua_tostring(L, -1);
    to = class_test(L, lua_gettop(L), CLASS_SOCKADDR);
  }
  if (to == NULL) {
    lua_pushnil(L);
    return NULL;
  }
  else {
    char text[ADDRESS_TEXT];
    return lua_pushlstring(L, text, address_text(to, text));
  }
}

int send_failed_as (lua_State *L, const struct socket *s, int how,
                    int err) {
  static const char *const names[] = { "send", "sendmsg", "sendmsg",
                                       "connect" };
  const char *to = send_push_address(L, how);
  if (to == NULL)
    lua_pushfstring(L, "%s on socket (fd %d)", names[how], s->out.waitq.fd);
  else if (how == CONNECT)
    lua_pushfstring(L, "connect to %s", to);
  else
    lua_pushfstring(L, "%s to %s on socket (fd %d)", names[how], to,
                    s->out.waitq.fd);
  return fail_cured(L, how == CONNECT ? IORING_OP_CONNECT : IORING_OP_SEND,
                    err);
}


/* (A push may run finalizers, which may close the socket and the coroutine: so
** all is read before the first.) */
void send_describe (lua_State *L, const struct object_waitq *waitq,
                    lua_State *co) {
  int how = (int)lua_tointeger(co, HOW), fd = waitq->fd;
  lua_Integer size = lua_tointeger(co, SIZE), sent = lua_tointeger(co, SENT);
  const struct address *to = lua_touserdata(co, TO);
  char text[ADDRESS_TEXT + 5] = "";
  if (to) {
    memcpy(text, " to ", 4);
    text[4 + address_text(to, text + 4)] = '\0';
  }
  if (lua_type(co, HOW) != LUA_TNUMBER)  /* (a write or a flush) */
    lua_pushfstring(L, "to write to socket (fd %d)", fd);
  else if (how == CONNECT)
    lua_pushfstring(L, "to connect socket (fd %d)%s", fd, text);
  else if (how == SEND)
    lua_pushfstring(L, "to send %I bytes%s on socket (fd %d)",
                    (LUAI_UACINT)size, text, fd);
  else
    lua_pushfstring(L, "to send %s on socket (fd %d)", how == SEND_MESSAGES
                    ? "messages" : how == SEND_FILE ? "a file" : "a message",
                    fd);
  if (sent > 0) {
    lua_pushfstring(L, "%s, of which %I went", lua_tostring(L, -1),
                    (LUAI_UACINT)sent);
    lua_remove(L, -2);
  }
}
