/*
** stream_make: see stream.h. Streams of what there is, `uring.stream` and
** `uring.pipe`; of what was opened, for lua/uring/file.lua; the standard
** streams. What must not break: the userdata exists before the descriptor,
** which therefore cannot leak.
*/

#include "compat.h"
#include "os/stream.h"

#include "base/fork_id.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/fd.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>


/* ---- what it is -------------------------------------------------------- */

static int file_flags (int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags == -1 ? 0 : flags;
}

/* What it is: files have no limit, and sockets are written to by send.
** `flags`: those that it was opened with, or -1. */
static void stream_classify (struct stream *s, int fd, mode_t mode,
                             int flags) {
  bool file = S_ISREG(mode) || S_ISBLK(mode);
  s->fd = s->in.fd = s->out.fd = fd;
  if (file) s->input.line_limit = SIZE_MAX;
  s->seekable = file || lseek(fd, 0, SEEK_CUR) >= 0;
  s->output.positioned = file;
  s->output.appends = file && (flags < 0 ? file_flags(fd) : flags) & O_APPEND;
  s->output.sends = S_ISSOCK(mode);
  s->output.lines = S_ISCHR(mode) && isatty(fd);
}

static mode_t mode_of (int fd) {
  struct stat st;
  return fstat(fd, &st) < 0 ? 0 : st.st_mode;
}

static void stream_own (lua_State *L, struct stream *s, int fd) {
  handle_own(&state_of(L)->handles, s->d, fd);
  stream_classify(s, fd, mode_of(fd), -1);
}

/* Name it for messages: by its path, or by its number. */
static void stream_name (lua_State *L, struct stream *s, const char *path) {
  size_t size = path ? strlen(path) + 3 : 32;
  char *name = malloc(size);
  if (name == NULL)
    luaL_error(L, "not enough memory for a stream");
  if (path) {
    name[0] = name[size - 2] = '\'';
    memcpy(name + 1, path, size - 3);
    name[size - 1] = '\0';
  }
  else snprintf(name, size, "stream (fd %d)", s->fd);
  s->name = name;
  s->input.name = s->output.name = name;
}


/* ---- of what there is -------------------------------------------------- */

/* uring.pipe(): the end to read from, and the end to write to (pipe(2)) */
int stream_pipe (lua_State *L) {
  struct stream *r, *w;
  int ends[2];
  lua_settop(L, 0);
  r = stream_push(L, 0);
  w = stream_push(L, 0);
  if (pipe2(ends, O_CLOEXEC) < 0)
    return fail(L, errno, "pipe");
  stream_own(L, r, ends[0]);
  stream_own(L, w, ends[1]);
  stream_name(L, r, NULL);
  stream_name(L, w, NULL);
  return 2;
}

/* A stream of a new descriptor, which is its own from here on. */
static int stream_adopt (lua_State *L, struct stream *s, int fd,
                         const char *path) {
  stream_own(L, s, fd);
  stream_name(L, s, path);
  return 1;
}

/* A Lua file stays its owner's: the stream has a dup. */
static int stream_from_file (lua_State *L, struct stream *s) {
  luaL_Stream *file = lua_touserdata(L, 1);
  int fd;
  if (file->closef == NULL)
    return luaL_argerror(L, 1, "attempt to use a closed file");
  output_flush_file(file->f);
  fd = fcntl(fileno(file->f), F_DUPFD_CLOEXEC, 0);
  return fd < 0 ? fail(L, errno, "stream of a file")
                : stream_adopt(L, s, fd, NULL);
}

/* It takes the descriptor from a uring.fd, with all that is in flight on it:
** its number. */
static int stream_take_fd (lua_State *L, struct stream *s) {
  struct fd *f = lua_touserdata(L, 1);
  if (f->d == NULL || handle_closed(f->d))
    return luaL_argerror(L, 1, "attempt to use a closed descriptor");
  refblock_release(&s->d->block);
  s->d = fd_take_handle(L, f);
  return handle_number(s->d);
}

static int stream_from_fd (lua_State *L, struct stream *s) {
  int fd = stream_take_fd(L, s);
  stream_classify(s, fd, mode_of(fd), -1);
  stream_name(L, s, NULL);
  return 1;
}

static int stream_from_number (lua_State *L, struct stream *s) {
  int fd = (int)arg_integer(L, 1, 0, INT32_MAX);
  if (fcntl(fd, F_GETFD) < 0)
    return fail(L, errno, "uring.stream(%d)", fd);
  if (handle_owns(&state_of(L)->handles, fd))
    return fail(L, EEXIST, "uring.stream(%d): a uring.fd, a socket or another "
                "object owns this number", fd);
  return stream_adopt(L, s, fd, NULL);
}

/* uring.stream(x): of an integer, which it owns from now on; of a uring.fd,
** which hands its number over; of a Lua file. A socket or stream is one. */
int stream_new (lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  if (class_test(L, 1, CLASS_SOCKET) || class_test(L, 1, CLASS_STREAM)) {
    endpoint_at(L, 1)->input.ops->check(L, 1);
    return 1;
  }
  if (lua_type(L, 1) == LUA_TNUMBER)
    return stream_from_number(L, stream_push(L, 0));
  if (class_test(L, 1, CLASS_FD))
    return stream_from_fd(L, stream_push(L, 0));
  if (luaL_testudata(L, 1, LUA_FILEHANDLE))
    return stream_from_file(L, stream_push(L, 0));
  return luaL_argerror(L, 1, lua_pushfstring(L, "descriptor expected (an "
    "integer, a uring.fd, a socket, a stream or a file), or a table of "
    "functions; got %s", arg_typename(L, 1)));
}


/* ---- of what was opened ------------------------------------------------ */

/* As with io.open: what only appends begins at the end. */
static int stream_opened (lua_State *L, struct stream *s, int fd, int flags,
                          const char *path) {
  mode_t mode = mode_of(fd);
  if (S_ISREG(mode)
      && (flags & (O_APPEND | O_ACCMODE)) == (O_APPEND | O_WRONLY))
    lseek(fd, 0, SEEK_END);
  stream_classify(s, fd, mode, flags);
  stream_name(L, s, path);
  lua_pushboolean(L, S_ISFIFO(mode));
  return 2;
}

/* open_stream(fd, path, flags): a stream of a uring.fd that was opened just
** now; is it a FIFO? */
static int stream_open_fd (lua_State *L) {
  struct stream *s = stream_push(L, 0);
  return stream_opened(L, s, stream_take_fd(L, s), (int)lua_tointeger(L, 3),
                       lua_tostring(L, 2));
}

/* It was opened with O_NONBLOCK as well, which no request wants from now
** on. */
static void clear_nonblock (int fd, int flags) {
  fcntl(fd, F_SETFL, flags & O_APPEND);
}

/* The number of the folder at 1, AT_FDCWD for any number; or -1. */
static int folder_number (lua_State *L) {
  const struct fd *f = lua_touserdata(L, 1);
  if (lua_type(L, 1) == LUA_TNUMBER)
    return AT_FDCWD;
  /* guard: of a root that is closed, perhaps by a finalizer */
  return f == NULL || endpoint_closed(f->d) ? -1 : handle_number(f->d);
}

/* open_cached(folder, path, flags, beneath): the same of what the kernel opens
** without reading from a disk, and without waiting for a FIFO's other end; or
** nothing, and a request opens it, or says why not. (The request does the same
** first. A call costs a third of it.) */
static int stream_open_cached (lua_State *L) {
  int flags = (int)lua_tointeger(L, 3), folder, fd = -1;
  struct open_how how = {
    .flags = (unsigned)flags | O_CLOEXEC | O_NONBLOCK,
    .resolve = RESOLVE_CACHED | (lua_toboolean(L, 4) ? RESOLVE_BENEATH : 0u)
  };
  struct task *t = loop_enter(L, state_of(L)->loop, "open");
  struct stream *s;
  if (loop_unfair(t))
    return 0;
  s = stream_push(L, 0);
  folder = folder_number(L);
  if (folder != -1)
    fd = (int)syscall(SYS_openat2, folder, lua_tostring(L, 2), &how,
                      sizeof(how));
  if (fd < 0) {
    stream_abandon(L, s);
    return 0;
  }
  handle_own(&state_of(L)->handles, s->d, fd);
  /* guard: a request on what is not blocking does not wait */
  clear_nonblock(fd, flags);
  return stream_opened(L, s, fd, flags, lua_tostring(L, 2));
}

/* standard_stream(number, name): its close leaves the number open */
static int stream_standard (lua_State *L) {
  int number = (int)lua_tointeger(L, 1), fd = number;
  const char *name = lua_tostring(L, 2);
  struct stream *s = stream_push(L, 0);
  /* Where the program was started without it a ring may have the number. */
  for (const struct ring *r = state_of(L)->rings; r; r = r->next)
    if (r->open && r->io.ring_fd == number) fd = -1;
  atomic_store(&s->d->number, fd);
  s->standard = true;
  stream_classify(s, fd, mode_of(fd), -1);
  stream_name(L, s, name);
  s->output.standard = number == STDERR_FILENO ? stderr : stdout;
  s->output.by_write = s->seekable;
  return 1;
}


/* ---- for the Lua files ------------------------------------------------- */

/* is_flushed(x): is it an open stream with a descriptor, and nothing that was
** written is still to go? */
static int stream_is_flushed (lua_State *L) {
  const struct stream *s = class_test(L, 1, CLASS_STREAM);
  lua_pushboolean(L, s && s->d && !handle_closed(s->d) && !s->finish
                     && s->fork_id == fork_id() && !s->output.error
                     && output_size(&s->output) == 0);
  return 1;
}

/* is_seekable(stream): has it positions? */
static int stream_is_seekable (lua_State *L) {
  const struct stream *s = class_check(L, 1, CLASS_STREAM);
  lua_pushboolean(L, s->seekable);
  return 1;
}

/* flush_print(): what print has buffered goes out, before a child that shares
** stdout writes there */
static int stream_flush_print (lua_State *L) {
  (void)L;
  output_flush_file(stdout);
  return 0;
}

/* flush_file(x): write what a Lua file has buffered, and put its descriptor
** where the next read by it would begin. Any other value is left alone. */
static int stream_flush_file (lua_State *L) {
  const luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
  if (file && file->closef) output_flush_file(file->f);
  return 0;
}

/* clear_nonblock(fd, flags): of what was opened just now with these flags */
static int stream_clear_nonblock (lua_State *L) {
  clear_nonblock(arg_fd(L, 1).number, (int)lua_tointeger(L, 2));
  return 0;
}


static const luaL_Reg functions[] = {
  {"open_stream", stream_open_fd},
  {"open_cached", stream_open_cached},
  {"standard_stream", stream_standard},
  {"clear_nonblock", stream_clear_nonblock},
  {"is_flushed", stream_is_flushed},
  {"is_seekable", stream_is_seekable},
  {"flush_print", stream_flush_print},
  {"flush_file", stream_flush_file},
  {NULL, NULL}
};

void stream_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
  lua_getiuservalue(L, -2, CLASS_STREAM + 1);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "Stream");  /* its methods; file.lua adds to them */
  lua_pop(L, 1);
  lua_getiuservalue(L, -2, CLASS_SOCKET + 1);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "Socket");  /* (serve.lua) */
  lua_pop(L, 1);
}
