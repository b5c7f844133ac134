/*
** prep_file: opening, reading, writing and closing.
**
** Paths and the strings of writes are copied into a block of the SQE's; only
** buffers go to the kernel as they are.
*/

#include "compat.h"
#include "api/sqe.h"

#include "base/names.h"
#include "api/buffer.h"

#include <fcntl.h>

#define ANY_SLOT  IORING_FILE_INDEX_ALLOC


static const char *arg_path (lua_State *L, int arg, size_t *len) {
  const char *path;
  luaL_checktype(L, arg, LUA_TSTRING);
  path = lua_tolstring(L, arg, len);
  if (strlen(path) != *len)
    luaL_argerror(L, arg, "path contains a zero byte");
  return path;
}

static int openat_at (lua_State *L, bool direct) {
  struct request *q = sqe_self(L);
  struct fd_arg dfd = arg_fd(L, 2);
  size_t len;
  const char *path = arg_path(L, 3, &len);
  int flags = (int)arg_flags(L, 4);
  mode_t mode = (mode_t)arg_optional(L, 5, 0, 0, 07777);
  unsigned slot = direct ? arg_slot(L, 6) : 0;
  struct memory *m = sqe_memory(L, len, path);
  sqe_begin(L, q);
  /* a direct descriptor is in no process's table, and refuses the flag */
  io_uring_prep_openat(&q->sqe, dfd.number, (const char *)m->bytes,
                       direct ? flags & ~O_CLOEXEC : flags | O_CLOEXEC,
                       mode);
  sqe_pin_memory(q, &m->block);
  sqe_pin_fd(L, q, &dfd);
  if (direct) {
    compat_set_file_slot(&q->sqe, slot);
    q->disposal = slot == ANY_SLOT ? DISPOSE_SLOT : DISPOSE_NOTHING;
  }
  else
    q->disposal = DISPOSE_FD;
  return sqe_end(L, q);
}

/* sqe:prep_openat(dfd, path [, flags [, mode]]); always close-on-exec */
static int prep_openat (lua_State *L) {
  return openat_at(L, false);
}

/* sqe:prep_openat_direct(dfd, path, flags, mode, file_index) */
static int prep_openat_direct (lua_State *L) {
  return openat_at(L, true);
}

/* sqe:prep_read(fd, buffer [, nbytes [, offset [, at]]]) */
static int prep_read (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint64_t offset = (uint64_t)arg_optional(L, 5, -1, -1, LUA_MAXINTEGER);
  struct bytes b = sqe_writable_bytes(L, 3, 4, 6);
  sqe_begin(L, q);
  io_uring_prep_read(&q->sqe, fd.number, (void *)(uintptr_t)b.at,
                     (unsigned)b.size, offset);
  sqe_pin_memory(q, b.block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_write(fd, string | buffer [, nbytes [, offset [, at]]]) */
static int prep_write (lua_State *L) {
  struct request *q = sqe_self(L);
  struct fd_arg fd = arg_fd(L, 2);
  uint64_t offset = (uint64_t)arg_optional(L, 5, -1, -1, LUA_MAXINTEGER);
  struct bytes b = sqe_bytes(L, 3, 4, 6);
  sqe_begin(L, q);
  io_uring_prep_write(&q->sqe, fd.number, b.at, (unsigned)b.size, offset);
  sqe_pin_memory(q, b.block);
  sqe_pin_fd(L, q, &fd);
  return sqe_end(L, q);
}

/* sqe:prep_close(fd): a number, which then is nobody's. What owns its number
** is closed by its own close. */
static int prep_close (lua_State *L) {
  struct request *q = sqe_self(L);
  int n;
  if (lua_type(L, 2) != LUA_TNUMBER)
    return luaL_argerror(L, 2, lua_pushfstring(L,
             "descriptor's number expected, got %s; what owns its number is "
             "closed by its own close()", luaL_typename(L, 2)));
  n = (int)arg_integer(L, 2, INT32_MIN, INT32_MAX);
  sqe_begin(L, q);
  io_uring_prep_close(&q->sqe, n);
  return sqe_end(L, q);
}

/* sqe:prep_close_direct(file_index) */
static int prep_close_direct (lua_State *L) {
  struct request *q = sqe_self(L);
  unsigned slot = (unsigned)arg_integer(L, 2, 0, INT32_MAX);
  sqe_begin(L, q);
  io_uring_prep_close_direct(&q->sqe, slot);
  return sqe_end(L, q);
}

/* sqe:prep_fixed_fd_install(file_index [, flags]) */
static int prep_fixed_fd_install (lua_State *L) {
  struct request *q = sqe_self(L);
  int slot = (int)arg_integer(L, 2, 0, INT32_MAX);
  uint32_t flags = arg_flags(L, 3);
  sqe_begin(L, q);
  io_uring_prep_fixed_fd_install(&q->sqe, slot, flags);
  q->disposal = DISPOSE_FD;
  return sqe_end(L, q);
}


static const luaL_Reg preps[] = {
  {"prep_openat", prep_openat},
  {"prep_openat_direct", prep_openat_direct},
  {"prep_read", prep_read},
  {"prep_write", prep_write},
  {"prep_close", prep_close},
  {"prep_close_direct", prep_close_direct},
  {"prep_fixed_fd_install", prep_fixed_fd_install},
  {NULL, NULL}
};

void prep_file_open (lua_State *L) {
  class_extend(L, CLASS_SQE, preps);
}
