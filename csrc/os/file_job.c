/*
** file_job: see the header. What must not break: the job owns all that its
** thread touches; its end, on any thread, closes and frees it.
*/

#include "compat.h"
#include "os/file_job.h"

#include "base/clock.h"
#include "lua/errors.h"
#include "api/fd.h"
#include "os/job_wait.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPACE  65536       /* of a job's buffer */

struct file_job {
  struct waited_job waited;  /* first */
  int fd[2];               /* its own; or -1 */
  int64_t number;          /* the mode, or how much to copy */
  int64_t res;             /* or -errno */
  struct memory *space;
};

static void file_job_end (struct refblock *b) {
  struct file_job *j = (struct file_job *)b;
  for (int i = 0; i < 2; i++) if (j->fd[i] >= 0) close(j->fd[i]);
  if (j->space) refblock_release(&j->space->block);
  free(j);
}


/* ---- on a helper thread ------------------------------------------------ */

static int64_t res_of (int64_t n) { return n < 0 ? -errno : n; }

static void dir_work (struct job *job) {
  struct file_job *j = (struct file_job *)job;
  j->res = res_of(getdents64(j->fd[0], j->space->bytes, SPACE));
}

/* By reading and writing: what copy_file_range refuses, and files of /proc,
** which have no size. */
static int64_t copy_bytes (struct file_job *j, int64_t most) {
  int64_t total = 0;
  while (total < most) {
    int64_t left = most - total;  /* (behind it there may be a hole) */
    ssize_t n = read(j->fd[0], j->space->bytes,
                     left < SPACE ? (size_t)left : SPACE);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? -errno : total;
    for (ssize_t done = 0, w; done < n; done += w) {
      w = write(j->fd[1], j->space->bytes + done, (size_t)(n - done));
      if (w < 0 && errno == EINTR) w = 0;
      if (w < 0) return -errno;
    }
    total += n;
  }
  return total;
}

static int64_t copy_data (struct file_job *j, int64_t most) {
  ssize_t n = copy_file_range(j->fd[0], NULL, j->fd[1], NULL, (size_t)most, 0);
  if (n == 0 || (n < 0 && (errno == EXDEV || errno == EINVAL
                           || errno == EOPNOTSUPP || errno == ENOSYS
                           || errno == EPERM)))
    return copy_bytes(j, most);
  return res_of(n);
}

/* A hole from here up to `upto` is one in the copy, too. */
static int64_t copy_hole (struct file_job *j, off_t at, off_t upto) {
  off_t end = lseek(j->fd[1], upto - at, SEEK_CUR);
  if (end < 0 || ftruncate(j->fd[1], end) < 0
      || lseek(j->fd[0], upto, SEEK_SET) < 0)
    return -errno;
  return upto - at;
}

/* Copy the hole or the data that is next, of the latter `most` bytes: how
** many, 0: the end. What knows no holes is all data. */
static int64_t copy_next (struct file_job *j, int64_t most) {
  off_t at = lseek(j->fd[0], 0, SEEK_CUR);
  off_t data = lseek(j->fd[0], at, SEEK_DATA), hole;
  if (data < 0 && errno == ENXIO) data = lseek(j->fd[0], 0, SEEK_END);
  if (data > at)
    return copy_hole(j, at, data);
  hole = data == at ? lseek(j->fd[0], at, SEEK_HOLE) : -1;
  if (at >= 0) lseek(j->fd[0], at, SEEK_SET);
  if (hole > at && hole - at < most) most = hole - at;
  return copy_data(j, most);
}

/* (An error counts even after some bytes: what was read and could not be
** written is not read again.) */
static void copy_work (struct job *job) {
  struct file_job *j = (struct file_job *)job;
  int64_t done = 0, n;
  do {
    n = copy_next(j, j->number - done);
    if (n > 0) done += n;
  } while (n > 0 && done < j->number);
  j->res = n < 0 ? n : done;
}

/* Of a descriptor that may be one of O_PATH, which fchmod refuses. (There is
** fchmodat2 for it from Linux 6.6 on, and no function of the C library.) */
static void chmod_work (struct job *job) {
  struct file_job *j = (struct file_job *)job;
  char path[32];
  j->res = res_of(fchmod(j->fd[0], (mode_t)j->number));
  if (j->res != -EBADF)
    return;
  snprintf(path, sizeof(path), "/proc/self/fd/%d", j->fd[0]);
  j->res = res_of(chmod(path, (mode_t)j->number));
  if (j->res == -ENOENT) j->res = -EOPNOTSUPP;  /* (without /proc) */
}


/* ---- results ----------------------------------------------------------- */

static int integer_results (lua_State *L, struct waited_job *job) {
  int64_t res = ((struct file_job *)job)->res;
  if (res < 0)
    return fail(L, (int)-res, "%s", job->what);
  lua_pushinteger(L, res);
  return 1;
}

/* The kind of an entry, or false: it must be asked for. */
static void push_kind (lua_State *L, unsigned char type) {
  switch (type) {
    case DT_REG: lua_pushliteral(L, "file"); break;
    case DT_DIR: lua_pushliteral(L, "directory"); break;
    case DT_LNK: lua_pushliteral(L, "link"); break;
    case DT_FIFO: lua_pushliteral(L, "fifo"); break;
    case DT_SOCK: lua_pushliteral(L, "socket"); break;
    case DT_CHR: lua_pushliteral(L, "char"); break;
    case DT_BLK: lua_pushliteral(L, "block"); break;
    default: lua_pushboolean(L, 0); break;
  }
}

/* { name, kind, name, kind, ... }, without "." and ".."; false: the end. */
static int dir_results (lua_State *L, struct waited_job *job) {
  struct file_job *j = (struct file_job *)job;
  lua_Integer n = 0;
  if (j->res <= 0) {
    if (j->res < 0) return integer_results(L, job);
    lua_pushboolean(L, 0);
    return 1;
  }
  lua_newtable(L);
  for (int64_t at = 0; at < j->res; ) {
    const struct dirent64 *e = (const void *)(j->space->bytes + at);
    at += e->d_reclen;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    lua_pushstring(L, e->d_name);
    lua_rawseti(L, -2, ++n);
    push_kind(L, e->d_type);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}


/* ---- asking ------------------------------------------------------------ */

static const struct {
  const char *what;
  void (*work) (struct job *job);
  int (*results) (lua_State *L, struct waited_job *job);
  int fds;
  bool space;
} kinds[] = {
  { "dir", dir_work, dir_results, 1, true },
  { "copy", copy_work, integer_results, 2, true },
  { "chmod", chmod_work, integer_results, 1, false },
};

static struct file_job *file_job_new (struct account *a, int which) {
  struct file_job *j = job_new(sizeof(*j), file_job_end);
  if (j == NULL)
    return NULL;
  j->fd[0] = j->fd[1] = -1;
  j->waited.what = kinds[which].what;
  j->waited.job.work = kinds[which].work;
  j->waited.results = kinds[which].results;
  if (kinds[which].space && (j->space = memory_to_fill(a, SPACE)) == NULL) {
    refblock_release(&j->waited.job.block);
    return NULL;
  }
  return j;
}

static bool own_fd (struct file_job *j, int i, int number) {
  j->fd[i] = fcntl(number, F_DUPFD_CLOEXEC, 0);
  return j->fd[i] >= 0;
}

/* file_job(name, fd, fd or nil, integer): the results; or nil, message,
** errno */
static int file_job (lua_State *L) {
  static const char *const names[] = { "dir", "copy", "chmod", NULL };
  int which = luaL_checkoption(L, 1, NULL, names);
  struct fd_arg fd[2] = { arg_fd(L, 2), { -1, NULL, 0 } };
  struct file_job *j;
  struct task *t;
  lua_settop(L, 4);
  if ((t = job_wait_enter(L, names[which])) == NULL)
    return 3;
  for (int i = 0; i < kinds[which].fds; i++) fd[i] = arg_fd(L, 2 + i);
  if ((j = file_job_new(state_of(L)->account, which)) == NULL)
    return fail(L, ENOMEM, "%s", names[which]);
  j->number = lua_tointeger(L, 4);
  for (int i = 0; i < kinds[which].fds; i++) {
    if (!own_fd(j, i, fd[i].number)) {
      int err = errno;
      refblock_release(&j->waited.job.block);
      return fail(L, err, "%s", names[which]);
    }
  }
  return job_wait_perform(L, t, &j->waited, LANE_FILES, CLOCK_NEVER);
}


static const luaL_Reg functions[] = {
  {"file_job", file_job},
  {NULL, NULL}
};

void file_job_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}
