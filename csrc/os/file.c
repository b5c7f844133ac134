/*
** file: see the header. A request is of a prep's kind, and awaited as
** uring.await does. What must not break: all that may raise comes before the
** request is pushed; its blocks are the operation's from then on.
*/

#include "compat.h"
#include "os/file.h"

#include "base/clock.h"
#include "base/names.h"
#include "ring/ring_submit.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/buffer.h"
#include "api/fd.h"
#include "api/prep_build.h"
#include "api/ring_object.h"
#include "task/wait_await.h"
#include "os/stream.h"
#include "os/stream_read.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>


/* ---- requests ---------------------------------------------------------- */

enum { OPEN, BENEATH, STAT, MKDIR, REMOVE, RENAME, SYMLINK, LINK, SYNC,
       TRUNCATE };

static const char *const names[] = {
  "open", "open_beneath", "stat", "mkdir", "remove", "rename", "symlink",
  "link", "sync", "truncate", NULL
};

/* The stack of a call: its name, the descriptor (of a folder, or of the file),
** one or two paths, two integers, seconds, the buffer of a stat or the second
** path's folder; the kind, the deadline, and how often it was tried before.
** What opens has its uring.fd in the place of a second path. */
enum { NAME = 1, FD, PATH, OTHER, FIRST, SECOND, TIMEOUT, BUFFER, WHICH,
       DEADLINE, TRIED };
#define OTHER_FD  BUFFER
#define OPENED  OTHER

/* The second integer of what opens. The first try of a request does not wait,
** as for a FIFO's peer: skip it. Or: there is no other try, by a thread of the
** kernel's, for a path that has to be read from a disk (EAGAIN). */
#define OPEN_WAITING  1
#define OPEN_CACHED  2

/* The kind of each, and how many paths it has. */
static const struct { const struct request *kind; uint8_t paths; } calls[] = {
  [OPEN] = { &kind_openat2, 1 },
  [BENEATH] = { &kind_openat2, 1 },
  [STAT] = { &kind_statx, 1 },
  [MKDIR] = { &kind_mkdirat, 1 },
  [REMOVE] = { &kind_unlinkat, 1 },
  [RENAME] = { &kind_renameat, 2 },
  [SYMLINK] = { &kind_symlinkat, 2 },
  [LINK] = { &kind_linkat, 2 },
  [SYNC] = { &kind_fsync, 0 },
  [TRUNCATE] = { &kind_ftruncate, 0 },
};

static struct copied arg_path (lua_State *L, int arg, uint8_t place) {
  struct copied c = { NULL, 0, place };
  c.from = lua_tolstring(L, arg, &c.size);
  if (c.from == NULL || strlen(c.from) != c.size)
    luaL_argerror(L, arg, "path without zero bytes expected");
  return c;
}

/* Copy the paths, and what an open says. False: there is no memory. */
static bool copy_args (lua_State *L, struct request *q, int which) {
  struct open_how how = {0};
  struct copied c[2];
  unsigned n = calls[which].paths;
  if (n > 0) c[0] = arg_path(L, PATH, PLACE(addr));
  if (n > 1) c[1] = arg_path(L, OTHER, PLACE(off));
  if (which <= BENEATH) {
    how.flags = (uint64_t)lua_tointeger(L, FIRST);
    if (how.flags & O_CREAT) how.mode = 0666;
    if (which == BENEATH) how.resolve = RESOLVE_BENEATH;
    if (lua_tointeger(L, SECOND) == OPEN_CACHED)
      how.resolve |= RESOLVE_CACHED;
    request_how(q, &how);
    c[n++] = (struct copied){ &how, sizeof(how), PLACE(off) };
  }
  return request_copy(state_of(L)->account, q, c, n);
}

/* The folder of the second path: the first one's, or another, which the
** operation counts. */
static void set_other_folder (lua_State *L, struct request *q) {
  request_set_second(&q->sqe, q->sqe.fd);
  if (!lua_isnil(L, OTHER_FD)) request_second(q, arg_fd(L, OTHER_FD));
}

/* The arguments that are not copied. */
static void set_args (lua_State *L, struct request *q, int which) {
  lua_Integer first = lua_tointeger(L, FIRST);
  switch (which) {
    case OPEN: case BENEATH:
      if (lua_tointeger(L, SECOND) == OPEN_WAITING)
        q->sqe.flags |= IOSQE_ASYNC;
      break;
    case STAT: {
      struct memory *m = buffer_check(L, BUFFER);
      q->sqe.statx_flags = (uint32_t)first;
      q->sqe.len = STATX_BASIC_STATS | STATX_BTIME;
      request_lend(q, PLACE(off), m->bytes, &m->block);
      break;
    }
    case MKDIR: q->sqe.len = (uint32_t)first; break;
    case REMOVE: q->sqe.unlink_flags = (uint32_t)first; break;
    case RENAME: case LINK:
      set_other_folder(L, q);
      q->sqe.rename_flags = (uint32_t)first;
      break;
    case TRUNCATE: q->sqe.off = (uint64_t)first; break;
    default: break;
  }
}

#define NO_THREAD " (by a close, or the kernel could start no thread for " \
                  "it: RLIMIT_NPROC, pids.max)"

/* nil, message, errno: what was tried on which path. */
static int request_failed (lua_State *L, int err) {
  int which = (int)lua_tointeger(L, WHICH);
  const char *name = names[which == BENEATH ? OPEN : which];
  const char *path = lua_tostring(L, PATH);
  if (path == NULL)
    return fail(L, err, "%s%s", name, err == ECANCELED ? NO_THREAD : "");
  if (err == ECANCELED)  /* (a task that is cancelled does not come here) */
    return fail(L, err, "%s '%s'%s", name, path, NO_THREAD);
  if (calls[which].paths == 2)
    return fail(L, err, "%s '%s' to '%s'", name, path, lua_tostring(L, OTHER));
  if (which == BENEATH && err == EXDEV)
    return fail(L, err, "%s '%s' (it leads out of the root)", name, path);
  if (which <= BENEATH && err == ENXIO)
    return fail(L, err, "%s '%s' (a socket's path is for uring.unix.connect; "
                "a FIFO has no reader)", name, path);
  return fail(L, err, "%s '%s'", name, path);
}

/* A signal in the wrong moment keeps the kernel from starting a thread, and it
** cancels the request that was for it. */
#define TRIES  10

static int request_start (lua_State *L, struct task *t);

static bool is_open (lua_State *L, int arg) {
  const struct fd *f = fd_at(L, arg);
  return f == NULL || !(f->d == NULL || handle_closed(f->d));
}

/* Was it cancelled by the kernel itself? Then it is tried again. */
static bool request_is_lost (lua_State *L, int32_t res) {
  lua_Integer tried = lua_tointeger(L, TRIED);
  if (res != -ECANCELED || tried == TRIES || !is_open(L, FD)
      || !is_open(L, OTHER_FD))
    return false;
  lua_pushinteger(L, tried + 1);
  lua_replace(L, TRIED);
  return true;
}

/* The request's result, or the uring.fd of what it has opened. */
static int push_request_result (lua_State *L, struct task *t) {
  if (request_is_lost(L, t->res))
    return request_start(L, t);
  if (t->res < 0)
    return request_failed(L, -t->res);
  if (lua_tointeger(L, WHICH) > BENEATH) lua_pushinteger(L, t->res);
  else {
    struct fd *f = lua_touserdata(L, OPENED);
    handle_own(&state_of(L)->handles, f->d, t->res);
    lua_pushvalue(L, OPENED);
  }
  return 1;
}

static int request_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return await_resumed(L, ctx, push_request_result, request_again);
}

static int request_start (lua_State *L, struct task *t) {
  struct loop *loop = state_of(L)->loop;
  int which = (int)lua_tointeger(L, WHICH);
  int64_t deadline = lua_tointeger(L, DEADLINE);
  struct request q = *calls[which].kind;
  struct refblock *copy;
  struct op *op;
  int rc;
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  request_first(&q, arg_fd(L, FD));
  set_args(L, &q, which);
  if (!copy_args(L, &q, which))
    return request_failed(L, ENOMEM);
  rc = ring_push_one(loop->ring, &q, OP_LOOPED, &op);
  /* the operation has a count of its own (of a stat's buffer that alone) */
  copy = q.pin[which == STAT ? OP_PIN_AUX : OP_PIN_MEMORY];
  if (copy) refblock_release(copy);
  if (rc < 0)
    return ring_push_failed(L, loop->ring, rc);
  return await_wait(L, t, loop->ring, op, deadline, (lua_KContext)loop,
                    request_again);
}

/* file_request(name, fd, path, other, first, second, seconds, buffer): the
** result of the request, a uring.fd of what opens; or nil, message, errno */
static int file_request (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  int which = luaL_checkoption(L, NAME, NULL, names);
  struct task *t = loop_enter(L, loop, lua_tostring(L, NAME));
  int64_t ns = arg_seconds(L, TIMEOUT);
  lua_settop(L, BUFFER);
  if (which <= BENEATH) {  /* (so that what was opened has an owner at once) */
    fd_push(L);
    lua_replace(L, OPENED);
  }
  lua_pushinteger(L, which);
  lua_pushinteger(L, loop_deadline(loop, ns));
  lua_pushinteger(L, 0);
  return request_start(L, t);
}


/* ---- stat -------------------------------------------------------------- */

static const char *kind_of (unsigned mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "link";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "char";
    default: return "block";
  }
}

static void push_time (lua_State *L, const struct statx_timestamp *t) {
  lua_pushnumber(L, (lua_Number)t->tv_sec + (lua_Number)t->tv_nsec / 1e9);
}

/* In the order of `stat_table` in lua/uring/file.lua. */
static int push_stat (lua_State *L, struct statx x) {
  const uint64_t counts[] = { x.stx_size, x.stx_mode & 07777u, x.stx_nlink,
                              x.stx_uid, x.stx_gid, x.stx_ino, x.stx_blocks };
  lua_pushstring(L, kind_of(x.stx_mode));
  for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
    lua_pushinteger(L, (lua_Integer)counts[i]);
  push_time(L, &x.stx_atime);
  push_time(L, &x.stx_mtime);
  push_time(L, &x.stx_ctime);
  if (x.stx_mask & STATX_BTIME) push_time(L, &x.stx_btime);
  else lua_pushnil(L);
  return 12;
}

/* file_stat(buffer): the values of what a stat has put there */
static int file_stat (lua_State *L) {
  struct statx x;
  memcpy(&x, buffer_check(L, 1)->bytes, sizeof(x));
  return push_stat(L, x);
}

/* file_stat_open(fd): the same of what is open. (A request for it always goes
** to a thread of the kernel's, which takes ten times as long.) */
static int file_stat_open (lua_State *L) {
  struct fd_arg fd = arg_fd(L, 1);
  struct statx x;
  if (statx(fd.number, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &x)
      < 0)
    return fail(L, errno, "stat");
  return push_stat(L, x);
}

/* file_truncate(fd, size): ftruncate(2), for kernels without the request */
static int file_truncate (lua_State *L) {
  struct fd_arg fd = arg_fd(L, 1);
  if (ftruncate(fd.number, lua_tointeger(L, 2)) < 0)
    return fail(L, errno, "truncate");
  lua_pushinteger(L, 0);
  return 1;
}

/* file_readlink(fd, path): the text of the link that was opened with O_PATH
** and O_NOFOLLOW. (Here it takes a third of what a thread takes.) */
static int file_readlink (lua_State *L) {
  struct fd_arg fd = arg_fd(L, 1);
  char text[PATH_MAX];
  ssize_t n = readlinkat(fd.number, "", text, sizeof(text));
  if (n < 0)  /* (of what is no link ENOENT) */
    return fail(L, errno == ENOENT ? EINVAL : errno, "readlink '%s'",
                lua_tostring(L, 2));
  lua_pushlstring(L, text, (size_t)n);
  return 1;
}

/* file_fifo_came(fd): has a writer come to the FIFO that this descriptor
** reads, and gone? (What is in it may be from before.) */
static int file_fifo_came (lua_State *L) {
  struct pollfd p = { arg_fd(L, 1).number, POLLHUP, 0 };
  lua_pushboolean(L, poll(&p, 1, 0) > 0);
  return 1;
}

/* file_random(): six letters and digits, for names of temporary files */
static int file_random (lua_State *L) {
  static const char all[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  unsigned char bytes[6] = {0};
  if (getrandom(bytes, sizeof(bytes), 0) < 0)
    return luaL_error(L, "getrandom: %s", name_error_text(errno));
  for (size_t i = 0; i < sizeof(bytes); i++)
    bytes[i] = (unsigned char)all[bytes[i] % (sizeof(all) - 1)];
  lua_pushlstring(L, (const char *)bytes, sizeof(bytes));
  return 1;
}


/* ---- seek -------------------------------------------------------------- */

/* The stack of a seek: the stream, whence, the offset. */

static int seek_now (lua_State *L, struct stream *s) {
  static const int whences[] = { SEEK_SET, SEEK_CUR, SEEK_END };
  int whence = whences[lua_tointeger(L, 2)];
  lua_Integer offset = lua_tointeger(L, 3), ahead, at;
  if (endpoint_closed(s->d))  /* guard: its number may be another file's */
    return fail(L, EBADF, "%s is closed", s->input.name);
  ahead = (lua_Integer)store_size(&s->input.store);
  if (whence == SEEK_CUR) {
    if (offset < LUA_MININTEGER + ahead)
      return fail(L, EINVAL, "seek in %s", s->input.name);
    offset -= ahead;
  }
  at = lseek(s->fd, offset, whence);
  if (at < 0)
    return fail(L, errno, "seek in %s", s->input.name);
  store_take(&s->input.store, (size_t)ahead);
  lua_pushinteger(L, at);
  return 1;
}

static int seek_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  struct input *in = &s->input;
  int n;
  (void)t;
  if (!in->open)
    return fail(L, EBADF, "%s is closed", in->name);
  if ((n = read_settle(L, s, node)) < 0)
    return 0;
  if (n == 0) n = seek_now(L, s);
  if (in->open) in->ops->end_turn(L, in, node);
  return n;
}

static int seek_block (lua_State *L, struct task *t, struct blocking *b) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  (void)t;
  wait_join(b, &s->in.q, WAIT_QUEUE);
  return 0;
}

static void seek_cancel (lua_State *L, struct task *t,
                         struct wait_node *node) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  struct input *in = &s->input;
  (void)t;
  if (in->open) in->ops->end_turn(L, in, node);
}

static const struct wait_kind seeking = {
  "seeking", seek_try, seek_block, seek_cancel, WAITS_OUTSIDE, NULL
};

static int seek_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &seeking, (int64_t)ctx, seek_again);
}

/* file_seek(stream, whence, offset): whence is 0, 1 or 2 */
static int file_seek (lua_State *L) {
  struct stream *s = stream_check(L, 1);
  struct task *t = loop_enter(L, state_of(L)->loop, "seek");
  if (!s->seekable)  /* (without a wait for what another task reads) */
    return fail(L, ESPIPE, "seek in %s", s->input.name);
  s->input.ops->enter(L, &s->input);
  lua_settop(L, 3);
  return wait_perform(L, t, &seeking, CLOCK_NEVER, seek_again);
}


static const luaL_Reg functions[] = {
  {"file_request", file_request},
  {"file_stat", file_stat},
  {"file_stat_open", file_stat_open},
  {"file_truncate", file_truncate},
  {"file_fifo_came", file_fifo_came},
  {"file_seek", file_seek},
  {"file_readlink", file_readlink},
  {"file_random", file_random},
  {NULL, NULL}
};

void file_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}
