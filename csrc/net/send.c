/*
** send: what a socket's tasks wait for outwards: `send`, its kin, `connect`.
**
** What the kernel takes at once needs no request, where a call of its own is
** cheaper; else see send_request.c. A stream takes all of it or says how much
** it took. Requests of one socket go one after another, so that the bytes of
** two tasks do not mix: who finds one under way waits in the line, connect
** among them. A long string goes in pieces, and the line is held meanwhile.
** Datagrams cannot mix, and those of several tasks are under way
** together.
**
** Where SO_ZEROCOPY asks for it, large ones go without a copy. They complete
** twice: when all has gone, which is the next one's turn, and when the memory
** is free, which is the end of the call.
*/

#include "compat.h"
#include "net/send.h"

#include "base/clock.h"
#include "ring/ring_submit.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/ring_object.h"
#include "net/datagram.h"

#include <errno.h>

/* What is no longer goes at once where the kernel has room for it. */
#define AT_ONCE 65536u

/* Where nothing tells of room for a datagram. */
#define PAUSE_NS 5000000

static int send_again (lua_State *L, int status, lua_KContext ctx);
static int send_ended (lua_State *L, struct task *t, struct socket *s,
                  int64_t deadline);


/* ---- the wait ---------------------------------------------------------- */

/* nil, message, errno, and for sends how much has gone. */
static int failed (lua_State *L, int n) {
  lua_pop(L, n - 3);
  if (lua_tointeger(L, HOW) == CONNECT)
    return 3;
  lua_pushvalue(L, SENT);
  return 4;
}

/* The kernel mostly has room for a small send, and a call that takes it there
** and then costs less than a request, its memory, its completion and a turn
** of the loop; but where calls are dear, a request costs less that can go with
** those of other tasks. False: it becomes a request, or it is others' turn. */
static bool at_once (const struct loop *loop, struct task *t,
                     const struct socket *s, const struct bytes *b,
                     const struct address *to) {
  bool alone = loop->first == NULL && sys_sq_ready(&loop->ring->io) == 0;
  ssize_t n;
  if (b->size > AT_ONCE || send_worth_no_copy(s, SEND, b->block, b->size)
      || !(loop->cheap || alone) || loop_unfair(t)
      || !send_at_once(s, b, to, &n))
    return false;
  t->res = (int32_t)n;
  t->data = (uint64_t)IORING_OP_SEND << 56;
  t->task_flags &= (uint8_t)~TASKF_TIMED_OUT;
  return true;
}

/* Of an array of datagrams as many as go at once. True if those were all. */
static bool send_plain (lua_State *L, struct task *t, const struct socket *s) {
  lua_Integer sent = lua_tointeger(L, SENT);
  lua_Integer all = (lua_Integer)lua_rawlen(L, DATA);
  unsigned n = 1;
  while (n > 0 && sent < all && !loop_unfair(t)) {
    n = sendmmsg_plain(L, s, DATA, sent + 1);
    sent += n;
  }
  lua_pushinteger(L, sent);
  lua_replace(L, SENT);
  return sent >= all;
}

/* Wait for room for a datagram to `to`, or to whom the socket is connected. */
static int wait_for_space (lua_State *L, struct task *t, struct socket *s,
                          const struct address *to, int64_t deadline) {
  struct op *op;
  int rc;
  loop_check(L, t);  /* (room that came before had a try) */
  rc = datagram_poll(L, s, to, &op);
  if (rc == -EAGAIN) {
    int64_t soon = clock_after(PAUSE_NS);
    return loop_wait(L, t, WAIT_SLEEP, &s->out.waitq,
                     soon < deadline ? soon : deadline,
                     (lua_KContext)deadline, send_again);
  }
  if (rc < 0)
    return failed(L, ring_push_failed(L, s->ring, rc));
  op->waiter = t;
  socket_waitq_serve(&s->out.waitq, op);
  t->ring = s->ring;
  return loop_wait(L, t, WAIT_AWAIT, op, deadline, (lua_KContext)deadline,
                   send_again);
}

/* It is too long, or there is no dup of a descriptor for it. */
static int not_prepared (lua_State *L, const struct socket *s, int err) {
  return failed(L, err == EMSGSIZE
    ? send_failed_as(L, s, (int)lua_tointeger(L, HOW), err)
    : fail(L, err, "sendmsg on socket (fd %d): a dup of a descriptor in its "
           "control", s->out.waitq.fd));
}

/* What is next goes by a call of its own, and `to` becomes whom it is for:
** what the call answers. An error of another kind has its values on the stack,
** whose number becomes `*values`. */
static ssize_t try_datagram (lua_State *L, struct socket *s,
                             struct address *to, int *values) {
  struct request q = {0};
  struct msg *m;
  ssize_t n = 0;
  int rc = send_prepare(L, s, &q);
  m = (struct msg *)q.pin[OP_PIN_MEMORY];
  if (rc == 0 && s->d) {
    refblock_fly(&m->block);  /* (which makes its header ready) */
    n = sendmsg(s->out.waitq.fd, &m->hdr, (int)q.sqe.msg_flags | MSG_DONTWAIT);
    if (n < 0) n = -errno;
    refblock_land(&m->block);
    *to = m->name;
  }
  if (m) refblock_release(&m->block);  /* (words may raise) */
  if (rc < 0) *values = not_prepared(L, s, -rc);
  else if (s->d == NULL)  /* guard: finalizers may have closed it */
    *values = failed(L, fail(L, EBADF, "the socket is closed"));
  else if (n == -EAGAIN && (q.sqe.msg_flags & MSG_DONTWAIT))
    *values = failed(L, send_failed_as(L, s, SEND_MESSAGE, EAGAIN));
  return n;
}

/* See datagram.h. */
static int go_datagram (lua_State *L, struct task *t, struct socket *s,
                        int64_t deadline) {
  int how = (int)lua_tointeger(L, HOW);
  for (;;) {
    const struct address *to = lua_touserdata(L, TO);
    struct address name = {0};
    int values = 0;
    ssize_t n;
    loop_reserve(L);
    if (loop_unfair(t))
      return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER,
                       (lua_KContext)deadline, send_again);
    if (how == SEND) {
      struct bytes b = arg_bytes(L, DATA, DATA);
      if (!send_at_once(s, &b, to, &n))
        n = -EAGAIN;
    }
    else {
      if (how == SEND_MESSAGES && send_plain(L, t, s)) {
        lua_pushvalue(L, SENT);
        return 1;
      }
      n = try_datagram(L, s, &name, &values);
      if (values > 0)
        return values;
      if (name.len > 0) to = &name;
    }
    if (n == -EAGAIN)
      return wait_for_space(L, t, s, to, deadline);
    t->res = (int32_t)n;
    t->data = (uint64_t)IORING_OP_SEND << 56;
    t->task_flags &= (uint8_t)~TASKF_TIMED_OUT;
    if (n < 0 || how != SEND_MESSAGES)
      return send_ended(L, t, s, deadline);
    lua_pushinteger(L, lua_tointeger(L, SENT) + 1);
    lua_replace(L, SENT);
  }
}

static int wait_for_turn (lua_State *L, struct task *t, struct socket *s,
                          int64_t deadline) {
  struct blocking b = { &t->node, WAIT_NOTHING, NULL, deadline };
  wait_join(&b, &s->out.waitq.q, WAIT_QUEUE);
  return loop_wait(L, t, b.wait, b.on, deadline, (lua_KContext)deadline,
                   send_again);
}

static int send_go (lua_State *L, struct task *t, int64_t deadline) {
  struct socket *s = lua_touserdata(L, SOCKET);
  struct request q = {0};
  struct op *op;
  int rc;
  if (s->d == NULL)
    return failed(L, fail(L, EBADF, "the socket is closed"));
  if (datagram_needs_space(s) && lua_tointeger(L, HOW) != CONNECT)
    return go_datagram(L, t, s, deadline);
  if (lua_tointeger(L, HOW) == SEND_MESSAGES && !socket_mixes(s)
      && send_plain(L, t, s)) {
    lua_pushvalue(L, SENT);
    return 1;
  }
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  if (send_busy(s, &t->node))
    return wait_for_turn(L, t, s, deadline);
  rc = send_prepare(L, s, &q);
  if (rc == 0 && s->d == NULL)  /* guard: finalizers may have closed it */
    rc = -EBADF;
  else if (rc < 0 && rc != -ENOMEM) {
    send_end_turn(L, s, &t->node);
    if (q.pin[OP_PIN_MEMORY]) refblock_release(q.pin[OP_PIN_MEMORY]);
    return not_prepared(L, s, -rc);
  }
  if (rc == 0) {
    q.pin[OP_PIN_FD] = &s->d->block;
    rc = ring_push_one(s->ring, &q, OP_LOOPED, &op);
  }
  /* the operation has counts of its own */
  if (q.pin[OP_PIN_AUX]) refblock_release(q.pin[OP_PIN_AUX]);
  if (q.pin[OP_PIN_MEMORY]) refblock_release(q.pin[OP_PIN_MEMORY]);
  if (s->d == NULL)
    return failed(L, fail(L, EBADF, "the socket is closed"));
  if (rc < 0) {
    send_end_turn(L, s, &t->node);
    return failed(L, ring_push_failed(L, s->ring, rc));
  }
  op->waiter = t;
  /* (the completion wakes the next) */
  if (!socket_waitq_unhold(&s->out.waitq, &t->node))
    turnq_end_turn(&s->out.waitq.q, &t->node);
  socket_waitq_serve(&s->out.waitq, op);
  if (socket_streams(s) && send_piece(L)) op->op_flags |= OP_PIECE;
  s->out.token = op->token;
  t->ring = s->ring;
  return loop_wait(L, t, WAIT_AWAIT, op, deadline, (lua_KContext)deadline,
                   send_again);
}

static void set_value (lua_State *L, int index, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_replace(L, index);
}

static int timed_out (lua_State *L) {
  int values = failed(L, fail_timeout(L));
  lua_Integer from = lua_tointeger(L, FROM);
  if (lua_tointeger(L, HOW) == SEND_MESSAGES && from > 0) {
    lua_pushinteger(L, from);  /* (of the next one) */
    values++;
  }
  return values;
}

/* Only the beginning of a message has gone into the stream. */
static int cut (lua_State *L, const struct task *t, lua_Integer n) {
  const struct socket *s = lua_touserdata(L, SOCKET);
  if (t->task_flags & TASKF_TIMED_OUT)
    return timed_out(L);
  if (s->d == NULL)
    return failed(L, fail(L, EBADF, "the socket was closed"));
  return failed(L, fail(L, EIO, "message %lld: only %lld of its %lld bytes "
                        "went", (long long)n,
                        (long long)lua_tointeger(L, FROM),
                        (long long)lua_tointeger(L, SIZE)));
}

static bool went_without_copy (const struct task *t) {
  return op_notifies((unsigned)(t->data >> 56));
}

/* All has gone, but whoever did not wait for more must not take the memory for
** free. */
static bool send_held (const struct task *t) {
  return went_without_copy(t) && !(t->flags & IORING_CQE_F_NOTIF);
}

/* All has gone, or so much that the rest is for another request. */
static int count_sent (lua_State *L, struct task *t, struct socket *s,
                  int64_t deadline) {
  int how = (int)lua_tointeger(L, HOW);
  lua_Integer from = lua_tointeger(L, FROM) + t->res, n = 1;
  bool more = socket_streams(s) && from < lua_tointeger(L, SIZE);
  if (how == CONNECT) {
    lua_pushboolean(L, 1);
    return 1;
  }
  set_value(L, FROM, from);
  if (how == SEND_MESSAGES) n = lua_tointeger(L, SENT) + 1;
  else set_value(L, SENT, from);
  if (how != SEND && more && from < lua_tointeger(L, UPTO))
    return cut(L, t, n);
  if (how == SEND_MESSAGES && !more) {
    set_value(L, SENT, n);
    set_value(L, FROM, 0);
    more = n < (lua_Integer)lua_rawlen(L, DATA);
  }
  if (more)
    return t->task_flags & TASKF_TIMED_OUT ? timed_out(L)
                                     : send_go(L, t, deadline);
  if (send_held(t))
    return t->task_flags & TASKF_TIMED_OUT
           ? failed(L, fail_timeout(L))
           : failed(L, fail(L, EBADF, "the socket was closed while the kernel "
                            "still had the memory to read"));
  lua_pushvalue(L, SENT);
  return 1;
}

/* What a send without copy has shown: an interface that copies all the same,
** or a kernel that cannot or will not, is not asked again. */
static bool send_refused (const struct task *t, struct socket *s) {
  bool no = t->res == -EINVAL || t->res == -EOPNOTSUPP || t->res == -ENOMEM
            || t->res == -ENOBUFS;
  /* (where nothing has gone the kernel says that it copied) */
  if (no || (t->res > 0 && (t->flags & IORING_NOTIF_USAGE_ZC_COPIED)))
    s->zero_copy = false;
  return no;
}

static int send_ended (lua_State *L, struct task *t, struct socket *s,
                  int64_t deadline) {
  if (went_without_copy(t) && send_refused(t, s))
    return send_go(L, t, deadline);
  if (t->res >= 0)
    return count_sent(L, t, s, deadline);
  if ((t->task_flags & TASKF_TIMED_OUT) && loop_cut_short(t->res))
    return failed(L, fail_timeout(L));
  if (s->d == NULL && loop_cut_short(t->res))
    return failed(L, fail(L, EBADF, "the socket was closed"));
  return failed(L, send_failed_as(L, s, (int)lua_tointeger(L, HOW), -t->res));
}

/* It has waited for room, or for another try, and not for a result. */
static bool waited_for_space (const struct task *t) {
  return t->wait == WAIT_TURN || t->wait == WAIT_SLEEP
         || (t->wait == WAIT_AWAIT && t->data >> 56 == IORING_OP_POLL_ADD);
}

/* Room that has come is a try, whatever came after it: as with a request. */
static bool send_is_writable (lua_State *L, const struct task *t) {
  return t->wait == WAIT_AWAIT && waited_for_space(t) && t->res >= 0
         && lua_tointeger(L, HOW) != SEND_MESSAGES;
}

/* Has the last request taken all that there was? */
static bool send_has_gone (lua_State *L, const struct task *t,
                      const struct socket *s) {
  int how = (int)lua_tointeger(L, HOW);
  if (t->wait != WAIT_AWAIT || waited_for_space(t) || t->res < 0
      || send_held(t))
    return false;
  if (how == SEND_MESSAGES
      && lua_tointeger(L, SENT) + 1 < (lua_Integer)lua_rawlen(L, DATA))
    return false;
  return how == CONNECT || !socket_streams(s)
         || lua_tointeger(L, FROM) + t->res >= lua_tointeger(L, SIZE);
}

/* Is there a next piece, and a request for it to come? */
static bool send_goes_on (lua_State *L, const struct task *t,
                     const struct socket *s) {
  lua_Integer from = lua_tointeger(L, FROM) + t->res;
  return t->res >= 0 && s->d
         && !(t->task_flags & (TASKF_CANCELLED | TASKF_TIMED_OUT))
         && from < lua_tointeger(L, SIZE)
         && (lua_tointeger(L, HOW) == SEND || from >= lua_tointeger(L, UPTO));
}

static int send_again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct socket *s = lua_touserdata(L, SOCKET);
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, send_again);
  if (s->out.waitq.holder == t && !send_goes_on(L, t, s))
    send_end_turn(L, s, &t->node);  /* guard: or the queue stands still */
  /* (what has gone cannot be taken back: that is told, and the next wait of
     a cancelled task raises) */
  if ((t->task_flags & TASKF_CANCELLED) && !send_has_gone(L, t, s)
      && !send_is_writable(L, t)) {
    send_end_turn(L, s, &t->node);  /* guard: or the queue stands still */
    loop_check(L, t);
  }
  if (t->wait == WAIT_QUEUE) {
    if (t->task_flags & TASKF_TIMED_OUT) return failed(L, fail_timeout(L));
    return send_go(L, t, (int64_t)ctx);
  }
  if (waited_for_space(t)) {
    if (s->d == NULL)
      return failed(L, fail(L, EBADF, "the socket was closed"));
    return (t->task_flags & TASKF_TIMED_OUT) && clock_now() >= (int64_t)ctx
           && !send_is_writable(L, t) ? failed(L, fail_timeout(L))
                              : send_go(L, t, (int64_t)ctx);
  }
  return send_ended(L, t, s, (int64_t)ctx);
}

static struct task *send_enter (lua_State *L, struct socket *s,
                                const char *what) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, what);
  s->ring = loop->ring;
  s->out.waitq.describe = send_describe;
  return t;
}

/* SOCKET, DATA and TO are there. */
static void send_lay_out (lua_State *L, int how, size_t size) {
  lua_settop(L, TO);
  lua_pushinteger(L, how);
  for (int i = SENT; i < SIZE; i++) lua_pushinteger(L, 0);
  lua_pushinteger(L, (lua_Integer)size);
}

static int send_begin (lua_State *L, struct socket *s, int how, int64_t ns,
                  const char *what) {
  struct task *t = send_enter(L, s, what);
  send_lay_out(L, how, 0);
  return send_go(L, t, clock_after(ns));
}

/* Only what does not go at once and whole needs the stack, and an address
** that is Lua's; until then nothing allocates, and no finalizer runs. */
static int begin_send (lua_State *L, struct socket *s, struct bytes b,
                       const struct address *to, int64_t ns,
                       const char *what) {
  struct task *t = send_enter(L, s, what);
  bool gone = !send_busy(s, NULL) && at_once(state_of(L)->loop, t, s, &b, to);
  if (gone && t->res >= 0 && (size_t)t->res == b.size) {
    lua_pushinteger(L, t->res);
    return 1;
  }
  if (gone && t->res >= 0)  /* guard: what raises would hide how much */
    lua_settop(L, DATA);    /* (and a connected stream needs no address) */
  else if (to && lua_type(L, TO) == LUA_TSTRING) {
    sockaddr_push(L, to);
    lua_replace(L, TO);
  }
  send_lay_out(L, SEND, b.size);
  return gone ? send_ended(L, t, s, clock_after(ns))
              : send_go(L, t, clock_after(ns));
}


/* ---- methods ----------------------------------------------------------- */

/* socket:send(bytes [, timeout]): how many; of a stream all */
static int s_send (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int64_t ns = arg_seconds(L, 3);
  struct bytes b = arg_bytes(L, DATA, DATA);
  lua_settop(L, DATA);
  return begin_send(L, s, b, NULL, ns, "socket:send");
}

/* socket:sendto(bytes, address [, timeout]) */
static int s_sendto (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  struct bytes b = arg_bytes(L, DATA, DATA);
  const struct address *to = class_test(L, TO, CLASS_SOCKADDR);
  struct address a;
  int64_t ns;
  if (to == NULL) {
    a = arg_address(L, TO);
    to = &a;
  }
  ns = arg_seconds(L, 4);
  return begin_send(L, s, b, to, ns, "socket:sendto");
}

/* socket:sendmsg({ data= | iov=, name=, control=, flags= } [, timeout]), or
** an array of such tables: how many of them went */
static int s_sendmsg (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int64_t ns = arg_seconds(L, 3);
  bool many;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_pushnil(L);
  if (lua_next(L, 2) == 0) {  /* an array of none */
    loop_enter(L, state_of(L)->loop, "socket:sendmsg");
    lua_pushinteger(L, 0);
    return 1;
  }
  many = lua_rawgeti(L, 2, 1) != LUA_TNIL;
  lua_settop(L, DATA);
  if (many) send_check_messages(L);
  return send_begin(L, s, many ? SEND_MESSAGES : SEND_MESSAGE, ns,
               "socket:sendmsg");
}

/* socket:connect(address [, timeout]): true */
static int s_connect (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  struct address a = arg_address(L, 2);
  int64_t ns = arg_seconds(L, 3);
  lua_settop(L, DATA);
  sockaddr_push(L, &a);
  return send_begin(L, s, CONNECT, ns, "socket:connect");
}


static const luaL_Reg methods[] = {
  {"send", s_send},
  {"sendto", s_sendto},
  {"sendmsg", s_sendmsg},
  {"connect", s_connect},
  {NULL, NULL}
};

void send_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
}
