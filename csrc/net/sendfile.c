/*
** sendfile: `socket:sendfile(file, offset, count, timeout)`.
**
** A file is sent in rounds. A round is one chain of linked requests, a read
** and a send for each piece, all of which use the same memory: each send has
** copied it before the next read begins. What is in the socket's write buffer
** goes in front of the first piece, in the same send. A task that waits holds
** one piece of memory, and no thread: a send that finds no room is polled by
** the kernel. (A splice would be a thread for each slow peer.)
**
** A short read ends its chain, and sends nothing: the next round reads what
** was there. A read of nothing is the end of the file. So no bytes are kept
** between rounds, and how much was sent is known exactly when a round ends in
** the middle.
**
** A rest of at most 64 KiB is sent by system calls that do not wait, if that
** is cheaper (send_prefers_call) and the kernel has the bytes and the room.
**
** The call has its turn on the socket's send side from its first round to its
** last: no bytes of others are between those of the file.
**
** What must not break: a round has ended before the call returns, so that none
** of its requests sends afterwards; a task that leaves ends its turn.
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
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define FILE_PIECE  32768u
#define PIECES      4u       /* of a round */

/* The largest rest that is tried by calls first. */
#define CALLS  65536u

/* What a round sends of the write buffer. More than that goes before it. */
#define HEAD  4096u

/* The stack: as in send.h (the file is at DATA, and SENT and SIZE are kept for
** descriptions), and this. */
#define ROUND  (LAST + 1)

struct file_round {        /* a userdata */
  uint64_t offset;         /* in the file, of what is sent next */
  uint64_t left;           /* at most so much of it */
  lua_Integer sent;
  uint32_t most;           /* to be read next, after a short read; or 0 */
  uint32_t head;           /* bytes of the write buffer in the first send */
  uint32_t sizes[PIECES];  /* of the pieces in flight */
  bool known;              /* how much is left */
  struct chain chain;      /* last: has a link for each request */
};

static int sendfile_resumed (lua_State *L, int status, lua_KContext ctx);


/* ---- the end of a call -------------------------------------------------- */

/* What the file is called in messages. */
static const char *file_name (lua_State *L, char *text, size_t size) {
  const struct endpoint *e = class_test(L, DATA, CLASS_STREAM);
  if (e) snprintf(text, size, "%s", e->input.name);
  else if (lua_isinteger(L, DATA))
    snprintf(text, size, "fd %d", (int)lua_tointeger(L, DATA));
  else snprintf(text, size, "the file");
  return text;
}

/* nil, message, errno, how much was sent. The turn ends. */
static int sendfile_failed (lua_State *L, struct socket *s, struct task *t,
                            int err, const char *what) {
  const struct file_round *f = lua_touserdata(L, ROUND);
  char name[PATH_MAX + 32];
  if (s->d) send_end_turn(L, s, &t->node);
  fail(L, err, "sendfile of %s to socket (fd %d)%s",
       file_name(L, name, sizeof(name)), s->out.waitq.fd, what);
  lua_pushinteger(L, f->sent);
  return 4;
}

static int sendfile_timed_out (lua_State *L, struct socket *s,
                               struct task *t) {
  const struct file_round *f = lua_touserdata(L, ROUND);
  if (s->d) send_end_turn(L, s, &t->node);
  fail_timeout(L);
  lua_pushinteger(L, f->sent);
  return 4;
}

static int sendfile_done (lua_State *L, struct socket *s, struct task *t) {
  const struct file_round *f = lua_touserdata(L, ROUND);
  if (s->d) send_end_turn(L, s, &t->node);
  lua_pushinteger(L, f->sent);
  return 1;
}


/* ---- a round ------------------------------------------------------------ */

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

static struct request read_request (const struct fd_arg *file, uint64_t offset,
                                    struct memory *m, size_t at,
                                    uint32_t size) {
  struct request q = kind_read;
  /* guard: a close finds the read, and its number is not another file's */
  request_first(&q, *file);
  request_lend(&q, PLACE(addr), m->bytes + at, &m->block);
  q.sqe.off = offset;
  q.sqe.len = size;
  return q;
}

static struct request send_request (const struct socket *s, struct memory *m,
                                    uint32_t size, bool more) {
  struct request q = request_of(&kind_send, s->out.waitq.fd);
  q.pin[OP_PIN_FD] = &s->d->block;  /* guard: a close finds the send */
  request_lend(&q, PLACE(addr), m->bytes, &m->block);
  q.sqe.len = size;
  /* guard: no SIGPIPE, and no bytes of the next piece after a part of one */
  q.sqe.msg_flags = MSG_NOSIGNAL | MSG_WAITALL | (more ? MSG_MORE : 0);
  return q;
}

/* Send what is left by calls that do not wait: what the kernel has read
** already, as much of it as the peer has room for. */
static void send_now (struct socket *s, struct file_round *f, int file) {
  size_t head = output_size(&s->output), size = (size_t)f->left;
  unsigned char *bytes = malloc(head + size);
  struct iovec part;
  ssize_t n = -1;
  if (bytes == NULL)
    return;
  part.iov_base = bytes + head;
  part.iov_len = size;
  if (preadv2(file, &part, 1, (off_t)f->offset, RWF_NOWAIT) == (ssize_t)size) {
    if (head > 0) memcpy(bytes, output_bytes(&s->output), head);
    n = send(s->out.waitq.fd, bytes, head + size, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  free(bytes);
  if (n > 0) {  /* (an error is for the request) */
    size_t of_head = (size_t)n < head ? (size_t)n : head;
    output_drop_sent(&s->output, of_head);  /* guard: they have gone */
    f->sent += n - (ssize_t)of_head;
    f->offset += (size_t)n - of_head;
    f->left -= (size_t)n - of_head;
  }
}

/* The sizes of the next round's pieces: how many there are. Of a file of which
** it is not known how much is left there is one, mostly to be read short. */
static unsigned divide (struct file_round *f, unsigned entries) {
  unsigned n = f->most || !f->known ? 1 : PIECES, i = 0;
  uint64_t left = f->most ? f->most : f->left;
  if (n > entries / 2) n = entries / 2;
  while (i < n && left > 0) {
    f->sizes[i] = left < FILE_PIECE ? (uint32_t)left : FILE_PIECE;
    left -= f->sizes[i++];
  }
  return i;
}

/* Queue the chain: 0 or -errno. */
static int push_round (lua_State *L, struct task *t, struct socket *s,
                       const struct fd_arg *file) {
  struct file_round *f = lua_touserdata(L, ROUND);
  struct loop *loop = state_of(L)->loop;
  struct request requests[2 * PIECES];
  const struct request *list[2 * PIECES];
  struct op *ops[2 * PIECES];
  unsigned pieces = divide(f, s->ring->io.sq.ring_entries), n = 0;
  uint64_t offset = f->offset, left = f->left;
  struct memory *m;
  int rc;
  if (pieces == 0)
    return -EINVAL;
  f->head = (uint32_t)output_size(&s->output);
  m = memory_to_fill(state_of(L)->account, f->head + f->sizes[0]);
  if (m == NULL)
    return -ENOMEM;
  if (f->head > 0) memcpy(m->bytes, output_bytes(&s->output), f->head);
  for (unsigned i = 0; i < pieces; i++) {
    uint32_t head = i == 0 ? f->head : 0;
    left -= f->sizes[i];
    requests[n++] = read_request(file, offset, m, head, f->sizes[i]);
    requests[n++] = send_request(s, m, head + f->sizes[i],
                                 f->known && left > 0);
    offset += f->sizes[i];
  }
  for (unsigned i = 0; i < n; i++) list[i] = &requests[i];
  rc = chain_push(L, t, s->ring, &f->chain, ROUND, list, n, ops);
  refblock_release(&m->block);  /* (the operations have counts of their own) */
  if (rc < 0)
    return rc;
  if (!object_waitq_unhold(&s->out.waitq, &t->node))
    turnq_end_turn(&s->out.waitq.q, &t->node);
  /* guard: or the output sends them, too */
  if (f->head > 0) output_lend(&s->output, loop, ops[1]);
  object_waitq_serve(&s->out.waitq, ops[n - 1]);
  ops[n - 1]->op_flags |= OP_PIECE;  /* guard: no other sends after a round */
  s->out.token = ops[n - 1]->token;
  return 0;
}

static int sendfile_start (lua_State *L, struct task *t, int64_t deadline) {
  struct socket *s = class_raw(L, SOCKET, CLASS_SOCKET);
  struct file_round *f = lua_touserdata(L, ROUND);
  struct loop *loop = state_of(L)->loop;
  struct blocking b = { &t->node, WAIT_NOTHING, NULL, deadline };
  struct fd_arg file;
  int rc = 0;
  if (endpoint_closed(s->d))  /* guard: by a finalizer, or while it waited */
    return sendfile_failed(L, s, t, EBADF, ", which was closed");
  if (s->output.error) {
    int err = s->output.error;
    s->output.error = 0;
    s->output.lost = 0;
    return sendfile_failed(L, s, t, err, "");
  }
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  /* guard: what others send, and what was written, is whole */
  if (!send_in_turn(s, &t->node) || !output_may_lend(&s->output, HEAD)) {
    rc = output_start(&s->output, loop);
    if (rc < 0)
      return sendfile_failed(L, s, t, -rc, "");
    wait_join(&b, &s->out.waitq.q, WAIT_QUEUE);
    return loop_wait(L, t, b.wait, b.on, deadline, (lua_KContext)deadline,
                     sendfile_resumed);
  }
  if (f->left == 0)
    return sendfile_done(L, s, t);
  if (!file_at(L, &file))
    return sendfile_failed(L, s, t, EBADF, ": the file was closed");
  if (f->known && f->left <= CALLS && send_prefers_call(loop)
      && !loop_unfair(t)) {
    send_now(s, f, file.number);
    if (f->left == 0)
      return sendfile_done(L, s, t);
  }
  rc = push_round(L, t, s, &file);
  if (rc < 0)
    return sendfile_failed(L, s, t, -rc, "");
  return loop_wait(L, t, WAIT_CHAIN, &f->chain, deadline,
                   (lua_KContext)deadline, sendfile_resumed);
}


/* ---- its end ------------------------------------------------------------ */

enum after {
  AFTER_NEXT,              /* another round */
  AFTER_END,               /* of the file */
  AFTER_READ, AFTER_SEND   /* this has failed: `*err` */
};

/* Count what the round has sent, and see why it has ended. */
static enum after count_round (lua_State *L, struct file_round *f, int *err) {
  uint64_t sent = 0;
  enum after after = AFTER_NEXT;
  f->most = 0;
  for (unsigned i = 0; i < f->chain.n && after == AFTER_NEXT; i++) {
    uint32_t size = f->sizes[i / 2], head = i == 1 ? f->head : 0;
    int32_t res = f->chain.link[i].res;
    if (res < 0) {
      after = i % 2 ? AFTER_SEND : AFTER_READ;
      *err = -res;
    }
    else if (i % 2) {
      if ((uint32_t)res > head) sent += (uint32_t)res - head;
      if ((uint32_t)res < head + size) break;  /* (the next send says why) */
    }
    else if (res == 0) after = AFTER_END;
    else if ((uint32_t)res < size) {
      f->most = (uint32_t)res;
      f->known = false;  /* guard: or the end waits for more that is none */
      break;
    }
  }
  f->offset += sent;
  f->left -= sent;
  f->sent += (lua_Integer)sent;
  lua_pushinteger(L, f->sent);
  lua_replace(L, SENT);
  return f->left == 0 ? AFTER_END : after;
}

static int sendfile_ended (lua_State *L, struct task *t, struct socket *s,
                           enum after after, int err) {
  struct fd_arg file;
  bool cut = after >= AFTER_READ && loop_cut_short(-err);
  if (after == AFTER_END)
    return sendfile_done(L, s, t);
  if (t->task_flags & TASKF_CANCELLED) {
    if (s->d) send_end_turn(L, s, &t->node);
    loop_check(L, t);
  }
  if ((t->task_flags & TASKF_TIMED_OUT) && (cut || after == AFTER_NEXT))
    return sendfile_timed_out(L, s, t);
  if (cut && endpoint_closed(s->d))
    return sendfile_failed(L, s, t, EBADF, ", which was closed");
  if (cut && !file_at(L, &file))
    return sendfile_failed(L, s, t, EBADF, ": the file was closed");
  if (after == AFTER_SEND) {  /* (it is reported here) */
    s->output.error = 0;
    s->output.lost = 0;
  }
  return sendfile_failed(L, s, t, err, after == AFTER_READ ? ": read" : "");
}

static int sendfile_resumed (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct socket *s = class_raw(L, SOCKET, CLASS_SOCKET);
  struct file_round *f = lua_touserdata(L, ROUND);
  enum after after = AFTER_NEXT;
  int err = 0;
  (void)status;
  if (t == NULL)
    return loop_yield_again(L, ctx, sendfile_resumed);
  if (t->wait == WAIT_CHAIN) {
    chain_ended(L, t);
    after = count_round(L, f, &err);
  }
  if (after == AFTER_NEXT
      && !(t->task_flags & (TASKF_CANCELLED | TASKF_TIMED_OUT)))
    return sendfile_start(L, t, (int64_t)ctx);
  return sendfile_ended(L, t, s, after, err);
}


/* ---- the call ----------------------------------------------------------- */

/* How much there is to send: false, with nil, message, errno pushed, if it is
** no file. Of a little of a stream that is a file nothing more has to be
** known: the end of the file may come before. */
static bool sendfile_measure (lua_State *L, struct file_round *f, int fd,
                              uint64_t count) {
  const struct endpoint *e = class_test(L, DATA, CLASS_STREAM);
  struct stat st;
  char name[PATH_MAX + 32];
  int err = 0;
  f->known = true;
  f->left = count;
  if (e && e->output.positioned && count <= CALLS)
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
  struct file_round *f;
  struct socket *s;
  lua_settop(L, TO);
  lua_pushinteger(L, SEND_FILE);
  for (int i = SENT; i <= SIZE; i++) lua_pushinteger(L, 0);
  f = lua_newuserdatauv(L, sizeof(*f) - sizeof(f->chain)
                           + chain_size(2 * PIECES), 0);
  memset(f, 0, sizeof(*f));
  s = class_raw(L, SOCKET, CLASS_SOCKET);  /* (a finalizer may have closed
                                              it now) */
  f->offset = (uint64_t)offset;
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
