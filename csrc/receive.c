/*
** receive: what a socket's tasks wait for inwards: `receive` and its kin,
** `accept`, and the iterators over multishots.
**
** All of them go the same way (`go`): first what is left of the last chunk,
** then what has completed, then a request of the right kind if none is under
** way, then the line. A wait that ends early leaves what is under way to the
** socket; it is only asked to end if nobody else waits for it.
*/

#include "compat.h"
#include "socket.h"

#include "args.h"
#include "chunk.h"
#include "clock.h"
#include "errors.h"
#include "operation.h"
#include "options.h"
#include "pool.h"
#include "proc.h"
#include "ring_lua.h"

#include <string.h>

#define MAX_DATAGRAM  65536u
#define FIRST_ROOM    4096u
#define BOUND         128         /* completions that may wait, by default */
#define STARVED_NS    10000000    /* for who missed a buffer's coming home */
#define PAUSE_NS      100000000   /* with no descriptor left to accept with */

enum { WANT_DATA, WANT_CONNECTION };

struct reader {            /* the userdata of an iterator */
  struct socket *s;        /* its user value */
  uint32_t size;           /* of a buffer */
  uint16_t bound;
  uint8_t want;
  bool lease;
  bool headers;            /* recvmsg: who has sent it, and info */
};

/* What the running call asks for. */
struct ask {
  struct socket *s;
  const struct reader *reader;  /* NULL: a single one */
  lua_Integer max;
  int want;
  int results;             /* of payload, from, info */
};


/* ---- requests ---------------------------------------------------------- */

static int push_request (struct socket *s, struct request *q, unsigned bound) {
  struct op *op;
  int rc;
  if (s->deaf && q->sqe.opcode != IORING_OP_ACCEPT)
    q->sqe.msg_flags |= MSG_DONTWAIT;  /* what is there, and no more */
  q->pin[OP_PIN_FD] = &s->d->block;
  rc = ring_push_one(s->ring, q, OP_LOOPED, &op);
  if (rc < 0)
    return rc;
  op->line = &s->in.line;
  s->in.token = op->token;
  s->in.line.count = 0;
  s->in.line.bound = bound;
  return 0;
}

static bool in_use (const struct block *b) {
  return b && block_flying((struct block *)(uintptr_t)b) > 0;
}

/* Memory that no request has, of at least `size` bytes. */
static bool make_memory (struct socket *s, size_t size) {
  if (s->memory && (in_use(&s->memory->block) || s->memory->size < size)) {
    block_release(&s->memory->block);
    s->memory = NULL;
  }
  if (s->memory == NULL) s->memory = memory_new(size, NULL);
  return s->memory != NULL;
}

/* A header for recvmsg with room for a name and for control messages. */
static bool make_header (struct socket *s) {
  if (s->msg && (in_use(&s->msg->block)
                 || s->msg->control_room != s->control_room)) {
    block_release(&s->msg->block);
    s->msg = NULL;
  }
  if (s->msg == NULL) {
    s->msg = msg_new(1);
    if (s->msg == NULL)
      return false;
    s->msg->name_room = sizeof(s->msg->place);
    s->msg->hdr.msg_name = s->msg->place;
    s->msg->control_room = s->control_room;
    if (s->control_room > 0 && !msg_make_control(s->msg, s->control_room)) {
      block_release(&s->msg->block);
      s->msg = NULL;
      return false;
    }
  }
  return true;
}

static int start_single (struct socket *s, const struct ask *a) {
  struct request q = {0};
  unsigned room;
  if (s->room == 0) s->room = FIRST_ROOM;
  room = s->room;
  if (!socket_streams(s)) {
    room = a->reader ? a->reader->size : MAX_DATAGRAM;
    if (a->max > (lua_Integer)room) room = (unsigned)a->max;
  }
  else if (a->max < (lua_Integer)room) room = (unsigned)a->max;
  if (!make_memory(s, socket_streams(s) ? s->room : room))
    return -ENOMEM;
  q.traits = TRAIT_READS;
  if (socket_streams(s) && s->family != AF_UNIX) {
    io_uring_prep_recv(&q.sqe, s->in.line.fd, s->memory->bytes, room, 0);
    q.pin[OP_PIN_MEMORY] = &s->memory->block;
  }
  else {
    if (!make_header(s))
      return -ENOMEM;
    s->msg->iov[0].iov_base = s->memory->bytes;
    s->msg->iov[0].iov_len = room;
    s->msg->hdr.msg_iovlen = 1;
    io_uring_prep_recvmsg(&q.sqe, s->in.line.fd, &s->msg->hdr,
                          MSG_CMSG_CLOEXEC);
    q.pin[OP_PIN_MEMORY] = &s->msg->block;
    q.pin[0] = &s->memory->block;
  }
  return push_request(s, &q, 0);
}

static int start_multishot (lua_State *L, struct socket *s,
                            const struct ask *a) {
  struct request q = {0};
  int err = 0;
  s->pool = pool_find(L, lua_gettop(L), a->reader->size, a->reader->headers,
                      a->reader->lease, &err);
  if (s->pool == NULL)
    return -err;
  if (s->d == NULL)  /* guard: finalizers may have closed it */
    return -EBADF;
  q.traits = TRAIT_MULTI;
  if (a->reader->headers) {
    if (!make_header(s))
      return -ENOMEM;
    s->msg->hdr.msg_iovlen = 0;
    io_uring_prep_recvmsg(&q.sqe, s->in.line.fd, &s->msg->hdr,
                          MSG_CMSG_CLOEXEC);
    q.pin[OP_PIN_MEMORY] = &s->msg->block;
    q.rooms = (struct rooms){ (uint16_t)s->msg->name_room,
                              (uint16_t)s->msg->control_room };
  }
  else
    io_uring_prep_recv(&q.sqe, s->in.line.fd, NULL, 0, 0);
  q.sqe.ioprio |= IORING_RECV_MULTISHOT;
  q.sqe.flags |= IOSQE_BUFFER_SELECT;
  q.sqe.buf_group = s->pool->group->bgid;
  return push_request(s, &q, a->reader->bound);
}

static int start_accept (struct socket *s, const struct ask *a) {
  struct request q = {0};
  io_uring_prep_accept(&q.sqe, s->in.line.fd, NULL, NULL, SOCK_CLOEXEC);
  if (a->reader) {
    q.sqe.ioprio |= IORING_ACCEPT_MULTISHOT;
    q.traits = TRAIT_MULTI;
  }
  q.disposal = DISPOSE_FD;
  return push_request(s, &q, a->reader ? a->reader->bound : 0);
}

/* The socket itself is on the top of the stack. */
static int start (lua_State *L, struct socket *s, const struct ask *a) {
  bool starved = s->starved;
  s->starved = false;
  if (a->want == WANT_CONNECTION) return start_accept(s, a);
  /* guard: where slow readers have all the buffers the others use their own
     memory, a request at a time */
  if (a->reader == NULL || starved) return start_single(s, a);
  return start_multishot(L, s, a);
}


/* ---- completions ------------------------------------------------------- */

static bool one_of (int err, const int *list) {
  while (*list && *list != err) list++;
  return *list != 0;
}

/* Errors that say nothing of the socket itself: an iterator goes on. */
static bool passes (const struct ask *a, const struct socket *s, int err) {
  static const int of_connections[] = {  /* accept(2) */
    ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
    EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM, 0
  };
  static const int of_datagrams[] = {    /* what ICMP says of another one */
    ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, 0
  };
  if (err == ECANCELED)
    return true;
  if (a->reader == NULL)
    return false;
  return a->want == WANT_CONNECTION ? one_of(err, of_connections)
         : !socket_streams(s) && one_of(err, of_datagrams);
}

static bool is_short_of (int err) {
  static const int list[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM, 0 };
  return one_of(err, list);
}

/* The next completion of data becomes the chunk, or an error's three values,
** whose number is returned; 0: look again. */
static int take_data (lua_State *L, struct socket *s, struct op *op,
                      const struct ask *want) {
  bool headers = op->opcode == IORING_OP_RECVMSG;
  bool multi = op->marks & OP_MULTI;
  uint16_t since = op->since;
  struct arrival a;
  ring_take_op(s->ring, op, &a);
  if (s->in.line.count > 0) s->in.line.count--;
  if (a.res >= 0) {
    if (a.flags & IORING_CQE_F_BUFFER) chunk_from_group(s, &a, headers);
    else if (multi) s->chunk.at = (unsigned char *)s;  /* the end: no bytes */
    else chunk_from_memory(s, &a, headers);
    return 0;
  }
  if (a.flags & IORING_CQE_F_BUFFER)
    group_dispose(s->pool->group, a.res, a.flags);
  if (a.res == -ENOBUFS && multi) {  /* (who wants one does without) */
    s->starved = want->reader != NULL;
    return 0;
  }
  if (passes(want, s, -a.res))
    return 0;
  if (a.res == -EAGAIN && s->deaf) {
    s->chunk.at = (unsigned char *)s;
    return 0;
  }
  fail_result(L, headers ? IORING_OP_RECVMSG : IORING_OP_RECV, s->in.line.fd,
              since, a.res, 0);
  lua_pop(L, 1);
  return 3;
}

/* The next connection and its peer; or an error; 0: look again. The object is
** there before the descriptor is taken. */
static int take_connection (lua_State *L, struct socket *s, struct op *op,
                            const struct ask *want) {
  struct socket *conn = socket_push(L, -1, s->family, s->type);
  struct arrival a;
  op = socket_op(s, &s->in);  /* (finalizers may have run) */
  if (op == NULL || op->results.first == NULL) {
    lua_pop(L, 1);
    return 0;
  }
  ring_take_op(s->ring, op, &a);
  if (s->in.line.count > 0) s->in.line.count--;
  if (a.res >= 0) {
    socket_own(conn, a.res);
    if (!socket_push_name(L, conn, getpeername))
      lua_pushnil(L);  /* gone already */
    return 2;
  }
  lua_pop(L, 1);
  if (want->reader && is_short_of(-a.res)) {
    s->failed++;
    s->starved = true;
    return 0;
  }
  if (passes(want, s, -a.res))
    return 0;
  fail_result(L, IORING_OP_ACCEPT, s->in.line.fd, 0, a.res, 0);
  lua_pop(L, 1);
  return 3;
}


/* ---- the wait ---------------------------------------------------------- */

static int again (lua_State *L, int status, lua_KContext ctx);

/* An iterator's reader and socket are its upvalues, for that is the shortest
** way to them. Else 1: a socket, with max at 2 and how at 4. */
#define READER        lua_upvalueindex(2)
#define READER_SOCKET lua_upvalueindex(3)

static struct ask ask_of (lua_State *L, int *socket) {
  struct ask a = { NULL, NULL, INT32_MAX, WANT_DATA, 3 };
  struct reader *r = lua_touserdata(L, READER);
  if (r) {
    a.s = r->s;
    a.reader = r;
    a.want = r->want;
    if (!r->headers) a.results = 1;
    if (!socket_streams(r->s)) a.max = r->size;  /* (a buffer has more room) */
    *socket = READER_SOCKET;
  }
  else {
    a.s = lua_touserdata(L, 1);
    a.max = lua_tointeger(L, 2);
    a.results = (int)lua_tointeger(L, 4);
    if (a.results == 0) a.want = WANT_CONNECTION;
    lua_settop(L, 4);
    *socket = 1;
  }
  return a;
}

static int closed (lua_State *L) {
  return fail(L, EBADF, "the socket is closed");
}

/* A wait that ends before anything has come: nobody reads on in vain. */
static void leave (struct socket *s) {
  struct op *op = s->d ? socket_op(s, &s->in) : NULL;
  if (op && op->results.first == NULL && s->in.line.seats.last == NULL)
    ring_cancel(s->ring, op);
}

/* Who goes on wakes the next in line, if there is something for it to take
** or to start. */
static void pass_on (lua_State *L, struct socket *s) {
  if (s->d && s->in.line.seats.last) {  /* guard: or it sleeps for ever */
    struct op *op = socket_op(s, &s->in);
    if (s->chunk.at || op == NULL || op->results.first)
      loop_wake_line(state_of(L)->loop, &s->in.line);
  }
}

/* A wait that is over, with its results or what it raises. */
static int end (lua_State *L, struct socket *s, bool iterates, int n) {
  pass_on(L, s);
  if (!iterates)
    return n;
  if (n == 3 && lua_isnil(L, -3)) {
    if (lua_tointeger(L, -1) == EBADF) {
      lua_pushnil(L);  /* closed here: the end */
      return 1;
    }
    lua_pop(L, 1);
    return lua_error(L);
  }
  return n;
}

/* Is what comes of it what is asked for? */
static bool suits (const struct op *op, const struct ask *a) {
  return (op->opcode == IORING_OP_ACCEPT) == (a->want == WANT_CONNECTION)
         || ((op->marks & OP_CANCEL) && op->results.first == NULL);
}

/* Data for who wants connections, or a connection for who wants data: no
** socket has both. 0 if it was an error. */
static int put_aside (lua_State *L, struct socket *s, struct op *op,
                      const struct ask *a) {
  struct arrival x;
  const struct arrival *first = op->results.first;
  if (first && first->res < 0) {
    ring_take_op(s->ring, op, &x);
    return 0;
  }
  return fail(L, EINVAL, "socket (fd %d): it waits for %s, and not for %s",
              s->in.line.fd, a->want == WANT_DATA ? "connections" : "data",
              a->want == WANT_DATA ? "data" : "connections");
}

static int go (lua_State *L, struct task *t, int64_t deadline) {
  int socket;
  struct ask a = ask_of(L, &socket);
  struct socket *s = a.s;
  bool iterates = a.reader != NULL;
  for (;;) {
    struct op *op;
    int n = 0;
    if (s->d == NULL)
      return end(L, s, iterates, closed(L));
    if (s->chunk.at && a.want == WANT_DATA) {
      if (loop_unfair(t)) break;
      n = chunk_push(L, s, a.max, a.results, a.reader && a.reader->lease,
                     socket);
      return end(L, s, iterates, n);
    }
    op = socket_op(s, &s->in);
    if (op && !suits(op, &a)) {
      if ((n = put_aside(L, s, op, &a)) > 0)
        return end(L, s, iterates, n);
    }
    else if (op && op->results.first) {
      if (a.want == WANT_CONNECTION && loop_unfair(t)) break;
      n = a.want == WANT_CONNECTION ? take_connection(L, s, op, &a)
                                    : take_data(L, s, op, &a);
      if (n > 0)
        return end(L, s, iterates, n);
    }
    else if (op)
      return loop_wait_line(L, t, &s->in.line, deadline,
                            (lua_KContext)deadline, again);
    else if (s->starved && iterates && (a.reader->lease
                                        || a.want == WANT_CONNECTION)) {
      int64_t soon = clock_after(a.want == WANT_DATA ? STARVED_NS : PAUSE_NS);
      s->starved = false;
      if (soon > deadline) soon = deadline;
      if (a.want == WANT_DATA)
        return loop_wait_line(L, t, &s->pool->line, soon,
                              (lua_KContext)deadline, again);
      loop_reserve(L);
      return loop_wait(L, t, WAIT_SLEEP, NULL, soon, (lua_KContext)deadline,
                       again);
    }
    else {
      int top = lua_gettop(L);
      lua_pushvalue(L, socket);
      n = start(L, s, &a);
      lua_settop(L, top);
      if (n < 0 && s->d)
        return end(L, s, iterates, ring_push_failed(L, s->ring, n));
    }
  }
  return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER,
                   (lua_KContext)deadline, again);
}

static int again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct socket *s;
  struct op *op;
  int socket;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, again);
  s = ask_of(L, &socket).s;
  if (t->marks & MARK_CANCELLED) {
    leave(s);
    pass_on(L, s);
    loop_check(L, t);
  }
  op = s->d ? socket_op(s, &s->in) : NULL;
  if ((t->marks & MARK_TIMED_OUT) && clock_now() >= (int64_t)ctx
      && s->d && s->chunk.at == NULL && !(op && op->results.first)) {
    leave(s);
    return end(L, s, false, fail_timeout(L));
  }
  return go(L, t, (int64_t)ctx);
}

static struct task *enter (lua_State *L, struct socket *s, const char *what) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, what);
  s->ring = loop->ring;
  return t;
}

/* max and timeout at 2 and 3 */
static int receive (lua_State *L, int results, const char *what) {
  struct socket *s = socket_check(L, 1);
  lua_Integer max = arg_optional(L, 2, MAX_DATAGRAM, 1, INT32_MAX);
  int64_t ns = arg_seconds(L, 3);
  struct task *t = enter(L, s, what);
  lua_settop(L, 1);
  lua_pushinteger(L, max);
  lua_pushnil(L);
  lua_pushinteger(L, results);
  return go(L, t, clock_after(ns));
}

/* socket:receive([max [, timeout]]): payload, from, info */
static int s_receive (lua_State *L) {
  return receive(L, 3, "socket:receive");
}

/* socket:recv([max [, timeout]]): payload */
static int s_recv (lua_State *L) {
  return receive(L, 1, "socket:recv");
}

/* socket:recvfrom([max [, timeout]]): payload, from */
static int s_recvfrom (lua_State *L) {
  return receive(L, 2, "socket:recvfrom");
}

/* socket:accept([timeout]): connection, peer */
static int s_accept (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = enter(L, s, "socket:accept");
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  lua_pushnil(L);
  lua_pushinteger(L, 0);
  return go(L, t, clock_after(ns));
}


/* ---- iterators --------------------------------------------------------- */

static int next (lua_State *L) {
  const struct reader *r = lua_touserdata(L, READER);
  struct task *t;
  if (r->s->proc != proc_id())  /* guard: fork */
    return luaL_error(L, "this socket belongs to another process: it was "
                      "made before a fork");
  if (r->s->d == NULL) {
    lua_pushnil(L);
    return 1;
  }
  t = enter(L, r->s, "the iterator of a socket");
  return go(L, t, CLOCK_NEVER);
}

/* What the kernel still delivers stays with the socket. */
static int r_close (lua_State *L) {
  struct reader *r = class_check(L, 1, CLASS_READER);
  struct socket *s = r->s;
  struct op *op = s && s->d && s->proc == proc_id() ? socket_op(s, &s->in)
                                                    : NULL;
  if (op && (op->marks & OP_MULTI) && s->in.line.seats.last == NULL)
    ring_cancel(s->ring, op);
  return 0;
}

static struct reader *new_reader (lua_State *L, struct socket *s) {
  struct reader *r = class_new(L, CLASS_READER, sizeof(*r), 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  r->s = s;
  r->bound = BOUND;
  return r;
}

/* The reader is on the top. */
static int return_reader (lua_State *L) {
  int reader = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, reader);
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, next, 3);
  lua_pushvalue(L, reader);
  lua_pushnil(L);
  lua_pushvalue(L, reader);  /* closed at the loop's end */
  return 4;
}

/* for payload, from, info in socket:messages{ size=, count=, lease= } do */
static int iterate (lua_State *L, bool headers, lua_Integer size) {
  static const char *const names[] = { "size", "count", "lease", NULL };
  struct socket *s = socket_check(L, 1);
  struct reader *r;
  lua_settop(L, 2);
  options_open(L, 2, names);
  r = new_reader(L, s);
  r->headers = headers;
  r->size = (uint32_t)options_integer(L, 2, "size", size, 1, 1 << 20);
  r->bound = (uint16_t)options_integer(L, 2, "count", BOUND, 1, BOUND);
  r->lease = options_boolean(L, 2, "lease");
  return return_reader(L);
}

static int s_messages (lua_State *L) {
  return iterate(L, true, MAX_DATAGRAM);
}

/* for data in socket:chunks{ size=, count=, lease= } do */
static int s_chunks (lua_State *L) {
  return iterate(L, false, 16384);
}

/* for connection, peer in socket:connections() do */
static int s_connections (lua_State *L) {
  struct reader *r = new_reader(L, socket_check(L, 1));
  r->want = WANT_CONNECTION;
  return return_reader(L);
}


static const luaL_Reg methods[] = {
  {"receive", s_receive},
  {"recvmsg", s_receive},
  {"recv", s_recv},
  {"recvfrom", s_recvfrom},
  {"accept", s_accept},
  {"messages", s_messages},
  {"chunks", s_chunks},
  {"connections", s_connections},
  {NULL, NULL}
};

static const luaL_Reg no_methods[] = {
  {NULL, NULL}
};

static const luaL_Reg reader_meta[] = {
  {"__gc", r_close},
  {"__close", r_close},
  {NULL, NULL}
};

void receive_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
  class_define(L, CLASS_READER, no_methods, reader_meta, NULL);
}
