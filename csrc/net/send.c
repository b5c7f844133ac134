/*
** send: the waits on a socket's send side: `send` and its variants, `connect`.
**
** A small send is a system call that does not wait, if that is cheaper than a
** request (send_request.c) and the kernel takes it at once. A stream sends
** everything, or the result is how much it sent. Requests of one socket go one
** after another, so that the bytes of two tasks do not mix: a task that finds
** one in flight waits in the queue, and so does connect. A long string is sent
** in pieces, and its task keeps its turn between them. Datagrams cannot mix,
** so those of several tasks are in flight together.
**
** With SO_ZEROCOPY large sends use zero copy. They complete twice: by the
** result, after which the next task has its turn, and by the notification that
** the memory is free, which ends the call.
**
** What must not break: a task that ends its wait ends its turn too, or the
** queue stands still; a call that reports success no longer pins its buffer.
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

/* The largest send that is tried as a system call first. */
#define AT_ONCE 65536u

/* Before another try, if no poll can tell when there is space. */
#define PAUSE_NS 5000000

static int send_again (lua_State *L, int status, lua_KContext ctx);
static int send_ended (lua_State *L, struct task *t, struct socket *s,
                       int64_t deadline);


/* ---- the wait ---------------------------------------------------------- */

/* The call failed and pushed `n` values: keep nil, message, errno, and for
** sends add how much was sent. */
static int send_fail (lua_State *L, int n) {
  lua_pop(L, n - 3);
  if (lua_tointeger(L, HOW) == CONNECT)
    return 3;
  lua_pushvalue(L, SENT);
  return 4;
}

/* Send by a call. False: make a request, or let other tasks run first. */
static bool send_try (const struct loop *loop, struct task *t,
                      const struct socket *s, const struct bytes *b,
                      const struct address *to) {
  ssize_t n;
  if (b->size > AT_ONCE || send_worth_zero_copy(s, SEND, b->block, b->size)
      || !send_prefers_call(loop) || loop_unfair(t)
      || !send_at_once(s, b, to, &n))
    return false;
  t->res = (int32_t)n;
  t->data = (uint64_t)IORING_OP_SEND << 56;
  t->task_flags &= (uint8_t)~TASKF_TIMED_OUT;
  return true;
}

/* Send as many of an array of datagrams as the kernel takes at once. True if
** those were all. */
static bool send_batch (lua_State *L, struct task *t, const struct socket *s) {
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

/* Wait until a datagram to `to`, or to the connected peer, can be sent. */
static int send_wait_writable (lua_State *L, struct task *t, struct socket *s,
                               const struct address *to, int64_t deadline) {
  struct op *op;
  int rc;
  loop_check(L, t);  /* (after a poll that succeeded there was a try) */
  rc = datagram_poll(L, s, to, &op);
  if (rc == -EAGAIN) {
    int64_t soon = loop_deadline(state_of(L)->loop, PAUSE_NS);
    return loop_wait(L, t, WAIT_SLEEP, &s->out.waitq,
                     soon < deadline ? soon : deadline,
                     (lua_KContext)deadline, send_again);
  }
  if (rc < 0)
    return send_fail(L, ring_push_failed(L, s->ring, rc));
  op->waiter = t;
  object_waitq_serve(&s->out.waitq, op);
  t->ring = s->ring;
  return loop_wait(L, t, WAIT_AWAIT, op, deadline, (lua_KContext)deadline,
                   send_again);
}

/* It is too long, or a descriptor in it could not be duplicated. */
static int send_prepare_failed (lua_State *L, const struct socket *s,
                                int err) {
  return send_fail(L, err == EMSGSIZE
    ? send_failed_as(L, s, (int)lua_tointeger(L, HOW), err)
    : fail(L, err, "sendmsg on socket (fd %d): a dup of a descriptor in its "
           "control", s->out.waitq.fd));
}

/* Send the next message by sendmsg(2): its result or -errno, and `to` becomes
** the message's address. For another error the values of the call are pushed,
** and `*values` is their number. */
static ssize_t sendmsg_at_once (lua_State *L, struct socket *s,
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
  if (m) refblock_release(&m->block);  /* (a description may raise) */
  if (rc < 0) *values = send_prepare_failed(L, s, -rc);
  else if (s->d == NULL)  /* guard: finalizers may have closed it */
    *values = send_fail(L, fail(L, EBADF, "the socket is closed"));
  else if (n == -EAGAIN && (q.sqe.msg_flags & MSG_DONTWAIT))
    *values = send_fail(L, send_failed_as(L, s, SEND_MESSAGE, EAGAIN));
  return n;
}

/* Send on a unix datagram socket, without a request: see datagram.h. */
static int send_datagram (lua_State *L, struct task *t, struct socket *s,
                          int64_t deadline) {
  int how = (int)lua_tointeger(L, HOW);
  for (;;) {
    const struct address *to = lua_touserdata(L, TO);
    struct address name = {0};
    int values = 0;
    ssize_t n;
    loop_reserve(L);
    if (loop_unfair(t))
      return loop_wait(L, t, WAIT_YIELD, NULL, CLOCK_NEVER,
                       (lua_KContext)deadline, send_again);
    if (how == SEND) {
      struct bytes b = arg_bytes(L, DATA, DATA);
      if (!send_at_once(s, &b, to, &n))
        n = -EAGAIN;
    }
    else {
      if (how == SEND_MESSAGES && send_batch(L, t, s)) {
        lua_pushvalue(L, SENT);
        return 1;
      }
      n = sendmsg_at_once(L, s, &name, &values);
      if (values > 0)
        return values;
      if (name.len > 0) to = &name;
    }
    if (n == -EAGAIN)
      return send_wait_writable(L, t, s, to, deadline);
    t->res = (int32_t)n;
    t->data = (uint64_t)IORING_OP_SEND << 56;
    t->task_flags &= (uint8_t)~TASKF_TIMED_OUT;
    if (n < 0 || how != SEND_MESSAGES)
      return send_ended(L, t, s, deadline);
    lua_pushinteger(L, lua_tointeger(L, SENT) + 1);
    lua_replace(L, SENT);
  }
}

static int send_wait_turn (lua_State *L, struct task *t, struct socket *s,
                           int64_t deadline) {
  struct blocking b = { &t->node, WAIT_NOTHING, NULL, deadline };
  int rc = output_start(&s->output, state_of(L)->loop);
  if (rc < 0)
    return send_fail(L, ring_push_failed(L, s->ring, rc));
  wait_join(&b, &s->out.waitq.q, WAIT_QUEUE);
  return loop_wait(L, t, b.wait, b.on, deadline, (lua_KContext)deadline,
                   send_again);
}

static int send_start (lua_State *L, struct task *t, int64_t deadline) {
  struct socket *s = class_raw(L, SOCKET, CLASS_SOCKET);
  struct request q = {0};
  struct op *op;
  int rc;
  if (endpoint_closed(s->d)) {  /* guard: its number may be another file's */
    if (s->d) send_end_turn(L, s, &t->node);
    return send_fail(L, fail(L, EBADF, "the socket is closed"));
  }
  if (datagram_needs_poll(s) && lua_tointeger(L, HOW) != CONNECT)
    return send_datagram(L, t, s, deadline);
  if (lua_tointeger(L, HOW) == SEND_MESSAGES && !socket_is_ordered(s)
      && send_batch(L, t, s)) {
    lua_pushvalue(L, SENT);
    return 1;
  }
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  if (send_busy(s, &t->node))
    return send_wait_turn(L, t, s, deadline);
  rc = send_prepare(L, s, &q);
  if (rc == 0 && s->d == NULL)  /* guard: finalizers may have closed it */
    rc = -EBADF;
  else if (rc == 0 && t->task_flags & TASKF_CANCELLED)  /* guard: the same */
    rc = -ECANCELED;
  else if (rc < 0 && rc != -ENOMEM) {
    send_end_turn(L, s, &t->node);
    if (q.pin[OP_PIN_MEMORY]) refblock_release(q.pin[OP_PIN_MEMORY]);
    return send_prepare_failed(L, s, -rc);
  }
  if (rc == 0) {
    q.pin[OP_PIN_FD] = &s->d->block;
    rc = ring_push_one(s->ring, &q, OP_LOOPED, &op);
  }
  /* the operation has counts of its own */
  if (q.pin[OP_PIN_AUX]) refblock_release(q.pin[OP_PIN_AUX]);
  if (q.pin[OP_PIN_MEMORY]) refblock_release(q.pin[OP_PIN_MEMORY]);
  if (s->d == NULL)
    return send_fail(L, fail(L, EBADF, "the socket is closed"));
  if (rc < 0) {
    send_end_turn(L, s, &t->node);
    if (rc == -ECANCELED) loop_check(L, t);
    return send_fail(L, ring_push_failed(L, s->ring, rc));
  }
  op->waiter = t;
  /* (the completion wakes the next) */
  if (!object_waitq_unhold(&s->out.waitq, &t->node))
    turnq_end_turn(&s->out.waitq.q, &t->node);
  object_waitq_serve(&s->out.waitq, op);
  if (socket_is_stream(s) && send_piece(L)) op->op_flags |= OP_PIECE;
  s->out.token = op->token;
  t->ring = s->ring;
  return loop_wait(L, t, WAIT_AWAIT, op, deadline, (lua_KContext)deadline,
                   send_again);
}

static void send_set_value (lua_State *L, int index, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_replace(L, index);
}

static int send_timed_out (lua_State *L) {
  int values = send_fail(L, fail_timeout(L));
  lua_Integer from = lua_tointeger(L, FROM);
  if (lua_tointeger(L, HOW) == SEND_MESSAGES && from > 0) {
    lua_pushinteger(L, from);  /* (of the next message) */
    values++;
  }
  return values;
}

/* Only the beginning of a message was sent to the stream. */
static int send_truncated (lua_State *L, const struct task *t, lua_Integer n) {
  const struct socket *s = class_raw(L, SOCKET, CLASS_SOCKET);
  if (t->task_flags & TASKF_TIMED_OUT)
    return send_timed_out(L);
  if (s->d == NULL)
    return send_fail(L, fail(L, EBADF, "the socket was closed"));
  return send_fail(L, fail(L, EIO, "message %lld: only %lld of its %lld bytes "
                           "went", (long long)n,
                           (long long)lua_tointeger(L, FROM),
                           (long long)lua_tointeger(L, SIZE)));
}

static bool send_was_zero_copy (const struct task *t) {
  return op_notifies((unsigned)(t->data >> 56));
}

/* All was sent, but the kernel still pins the buffer: the call must not report
** success, after which the buffer would be reused. */
static bool send_is_pinned (const struct task *t) {
  return send_was_zero_copy(t) && !(t->flags & IORING_CQE_F_NOTIF);
}

/* Count what was sent. The call ends, or the rest needs another request. */
static int send_count (lua_State *L, struct task *t, struct socket *s,
                       int64_t deadline) {
  int how = (int)lua_tointeger(L, HOW);
  lua_Integer from = lua_tointeger(L, FROM) + t->res, n = 1;
  bool more = socket_is_stream(s) && from < lua_tointeger(L, SIZE);
  if (how == CONNECT) {
    lua_pushboolean(L, 1);
    return 1;
  }
  send_set_value(L, FROM, from);
  if (how == SEND_MESSAGES) n = lua_tointeger(L, SENT) + 1;
  else send_set_value(L, SENT, from);
  if (how != SEND && more && from < lua_tointeger(L, UPTO))
    return send_truncated(L, t, n);
  if (how == SEND_MESSAGES && !more) {
    send_set_value(L, SENT, n);
    send_set_value(L, FROM, 0);
    more = n < (lua_Integer)lua_rawlen(L, DATA);
  }
  if (more)
    return t->task_flags & TASKF_TIMED_OUT ? send_timed_out(L)
                                           : send_start(L, t, deadline);
  if (send_is_pinned(t))
    return t->task_flags & TASKF_TIMED_OUT
           ? send_fail(L, fail_timeout(L))
           : send_fail(L, fail(L, EBADF, "the socket was closed while the "
                               "kernel still had the memory to read"));
  lua_pushvalue(L, SENT);
  return 1;
}

/* Zero copy was refused: send again with a copy. After that, and also if the
** interface copied all the same, the socket no longer uses it. */
static bool send_refused (const struct task *t, struct socket *s) {
  bool no = t->res == -EINVAL || t->res == -EOPNOTSUPP || t->res == -ENOMEM
            || t->res == -ENOBUFS;
  /* (if nothing was sent the kernel reports a copy) */
  if (no || (t->res > 0 && (t->flags & IORING_NOTIF_USAGE_ZC_COPIED)))
    s->zero_copy = false;
  return no;
}

static int send_ended (lua_State *L, struct task *t, struct socket *s,
                       int64_t deadline) {
  if (send_was_zero_copy(t) && send_refused(t, s))
    return send_start(L, t, deadline);
  if (t->res >= 0)
    return send_count(L, t, s, deadline);
  if ((t->task_flags & TASKF_TIMED_OUT) && loop_cut_short(t->res))
    return send_fail(L, fail_timeout(L));
  if (endpoint_closed(s->d) && loop_cut_short(t->res))
    return send_fail(L, fail(L, EBADF, "the socket was closed"));
  return send_fail(L, send_failed_as(L, s, (int)lua_tointeger(L, HOW),
                                     -t->res));
}

/* It has waited to try again, by a poll or a pause, and not for a result. */
static bool send_waited_to_retry (const struct task *t) {
  return t->wait == WAIT_YIELD || t->wait == WAIT_SLEEP
         || (t->wait == WAIT_AWAIT && t->data >> 56 == IORING_OP_POLL_ADD);
}

/* After a poll that succeeded there is a try, even if the task was cancelled
** or timed out since: a request would have sent by then too. */
static bool send_is_writable (lua_State *L, const struct task *t) {
  return t->wait == WAIT_AWAIT && send_waited_to_retry(t) && t->res >= 0
         && lua_tointeger(L, HOW) != SEND_MESSAGES;
}

/* Has the last request sent all that was left? */
static bool send_is_complete (lua_State *L, const struct task *t,
                              const struct socket *s) {
  int how = (int)lua_tointeger(L, HOW);
  if (t->wait != WAIT_AWAIT || send_waited_to_retry(t) || t->res < 0
      || send_is_pinned(t))
    return false;
  if (how == SEND_MESSAGES
      && lua_tointeger(L, SENT) + 1 < (lua_Integer)lua_rawlen(L, DATA))
    return false;
  return how == CONNECT || !socket_is_stream(s)
         || lua_tointeger(L, FROM) + t->res >= lua_tointeger(L, SIZE);
}

/* Does a request for the next piece follow? */
static bool send_continues (lua_State *L, const struct task *t,
                            const struct socket *s) {
  lua_Integer from = lua_tointeger(L, FROM) + t->res;
  return t->res >= 0 && s->d
         && !(t->task_flags & (TASKF_CANCELLED | TASKF_TIMED_OUT))
         && from < lua_tointeger(L, SIZE)
         && (lua_tointeger(L, HOW) == SEND || from >= lua_tointeger(L, UPTO));
}

static int send_again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct socket *s = class_raw(L, SOCKET, CLASS_SOCKET);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, send_again);
  if (s->out.waitq.holder == t && !send_continues(L, t, s))
    send_end_turn(L, s, &t->node);  /* guard: or the queue stands still */
  /* (a send cannot be undone: if it is complete it is reported, and the next
     wait of the cancelled task raises) */
  if ((t->task_flags & TASKF_CANCELLED) && !send_is_complete(L, t, s)
      && !send_is_writable(L, t)) {
    send_end_turn(L, s, &t->node);  /* guard: or the queue stands still */
    loop_check(L, t);
  }
  if (t->wait == WAIT_QUEUE) {
    if (t->task_flags & TASKF_TIMED_OUT) return send_fail(L, fail_timeout(L));
    return send_start(L, t, (int64_t)ctx);
  }
  if (send_waited_to_retry(t)) {
    if (s->d == NULL)
      return send_fail(L, fail(L, EBADF, "the socket was closed"));
    return (t->task_flags & TASKF_TIMED_OUT) && loop_time(state_of(L)->loop)
                                               >= (int64_t)ctx
           && !send_is_writable(L, t) ? send_fail(L, fail_timeout(L))
                                      : send_start(L, t, (int64_t)ctx);
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

/* Push the rest of the call's state: SOCKET, DATA and TO are there. */
static void send_push_args (lua_State *L, int how, size_t size) {
  lua_settop(L, TO);
  lua_pushinteger(L, how);
  for (int i = SENT; i < SIZE; i++) lua_pushinteger(L, 0);
  lua_pushinteger(L, (lua_Integer)size);
}

static int send_begin (lua_State *L, struct socket *s, int how, int64_t ns,
                       const char *what) {
  struct task *t = send_enter(L, s, what);
  send_push_args(L, how, 0);
  return send_start(L, t, loop_deadline(state_of(L)->loop, ns));
}

/* Only a send that is not complete at once needs its state on the stack, and
** an address there; until then nothing allocates, and no finalizer runs. */
static int send_begin_bytes (lua_State *L, struct socket *s, struct bytes b,
                             const struct address *to, int64_t ns,
                             const char *what) {
  struct task *t = send_enter(L, s, what);
  bool done = !send_busy(s, NULL) && send_try(state_of(L)->loop, t, s, &b, to);
  if (done && t->res >= 0 && (size_t)t->res == b.size) {
    lua_pushinteger(L, t->res);
    return 1;
  }
  if (done && t->res >= 0)  /* guard: a raise hides how much */
    lua_settop(L, DATA);    /* (a connected stream needs no address) */
  else if (to && lua_type(L, TO) == LUA_TSTRING) {
    sockaddr_push(L, to);
    lua_replace(L, TO);
  }
  send_push_args(L, SEND, b.size);
  ns = loop_deadline(state_of(L)->loop, ns);
  return done ? send_ended(L, t, s, ns) : send_start(L, t, ns);
}


/* ---- methods ----------------------------------------------------------- */

/* socket:send(bytes [, timeout]): how many were sent; by a stream all */
static int s_send (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int64_t ns = arg_seconds(L, 3);
  struct bytes b = arg_bytes(L, DATA, DATA);
  lua_settop(L, DATA);
  return send_begin_bytes(L, s, b, NULL, ns, "socket:send");
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
  return send_begin_bytes(L, s, b, to, ns, "socket:sendto");
}

/* socket:sendmsg({ data= | iov=, name=, control=, flags= } [, timeout]), or
** an array of such tables: how many of them were sent */
static int s_sendmsg (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int64_t ns = arg_seconds(L, 3);
  bool many;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_pushnil(L);
  if (lua_next(L, 2) == 0) {  /* an empty array */
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
  send_output_open(L);
}
