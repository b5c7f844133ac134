/*
** sendfile: `socket:sendfile(file, offset, count, timeout)`.
**
** A task sends by system calls that do not wait: it reads a piece of what the
** kernel has of the file in memory into the loop's scratch (preadv2), sends
** it, with what is in the socket's write buffer in front, and so on, until the
** socket is full or its turn has been long enough. Then it waits, by requests
** of the ring: for room in the socket; or for a piece that has to be read from
** a disk, which goes into memory of its own. So a task that waits for a slow
** peer holds no thread, and no memory but such a piece. (A splice would be
** a thread for each of them.)
**
** The call has its turn on the socket's send side from its first bytes to its
** last: no bytes of others are between those of the file. The write buffer is
** empty while it waits for room or for a piece.
**
** What must not break: a wait has ended before the call returns, and what was
** sent is counted exactly; a task that leaves ends its turn.
*/

#include "compat.h"
#include "net/send.h"

#include "base/clock.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/fd.h"
#include "api/prep_build.h"
#include "task/wait_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* What is read and sent by one call each, and what a task sends before it lets
** others run: some 30 us of copies. */
#define FILE_PIECE  65536u
#define FILE_TURN   131072u

/* What a request reads. A task holds it while it waits for room. */
#define READ_PIECE  32768u

/* What goes of the write buffer with the first piece. More than that goes
** before it. */
#define HEAD  4096u

/* The stack: as in send.h (the file is at DATA, and SENT and SIZE are kept for
** descriptions), and these: the state of the call, and a uring.buffer for what
** is read by a request, or nil. */
enum { STATE = LAST + 1, READ };

struct file_send {         /* a userdata */
  uint64_t offset;         /* in the file, of what is sent next */
  uint64_t left;           /* at most so much of it */
  lua_Integer sent;
  uint32_t from, upto;     /* what is in the buffer, and was not sent yet */
  bool known;              /* how much is left */
  bool reads;              /* it waits for a piece, and not for room */
  bool blind;              /* a poll has told of an error, and not of room */
  struct chain chain;      /* last: has a link for each request of a wait */
};

/* What the call does next. */
enum file_next { NEXT_ROOM, NEXT_READ, NEXT_END, NEXT_FAILED };

static int sendfile_resumed (lua_State *L, int status, lua_KContext ctx);
static int sendfile_start (lua_State *L, struct task *t, int64_t deadline);
static int sendfile_ended (lua_State *L, struct task *t, struct socket *s,
                           int err);


/* ---- the end of a call -------------------------------------------------- */

/* What the file is called in messages. */
static const char *file_name (lua_State *L, char *text, size_t size) {
  const struct endpoint *e = class_test(L, DATA, CLASS_STREAM);
  const struct fd *f = fd_at(L, DATA);
  if (e) snprintf(text, size, "%s", e->input.name);
  else if (f && f->d && !handle_closed(f->d))
    snprintf(text, size, "fd %d", handle_number(f->d));
  else if (lua_isinteger(L, DATA))
    snprintf(text, size, "fd %d", (int)lua_tointeger(L, DATA));
  else snprintf(text, size, "the file");
  return text;
}

/* nil, message, errno, how much was sent. The turn ends. */
static int sendfile_failed (lua_State *L, struct socket *s, struct task *t,
                            int err, const char *what) {
  const struct file_send *f = lua_touserdata(L, STATE);
  char name[PATH_MAX + 32];
  if (s->d) send_end_turn(L, s, &t->node);
  fail(L, err, "sendfile of %s to socket (fd %d)%s",
       file_name(L, name, sizeof(name)), s->out.waitq.fd, what);
  lua_pushinteger(L, f->sent);
  return 4;
}

static int sendfile_timed_out (lua_State *L, struct socket *s,
                               struct task *t) {
  const struct file_send *f = lua_touserdata(L, STATE);
  if (s->d) send_end_turn(L, s, &t->node);
  fail_timeout(L);
  lua_pushinteger(L, f->sent);
  return 4;
}

static int sendfile_done (lua_State *L, struct socket *s, struct task *t) {
  const struct file_send *f = lua_touserdata(L, STATE);
  if (s->d) send_end_turn(L, s, &t->node);
  lua_pushinteger(L, f->sent);
  return 1;
}


/* ---- by calls ----------------------------------------------------------- */

/* Is there a piece that does not have to be waited for? Its size; 0: the file
** has ended; less than 0: a request says why not. */
static ssize_t next_piece (lua_State *L, const struct file_send *f, int file,
                           struct iovec *piece) {
  struct loop *loop = state_of(L)->loop;
  ssize_t n;
  if (f->from < f->upto) {
    const struct buffer *b = lua_touserdata(L, READ);
    piece->iov_base = b->m->bytes + f->from;
    piece->iov_len = f->upto - f->from;
    return (ssize_t)piece->iov_len;
  }
  piece->iov_base = loop->scratch->bytes;
  piece->iov_len = f->left < FILE_PIECE ? (size_t)f->left : FILE_PIECE;
  n = preadv2(file, piece, 1, (off_t)f->offset, RWF_NOWAIT);
  if (n > 0) piece->iov_len = (size_t)n;
  return n;
}

/* So many bytes have gone, of which these are the write buffer's. */
static void count_sent (struct socket *s, struct file_send *f, size_t n,
                        size_t head) {
  size_t of_head = n < head ? n : head;
  if (of_head > 0)
    output_drop_sent(&s->output, of_head);  /* guard: they have gone */
  n -= of_head;
  f->sent += (lua_Integer)n;
  f->offset += n;
  f->left -= n;
  if (f->from < f->upto) f->from += (uint32_t)n;
}

/* Send what can be sent without waiting, for one turn. Of an error of the
** socket `*err` is the number. */
static enum file_next send_pieces (lua_State *L, struct socket *s,
                                   struct file_send *f, int file, int *err) {
  size_t turn = 0;
  while (f->left > 0 && turn < FILE_TURN) {
    size_t head = output_size(&s->output);
    struct iovec parts[2];
    struct msghdr m = { .msg_iov = head > 0 ? parts : parts + 1,
                        .msg_iovlen = head > 0 ? 2 : 1 };
    ssize_t size = next_piece(L, f, file, &parts[1]), n;
    /* (if a piece is not whole, the file may end there) */
    bool more = f->known && size >= READ_PIECE && size % READ_PIECE == 0
                && f->left > (uint64_t)size;
    if (size <= 0)
      return size < 0 ? NEXT_READ : NEXT_END;
    if (head > 0)
      parts[0] = (struct iovec){ (void *)(uintptr_t)output_bytes(&s->output),
                                 head };
    n = sendmsg(s->out.waitq.fd, &m,
                MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (n < 0) {
      *err = errno;
      return errno == EAGAIN || errno == EINTR ? NEXT_ROOM : NEXT_FAILED;
    }
    count_sent(s, f, (size_t)n, head);
    if ((size_t)n < head + (size_t)size)
      return NEXT_ROOM;
    turn += (size_t)size;
  }
  return f->left > 0 ? NEXT_ROOM : NEXT_END;
}


/* ---- waits -------------------------------------------------------------- */

/* The file's descriptor, or false if it was closed meanwhile. */
static bool file_at (lua_State *L, struct fd_arg *a) {
  if (lua_type(L, DATA) == LUA_TUSERDATA) {
    const struct fd *f = fd_at(L, DATA);
    const luaL_Stream *file = luaL_testudata(L, DATA, LUA_FILEHANDLE);
    /* guard: arg_fd would raise, and the turn would never end */
    if (file ? file->closef == NULL : f->d == NULL || handle_closed(f->d))
      return false;
  }
  *a = arg_fd(L, DATA);
  return true;
}

/* What a wait waits for. Where a poll cannot tell of room, because there is
** something in the socket's error queue, it is a pause. */
static struct request awaited (lua_State *L, const struct socket *s,
                               const struct fd_arg *file,
                               const struct file_send *f) {
  static const struct __kernel_timespec pause = { 0, 5000000 };
  struct request q;
  if (f->blind) {
    q = kind_timeout;
    q.sqe.addr = (uintptr_t)&pause;
    q.sqe.timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS;
  }
  else if (f->reads) {
    struct memory *m = ((struct buffer *)lua_touserdata(L, READ))->m;
    q = kind_read;
    request_first(&q, *file);
    request_lend(&q, PLACE(addr), m->bytes, &m->block);
    q.sqe.off = f->offset;
    q.sqe.len = f->left < READ_PIECE ? (uint32_t)f->left : READ_PIECE;
  }
  else {
    q = request_poll(&kind_poll_add, s->out.waitq.fd, POLLOUT);
    q.pin[OP_PIN_FD] = &s->d->block;  /* (its close ends the poll) */
  }
  return q;
}

/* A close of the other one, of the socket and the file, ends the wait too: it
** finds this, which is linked behind. (A Lua file has no close, nor has a
** number without an owner.) */
static bool linked (struct request *q, const struct socket *s,
                    const struct fd_arg *file, const struct file_send *f) {
  struct handle *other = f->reads || f->blind ? s->d : file->handle;
  *q = kind_nop;
  if (other) q->pin[OP_PIN_FD] = &other->block;
  return other != NULL && s->ring->io.sq.ring_entries > 1;
}

/* Queue the requests of a wait: 0 or -errno. */
static int push_file_wait (lua_State *L, struct task *t, struct socket *s,
                           const struct fd_arg *file) {
  struct file_send *f = lua_touserdata(L, STATE);
  struct request requests[2] = { awaited(L, s, file, f) };
  const struct request *const list[2] = { &requests[0], &requests[1] };
  struct op *ops[2];
  unsigned n = linked(&requests[1], s, file, f) ? 2 : 1;
  int rc = chain_push(L, t, s->ring, &f->chain, STATE, list, n, ops);
  if (rc < 0)
    return rc;
  if (!object_waitq_unhold(&s->out.waitq, &t->node))
    turnq_end_turn(&s->out.waitq.q, &t->node);
  object_waitq_serve(&s->out.waitq, ops[n - 1]);
  ops[n - 1]->op_flags |= OP_PIECE;  /* guard: no other sends after a wait */
  s->out.token = ops[n - 1]->token;
  return 0;
}

/* Memory for what requests read. Finalizers may run, so all is looked at once
** more. */
static int sendfile_buffer (lua_State *L, struct task *t, struct socket *s,
                            int64_t deadline) {
  struct memory *m;
  struct buffer *b;
  if (!t->has_turn) {  /* guard: what they send is not between two pieces */
    t->wait = WAIT_NOTHING;
    object_waitq_hold(&s->out.waitq, t);
  }
  b = buffer_push(L);
  m = memory_to_fill(state_of(L)->account, READ_PIECE);
  if (m == NULL)
    return sendfile_failed(L, s, t, ENOMEM, "");
  buffer_set(L, b, m);
  lua_replace(L, READ);
  return sendfile_start(L, t, deadline);
}

/* Wait for the socket's turn, until what was written before has gone. */
static int sendfile_wait_turn (lua_State *L, struct task *t, struct socket *s,
                               int64_t deadline) {
  struct loop *loop = state_of(L)->loop;
  struct blocking b = { &t->node, WAIT_NOTHING, NULL, deadline };
  int rc;
  if (t->task_flags & TASKF_CANCELLED)  /* guard: by a finalizer, just now */
    return sendfile_ended(L, t, s, 0);
  rc = output_start(&s->output, loop);
  if (rc < 0)
    return sendfile_failed(L, s, t, -rc, "");
  wait_join(&b, &s->out.waitq.q, WAIT_QUEUE);
  return loop_wait(L, t, b.wait, b.on, deadline, (lua_KContext)deadline,
                   sendfile_resumed);
}

/* ---- turns -------------------------------------------------------------- */

static const char *why_unread (lua_State *L, int err) {
  struct fd_arg file;
  if (err == EINVAL && file_at(L, &file)
      && (fcntl(file.number, F_GETFL) & O_DIRECT))
    return ": read, which O_DIRECT allows of aligned pieces only: open it "
           "without";
  return ": read";
}

/* The wait has failed, timed out, or was cancelled. */
static int sendfile_ended (lua_State *L, struct task *t, struct socket *s,
                           int err) {
  const struct file_send *f = lua_touserdata(L, STATE);
  struct fd_arg file;
  bool cut = loop_cut_short(-err);
  if (t->task_flags & TASKF_CANCELLED) {
    if (s->d) send_end_turn(L, s, &t->node);
    loop_check(L, t);
  }
  if ((t->task_flags & TASKF_TIMED_OUT) && (cut || err == 0))
    return sendfile_timed_out(L, s, t);
  if (cut && endpoint_closed(s->d))
    return sendfile_failed(L, s, t, EBADF, ", which was closed");
  if (cut && !file_at(L, &file))
    return sendfile_failed(L, s, t, EBADF, ": the file was closed");
  return sendfile_failed(L, s, t, err, f->reads ? why_unread(L, err) : "");
}

static int sendfile_start (lua_State *L, struct task *t, int64_t deadline) {
  struct socket *s = class_raw(L, SOCKET, CLASS_SOCKET);
  struct file_send *f = lua_touserdata(L, STATE);
  struct loop *loop = state_of(L)->loop;
  enum file_next next = NEXT_ROOM;
  struct fd_arg file;
  int err = 0;
  if (endpoint_closed(s->d))  /* guard: by a finalizer, or while it waited */
    return sendfile_failed(L, s, t, EBADF, ", which was closed");
  err = output_take_error(&s->output);
  if (err)
    return sendfile_failed(L, s, t, err, "");
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  /* guard: what others send, and what was written, is whole */
  if (!send_in_turn(s, &t->node) || !output_may_send(&s->output, HEAD))
    return sendfile_wait_turn(L, t, s, deadline);
  if (f->left == 0)
    return sendfile_done(L, s, t);
  if (!file_at(L, &file))
    return sendfile_failed(L, s, t, EBADF, ": the file was closed");
  if (loop->scratch == NULL)
    loop->scratch = memory_to_fill(state_of(L)->account, FILE_PIECE);
  if (loop->scratch == NULL)
    return sendfile_failed(L, s, t, ENOMEM, "");
  if (!loop_unfair(t)) next = send_pieces(L, s, f, file.number, &err);
  if (next == NEXT_END)
    return sendfile_done(L, s, t);
  if (next == NEXT_FAILED) {
    output_fail(&s->output, err);
    output_take_error(&s->output);  /* (it is reported here) */
    return sendfile_failed(L, s, t, err, "");
  }
  if (t->task_flags & (TASKF_CANCELLED | TASKF_TIMED_OUT))
    return sendfile_ended(L, t, s, 0);
  if (output_size(&s->output) > 0)
    return sendfile_wait_turn(L, t, s, deadline);
  if (next == NEXT_READ && lua_isnil(L, READ))
    return sendfile_buffer(L, t, s, deadline);
  f->reads = next == NEXT_READ;
  if (f->reads) f->blind = false;
  lua_pushinteger(L, f->sent);
  lua_replace(L, SENT);
  err = -push_file_wait(L, t, s, &file);
  if (err > 0)
    return sendfile_failed(L, s, t, err, "");
  return loop_wait(L, t, WAIT_CHAIN, &f->chain, deadline,
                   (lua_KContext)deadline, sendfile_resumed);
}

static int sendfile_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct socket *s = class_raw(L, SOCKET, CLASS_SOCKET);
  struct file_send *f = lua_touserdata(L, STATE);
  int32_t res;
  (void)status;
  if (t == NULL)
    return loop_yield_again(L, ctx, sendfile_resumed);
  if (t->wait == WAIT_QUEUE)
    return t->task_flags & (TASKF_CANCELLED | TASKF_TIMED_OUT)
           ? sendfile_ended(L, t, s, 0) : sendfile_start(L, t, (int64_t)ctx);
  chain_ended(L, t);
  res = f->chain.link[0].res;
  if (f->blind && res == -ETIME) res = POLLOUT;  /* (perhaps) */
  /* guard: or it polls without end, and is never out of time */
  f->blind = !f->reads && res > 0 && !(res & POLLOUT);
  if (f->reads) {
    f->from = 0;
    f->upto = res > 0 ? (uint32_t)res : 0;
  }
  if (res < 0)
    return sendfile_ended(L, t, s, -res);
  if (res == 0)
    return sendfile_done(L, s, t);  /* (it was the end of the file) */
  /* guard: a cancel has ended its turn, and others may have sent */
  if ((t->task_flags & TASKF_CANCELLED)
      && (f->sent > 0 || endpoint_closed(s->d) || !send_in_turn(s, &t->node)))
    return sendfile_ended(L, t, s, 0);
  if (f->reads && t->task_flags & (TASKF_CANCELLED | TASKF_TIMED_OUT))
    return sendfile_ended(L, t, s, 0);  /* (perhaps long after that) */
  /* (the room is used, even if it was cancelled since: a request would have
     sent by then) */
  return sendfile_start(L, t, (int64_t)ctx);
}


/* ---- the call ----------------------------------------------------------- */

/* How much there is to send: false, with nil, message, errno pushed, if it is
** no file. Of a little of a stream that is a file nothing more has to be
** known: the end of the file may come before. */
static bool sendfile_measure (lua_State *L, struct file_send *f, int fd,
                              uint64_t count) {
  const struct endpoint *e = class_test(L, DATA, CLASS_STREAM);
  struct stat st;
  char name[PATH_MAX + 32];
  int err = 0;
  f->known = true;
  f->left = (uint64_t)LUA_MAXINTEGER - f->offset;  /* (no file is longer) */
  if (f->left > count) f->left = count;
  if (e && e->output.positioned && count <= FILE_PIECE)
    return true;
  if (fstat(fd, &st) < 0) err = errno;
  else if (S_ISDIR(st.st_mode)) err = EISDIR;
  else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) err = ESPIPE;
  if (err) {
    fail(L, err, "sendfile of %s%s", file_name(L, name, sizeof(name)),
         err == ESPIPE ? ", which is no file" : "");
    return false;
  }
  f->known = st.st_size > 0;  /* (of /proc, and of devices, it is 0) */
  if (f->known) {
    uint64_t size = (uint64_t)st.st_size;
    uint64_t there = size > f->offset ? size - f->offset : 0;
    if (f->left > there) f->left = there;
  }
  return true;
}

static int sendfile_begin (lua_State *L, lua_Integer offset, uint64_t count,
                           int64_t ns) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop_enter(L, loop, "socket:sendfile");
  struct file_send *f;
  struct socket *s;
  lua_settop(L, TO);
  lua_pushinteger(L, SEND_FILE);
  for (int i = SENT; i <= SIZE; i++) lua_pushinteger(L, 0);
  f = lua_newuserdatauv(L, sizeof(*f) - sizeof(f->chain)
                           + chain_size(2), 0);
  memset(f, 0, sizeof(*f));
  lua_pushnil(L);
  fd_share_owner(L, DATA);  /* guard: or its close is not seen, and the number
                               may be another file's by then */
  s = class_raw(L, SOCKET, CLASS_SOCKET);  /* (a finalizer may have closed
                                              it now) */
  f->offset = (uint64_t)offset;
  if (t->has_turn) loop_end_turns(loop, t);  /* (of a wait that has raised) */
  t->task_flags &= (uint8_t)~TASKF_TIMED_OUT;  /* (of an earlier wait) */
  if (!sendfile_measure(L, f, arg_fd(L, DATA).number, count)) {
    lua_pushinteger(L, 0);
    return 4;
  }
  s->ring = loop->ring;
  s->out.waitq.describe = send_describe;
  return sendfile_start(L, t, loop_deadline(loop, ns));
}

/* What was written to the file goes there first. */
static int sendfile_flushed (lua_State *L, int status, lua_KContext ctx) {
  struct fd_arg file;
  (void)status;
  if (!lua_isnil(L, -3) && !file_at(L, &file))  /* (a request has closed it) */
    fail(L, EBADF, "sendfile: the file was closed");
  if (lua_isnil(L, -3)) {
    lua_pushinteger(L, 0);
    return 4;
  }
  return sendfile_begin(L, lua_tointeger(L, 3),
                        (uint64_t)lua_tointeger(L, 4), (int64_t)ctx);
}

/* socket:sendfile(file [, offset [, count [, timeout]]]): how many bytes were
** sent */
static int s_sendfile (lua_State *L) {
  struct socket *s = socket_check(L, SOCKET);
  lua_Integer offset, count;
  const struct endpoint *e;
  int64_t ns;
  if (!socket_is_stream(s))
    luaL_argerror(L, SOCKET, "a socket of messages has no bytes to write: use "
                  "its send");
  arg_fd(L, DATA);
  offset = arg_optional(L, 3, 0, 0, LUA_MAXINTEGER);
  count = arg_optional(L, 4, LUA_MAXINTEGER, 0, LUA_MAXINTEGER);
  ns = arg_seconds(L, 5);
  e = class_test(L, DATA, CLASS_STREAM);
  if (e == NULL || output_size(&e->output) == 0)
    return sendfile_begin(L, offset, (uint64_t)count, ns);
  loop_enter(L, state_of(L)->loop, "socket:sendfile");
  lua_settop(L, 5);
  lua_pushinteger(L, offset);
  lua_replace(L, 3);
  lua_pushinteger(L, count);
  lua_replace(L, 4);
  lua_getfield(L, DATA, "flush");
  lua_pushvalue(L, DATA);
  lua_pushvalue(L, 5);
  lua_callk(L, 2, 3, (lua_KContext)ns, sendfile_flushed);
  return sendfile_flushed(L, LUA_OK, (lua_KContext)ns);
}


static const luaL_Reg methods[] = {
  {"sendfile", s_sendfile},
  {NULL, NULL}
};

void sendfile_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
}
