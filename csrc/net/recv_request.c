/*
** recv_request: see the header. It makes the receive side's requests and turns
** their completions into values. What must not break: no two requests fill the
** same memory, and what has completed is taken before another is made.
*/

#include "compat.h"
#include "net/recv_request.h"

#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/errors.h"
#include "api/prep_build.h"
#include "api/ring_object.h"
#include "net/arrived.h"
#include "net/buf_pool.h"
#include "net/rx_data.h"
#include "net/socket_calls.h"
#include "net/socket_option.h"
#include "net/socket_poll.h"

#include <poll.h>
#include <stdlib.h>

#define FIRST_SIZE    4096u


/* ---- requests ---------------------------------------------------------- */

/* Is it a receive of a stream? Its bytes are taken by one task at a time. */
static bool recv_is_unit (const struct socket *s, const struct op *op) {
  return socket_is_stream(s) && op->opcode != IORING_OP_ACCEPT;
}

static int recv_push (struct socket *s, struct request *q, unsigned bound) {
  struct op *op;
  int rc;
  if (s->rx_shutdown && q->sqe.opcode != IORING_OP_ACCEPT)
    q->sqe.msg_flags |= MSG_DONTWAIT;  /* no wait for more */
  q->pin[OP_PIN_FD] = &s->d->block;
  rc = ring_push_one(s->ring, q, OP_LOOPED, &op);
  if (rc < 0)
    return rc;
  /* guard: a read of several pieces is one unit */
  s->in.waitq.one_turn = recv_is_unit(s, op);
  object_waitq_serve(&s->in.waitq, op);
  s->in.token = op->token;
  s->in.waitq.bound = bound;
  return 0;
}

static bool is_pinned (const struct refblock *b) {
  return b && refblock_flying((struct refblock *)(uintptr_t)b) > 0;
}

/* Memory that no request in flight pins, of at least `size` bytes. */
static bool recv_make_memory (struct account *a, struct socket *s,
                              size_t size) {
  if (s->memory && (is_pinned(&s->memory->block) || s->memory->size < size)) {
    refblock_release(&s->memory->block);
    s->memory = NULL;
  }
  if (s->memory == NULL) s->memory = memory_to_fill(a, size);
  return s->memory != NULL;
}

/* A header for recvmsg with space for an address and control messages. */
static bool recv_make_header (struct account *a, struct socket *s,
                              unsigned control_capacity) {
  if (s->msg && (is_pinned(&s->msg->block)
                 || s->msg->control_capacity != control_capacity)) {
    refblock_release(&s->msg->block);
    s->msg = NULL;
  }
  if (s->msg == NULL) {
    s->msg = msg_new(a, 1);
    if (s->msg == NULL)
      return false;
    s->msg->name_capacity = sizeof(s->msg->place);
    s->msg->hdr.msg_name = s->msg->place;
    s->msg->control_capacity = control_capacity;
    if (control_capacity > 0 && !msg_make_control(s->msg, control_capacity)) {
      refblock_release(&s->msg->block);
      s->msg = NULL;
      return false;
    }
  }
  return true;
}

static unsigned datagram_capacity (const struct recv_args *a) {
  unsigned size = a->reader ? a->reader->size : MAX_DATAGRAM;
  return a->max > (lua_Integer)size ? (unsigned)a->max : size;
}

void recv_widen (struct socket *s, const struct recv_args *a) {
  struct op *op = socket_op(s, &s->in);
  if (op && a->want == WANT_DATA && !socket_is_stream(s)
      && !(op->op_flags & (OP_MULTI | OP_CANCEL))
      && op->opcode != IORING_OP_ACCEPT
      && s->rx_datagram_size < datagram_capacity(a))
    ring_cancel(s->ring, op);
}

/* The socket's own memory, for a single receive: how many bytes that is to
** fill; 0: there is no memory. */
static unsigned recv_make_room (struct account *account, struct socket *s,
                                const struct recv_args *a) {
  unsigned size;
  if (s->rx_size == 0) s->rx_size = FIRST_SIZE;
  size = s->rx_size;
  if (!socket_is_stream(s)) size = s->rx_datagram_size = datagram_capacity(a);
  else if (a->max < (lua_Integer)size) size = (unsigned)a->max;
  return recv_make_memory(account, s, socket_is_stream(s) ? s->rx_size : size)
         ? size : 0;
}

/* The same with a header for recvmsg, whose iov has it. */
static bool recv_make_message (struct account *account, struct socket *s,
                               const struct recv_args *a,
                               unsigned control_capacity) {
  unsigned size = recv_make_room(account, s, a);
  if (size == 0 || !recv_make_header(account, s, control_capacity))
    return false;
  s->msg->iov[0].iov_base = s->memory->bytes;
  s->msg->iov[0].iov_len = size;
  s->msg->hdr.msg_iovlen = 1;
  return true;
}

static int recv_start_single (struct socket *s, const struct recv_args *a,
                              unsigned control_capacity) {
  struct request q = {0};
  if (socket_is_stream(s) && control_capacity == 0) {
    unsigned size = recv_make_room(s->ring->account, s, a);
    if (size == 0)
      return -ENOMEM;
    q = request_of(&kind_recv, s->in.waitq.fd);
    request_lend(&q, PLACE(addr), s->memory->bytes, &s->memory->block);
    q.sqe.len = size;
    /* (with MSG_DONTWAIT that would fail at once) */
    if (s->rx_empty && !s->rx_shutdown)
      q.sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
  }
  else {
    if (!recv_make_message(s->ring->account, s, a, control_capacity))
      return -ENOMEM;
    q = request_of(&kind_recvmsg, s->in.waitq.fd);
    request_msg(&q, s->msg);
    q.pin[OP_PIN_AUX] = &s->memory->block;
  }
  return recv_push(s, &q, 0);
}

static int recv_start_multishot (lua_State *L, struct socket *s,
                                 const struct recv_args *a,
                            unsigned control_capacity) {
  struct request q = {0};
  int err = 0;
  s->pool = buf_pool_find(L, lua_gettop(L), a->reader->size, a->reader->headers
                      ? POOL_HEADER + control_capacity : 0, a->reader->lease,
                      &err);
  if (s->d == NULL)  /* guard: finalizers may have closed it */
    return -EBADF;
  if (socket_op(s, &s->in))  /* guard: ... or begun to receive: what that
                                takes would be lost */
    return 0;
  /* (the kernel locks the pages of its list of buffers: RLIMIT_MEMLOCK) */
  if (s->pool == NULL)
    return err == ENOMEM ? recv_start_single(s, a, control_capacity) : -err;
  q = request_of(a->reader->headers ? &kind_recvmsg_multishot
                                    : &kind_recv_multishot, s->in.waitq.fd);
  if (a->reader->headers) {
    if (!recv_make_header(s->ring->account, s, control_capacity))
      return -ENOMEM;
    s->msg->hdr.msg_iovlen = 0;
    request_msg(&q, s->msg);
  }
  q.sqe.buf_group = s->pool->group->bgid;
  return recv_push(s, &q, a->reader->bound);
}

static int recv_start_accept (struct socket *s, const struct recv_args *a) {
  struct request q = request_of(a->reader ? &kind_multishot_accept
                                          : &kind_accept, s->in.waitq.fd);
  return recv_push(s, &q, a->reader ? a->reader->bound : 0);
}

/* The socket itself is on the top of the stack. */
static int recv_start_request (lua_State *L, struct socket *s,
                               const struct recv_args *a) {
  bool rx_exhausted = s->rx_exhausted, fds = recv_wants_fds(a);
  unsigned control_capacity;
  if (socket_op(s, &s->in))  /* (a finalizer's, of a search for leases) */
    return 0;
  s->rx_exhausted = false;
  if (a->want == WANT_CONNECTION) return recv_start_accept(s, a);
  control_capacity = socket_control_capacity(s, &fds);
  /* guard: if slow readers have taken all buffers, the others receive into
     memory of their own, a request at a time; and no more than one message's
     descriptors from a peer are open here and not yet Lua's */
  if (a->reader == NULL || rx_exhausted || (fds && a->reader->headers))
    return recv_start_single(s, a, control_capacity);
  return recv_start_multishot(L, s, a, control_capacity);
}

int recv_start (lua_State *L, const struct recv_args *a) {
  struct socket *s = a->s;
  int top = lua_gettop(L), n;
  lua_pushvalue(L, a->socket);
  n = recv_start_request(L, s, a);
  lua_settop(L, top);
  if (s->d == NULL)
    return recv_closed(L);
  return n < 0 ? ring_push_failed(L, s->ring, n) : 0;
}


/* ---- completions ------------------------------------------------------- */

static bool errno_in (int err, const int *list) {
  while (*list && *list != err) list++;
  return *list != 0;
}

/* Errors that are not of the socket itself: an iterator goes on. */
static bool recv_is_transient (const struct recv_args *a,
                               const struct socket *s, int err) {
  static const int accept_errors[] = {  /* accept(2) */
    ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
    EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM, 0
  };
  static const int datagram_errors[] = {  /* ICMP, for one sent before */
    ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENONET, ENOPROTOOPT,
    EPROTO, EACCES, 0
  };
  if (err == ECANCELED)
    return true;
  if (a->reader == NULL)
    return false;
  return a->want == WANT_CONNECTION ? errno_in(err, accept_errors)
         : !socket_is_stream(s) && errno_in(err, datagram_errors);
}

static bool is_exhaustion (int err) {
  static const int list[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM, 0 };
  return errno_in(err, list);
}

/* A request has failed: push three values; or 0: try again. */
static int recv_failed (lua_State *L, struct socket *s,
                        const struct recv_args *want, unsigned opcode,
                        uint16_t min_kernel, int res) {
  if (opcode == IORING_OP_ACCEPT && want->reader && is_exhaustion(-res)) {
    s->failed_accepts++;
    s->rx_exhausted = true;
    return 0;
  }
  if (recv_is_transient(want, s, -res))
    return 0;  /* (closed meanwhile: `block` says so) */
  fail_result(L, opcode, s->in.waitq.fd, min_kernel, res, 0);
  lua_pop(L, 1);
  return 3;
}

/* The next completion of data becomes the rx_data; or it is an error, its
** three values are pushed, and their number is returned. 0: try again. */
static int recv_take_data (lua_State *L, struct socket *s, struct op *op,
                           const struct recv_args *want) {
  unsigned opcode = op->opcode;
  bool multi = op->op_flags & OP_MULTI;
  uint16_t min_kernel = op->min_kernel;
  int res = rx_data_complete(s, op);
  if (res == 0)
    return 0;
  if (res == -ENOBUFS && multi) {  /* (a single receive needs none) */
    s->rx_exhausted = want->reader != NULL;
    return 0;
  }
  return recv_failed(L, s, want, opcode == IORING_OP_RECVMSG ? opcode
                                 : IORING_OP_RECV, min_kernel, res);
}

/* The next connection and its peer, or an error; 0: try again. The objects
** exist before the descriptor is taken, which therefore cannot leak. */
static int recv_take_connection (lua_State *L, struct socket *s,
                                 const struct recv_args *want) {
  static const struct address none;
  struct socket *conn = socket_push(L, s->family, s->type);
  struct op *op;
  struct pending_cqe a;
  conn->control_capacity =
      s->control_capacity;  /* (it inherits the options) */
  conn->zero_copy = s->zero_copy;
  sockaddr_push(L, &none);
  op = socket_op(s, &s->in);  /* (finalizers may have run) */
  if (s->arrived.first) a.res = arrived_take_connection(&s->arrived);
  else if (op && op->results.first) ring_take_op(s->ring, op, &a);
  else {
    lua_pop(L, 2);
    return 0;
  }
  if (a.res >= 0) {
    socket_own(L, conn, a.res);
    if (!socket_name(conn, getpeername, lua_touserdata(L, -1))) {
      lua_pop(L, 1);
      lua_pushnil(L);  /* it has disconnected */
    }
    return 2;
  }
  lua_pop(L, 2);
  return recv_failed(L, s, want, IORING_OP_ACCEPT, 0, a.res);
}

/* Is the request of the call's kind, or has it ended without a result? */
static bool recv_is_kind_of (const struct op *op, const struct recv_args *a) {
  return (op->opcode == IORING_OP_ACCEPT) == (a->want == WANT_CONNECTION)
         || ((op->op_flags & OP_CANCEL) && op->results.first == NULL);
}

/* The call is for connections and what there is for data, or the other way
** round: no socket has both. */
static int recv_refuse_kind (lua_State *L, const struct socket *s,
                             const struct recv_args *a) {
  return fail(L, EINVAL, "socket (fd %d): it waits for %s, and not for %s",
              s->in.waitq.fd, a->want == WANT_DATA ? "connections" : "data",
              a->want == WANT_DATA ? "data" : "connections");
}

/* The same for the request in flight. 0 if it has failed. */
static int recv_refuse_request (lua_State *L, struct socket *s, struct op *op,
                                const struct recv_args *a) {
  struct pending_cqe x;
  const struct pending_cqe *first = op->results.first;
  if (first && first->res < 0) {
    ring_take_op(s->ring, op, &x);
    return 0;
  }
  return recv_refuse_kind(L, s, a);
}

/* The first of what has arrived becomes the rx_data, or is a connection; or
** an error, as above. 0: try again. */
static int recv_take_arrived (lua_State *L, struct socket *s,
                              const struct recv_args *a) {
  const struct arrived *first = s->arrived.first;
  int res = first->res;
  bool other = first->connection != (a->want == WANT_CONNECTION);
  if (res < 0) {
    free(arrived_take(&s->arrived));
    return other ? 0 : recv_failed(L, s, a, a->want == WANT_CONNECTION
                            ? IORING_OP_ACCEPT : IORING_OP_RECV, 0, res);
  }
  if (other)
    return recv_refuse_kind(L, s, a);
  if (first->connection)
    return recv_take_connection(L, s, a);
  rx_data_from_arrived(s);
  return 0;
}

int recv_closed (lua_State *L) {
  return fail(L, EBADF, "the socket is closed");
}

int recv_take (lua_State *L, const struct recv_args *a) {
  struct socket *s = a->s;
  for (;;) {
    struct op *op;
    int n;
    if (s->d == NULL)
      return recv_closed(L);
    if (a->max == 0 && a->want == WANT_DATA) {  /* as file:read(0) */
      lua_pushliteral(L, "");
      return 1;
    }
    if ((s->rx.at || store_size(&s->input.store) > 0)
        && a->want == WANT_DATA)
      return rx_data_push(L, s, a->max, a->results,
                          a->reader && a->reader->lease, recv_wants_fds(a),
                          a->socket);
    op = socket_op(s, &s->in);
    if (s->arrived.first) n = recv_take_arrived(L, s, a);
    else if (op && !recv_is_kind_of(op, a))
      n = recv_refuse_request(L, s, op, a);
    else if (op == NULL || op->results.first == NULL)
      return 0;
    else n = a->want == WANT_CONNECTION ? recv_take_connection(L, s, a)
                                        : recv_take_data(L, s, op, a);
    if (n > 0)
      return n;
  }
}

int recv_now (lua_State *L, const struct recv_args *a) {
  struct socket *s = a->s;
  struct pending_cqe done = {0};
  bool fds = true;
  unsigned control_capacity = socket_control_capacity(s, &fds);
  ssize_t n;
  if (!recv_make_message(state_of(L)->account, s, a, control_capacity))
    return fail(L, ENOMEM, "receive on socket (fd %d)", s->in.waitq.fd);
  refblock_fly(&s->msg->block);  /* (which makes its header ready) */
  n = recvmsg(s->in.waitq.fd, &s->msg->hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  done.res = n < 0 ? -errno : (int32_t)n;
  refblock_land(&s->msg->block);
  if (done.res >= 0) rx_data_from_memory(s, &done, true);
  else if (done.res == -EAGAIN && s->rx_shutdown)
    s->rx.at = (unsigned char *)s;  /* the end of data */
  else if (done.res == -EAGAIN || done.res == -EINTR)
    return 0;
  else {
    fail_result(L, IORING_OP_RECVMSG, s->in.waitq.fd, 0, done.res, 0);
    lua_pop(L, 1);
    return 3;
  }
  return recv_take(L, a);
}

enum fill recv_fill (lua_State *L, const struct recv_args *a) {
  struct socket *s = a->s;
  for (;;) {
    struct op *op;
    if (s->rx.at) {
      int rc = rx_data_store(s);
      return rc < 0 ? FILL_NO_MEMORY : rc ? FILL_MORE : FILL_END;
    }
    op = socket_op(s, &s->in);
    if (s->arrived.first) {
      if (recv_take_arrived(L, s, a) > 0)
        return FILL_FAILED;
    }
    else if (op && !recv_is_kind_of(op, a)) {
      if (recv_refuse_request(L, s, op, a) > 0)
        return FILL_FAILED;
    }
    else if (op == NULL || op->results.first == NULL)
      return FILL_NOTHING;
    else if (recv_take_data(L, s, op, a) > 0)
      return FILL_FAILED;
  }
}

static size_t recv_completed (const struct socket *s) {
  const struct op *op = socket_op(s, &s->in);
  return (op ? op->results.count : 0) + (s->rx.at ? 1 : 0)
         + s->arrived.count;
}

size_t recv_items (const struct socket *s) {
  const struct op *op = socket_op(s, &s->in);
  size_t n = recv_completed(s) + (store_size(&s->input.store) > 0);
  if (n <= 1)
    return n;
  return (s->arrived.first ? socket_is_stream(s)
                             && !s->arrived.first->connection
                           : op && recv_is_unit(s, op)) ? 1 : n;
}

bool recv_idle (const struct socket *s) {
  return s->d && recv_completed(s) == 0 && socket_op(s, &s->in) == NULL;
}

bool recv_ready (const struct socket *s) {
  return s->d && recv_items(s) > 0;
}

static bool recv_reap (struct socket *s) {
  ring_catch_up(s->ring);
  return s->d && recv_completed(s) > 0;
}

bool recv_poll (struct socket *s) {
  const struct op *op;
  if (s->rx_shutdown || recv_reap(s))  /* (then a request ends at once) */
    return true;
  op = socket_op(s, &s->in);
  if (op && op->state == OP_FLYING)
    return false;
  /* As long as this poll is in flight there is nothing, and to know that takes
     no system call. */
  if (s->poll_in == 0
      && (socket_watch(s, &s->in, POLLIN | POLLRDHUP, &s->poll_in) < 0
          || recv_reap(s)))
    return true;
  if (socket_find_op(s, s->poll_in))
    return false;
  s->poll_in = 0;
  return true;
}


/* ---- the wait queue ---------------------------------------------------- */

void recv_abandon (struct socket *s) {
  struct op *op = s->d ? socket_op(s, &s->in) : NULL;
  if (op && op->results.first == NULL && s->in.waitq.q.waiting.last == NULL)
    ring_cancel(s->ring, op);
}

bool recv_mismatch (const struct socket *s, const struct recv_args *a) {
  const struct op *op = socket_op(s, &s->in);
  if (s->arrived.first)
    return s->arrived.first->connection != (a->want == WANT_CONNECTION);
  return op && !recv_is_kind_of(op, a);
}

void recv_wake_next (lua_State *L, struct socket *s) {
  if (s->d && s->in.waitq.q.waiting.last && s->in.waitq.q.turns == 0) {
    if (recv_items(s) > 0 || socket_op(s, &s->in) == NULL)
      /* guard: or the waiter sleeps on */
      turnq_wake(state_of(L)->loop, &s->in.waitq.q);
  }
}
