/*
** prep_path: the preps that look up paths: open, stat, make, rename, remove,
** and the attributes of files.
**
** Paths and names are copied into a block of the SQE's. The preps whose names
** end with "at" take the directory that a relative path begins at, or
** AT_FDCWD. What must not break: a file that is opened is close-on-exec, and
** closed if its result is not taken.
*/

#include "compat.h"
#include "api/prep_build.h"
#include "api/sqe.h"

#include <fcntl.h>
#include <sys/stat.h>

#define OPENS_FD    .disposal = DISPOSE_FD
#define OPENS_SLOT  .disposal = DISPOSE_SLOT
#define CLOEXEC     .sqe.open_flags = O_CLOEXEC

/* A kind whose paths begin at the working directory; `len` is the directory of
** a second path. */
#define HERE(op, ...) \
  (const struct request){ .sqe.opcode = IORING_OP_##op, \
                          .sqe.fd = AT_FDCWD, __VA_ARGS__ }
#define BOTH_HERE  .sqe.len = (uint32_t)AT_FDCWD

/* A kind without a directory, nor a descriptor. */
#define NO_FD(op)  (const struct request){ .sqe.opcode = IORING_OP_##op }


/* A direct descriptor is in no process's table: the flag is refused. */
static void open_clear_cloexec (lua_State *L, struct request *q) {
  (void)L;
  q->sqe.open_flags &= ~(uint32_t)O_CLOEXEC;
}

static void check_statx (lua_State *L, struct request *q) {
  const struct memory *m = (const struct memory *)q->pin[OP_PIN_MEMORY];
  if (m->size < sizeof(struct statx))
    luaL_argerror(L, 6, "buffer of 256 bytes or more expected (see statx(2))");
}

const struct request
  kind_openat2 = KIND_INIT(OPENAT2, OPENS_FD),
  kind_statx = KIND_INIT(STATX),
  kind_renameat = KIND_INIT(RENAMEAT),
  kind_unlinkat = KIND_INIT(UNLINKAT),
  kind_mkdirat = KIND_INIT(MKDIRAT),
  kind_symlinkat = KIND_INIT(SYMLINKAT),
  kind_linkat = KIND_INIT(LINKAT);

static const struct prep preps[] = {
  /* path [, flags [, mode]] */
  PREP(open, HERE(OPENAT, CLOEXEC, OPENS_FD), ARG(PATH, addr), FLAGS,
       ARG(OPT_MODE, len)),
  /* dfd, path [, flags [, mode]] */
  PREP(openat, KIND(OPENAT, CLOEXEC, OPENS_FD), ARG(FD, fd), ARG(PATH, addr),
       FLAGS, ARG(OPT_MODE, len)),
  /* path, flags, mode, file_index */
  PREP_FINISH(open_direct, open_clear_cloexec, HERE(OPENAT, OPENS_SLOT),
              ARG(PATH, addr), FLAGS, ARG(OPT_MODE, len), BARE(SLOT)),
  /* dfd, path, flags, mode, file_index */
  PREP_FINISH(openat_direct, open_clear_cloexec, KIND(OPENAT, OPENS_SLOT),
              ARG(FD, fd), ARG(PATH, addr), FLAGS, ARG(OPT_MODE, len),
              BARE(SLOT)),
  /* dfd, path, { flags =, mode =, resolve = } */
  PREP(openat2, kind_openat2, ARG(FD, fd), ARG(PATH, addr), ARG(HOW, off)),
  /* dfd, path, how, file_index */
  PREP(openat2_direct, KIND(OPENAT2, OPENS_SLOT), ARG(FD, fd),
       ARG(PATH, addr), ARG(HOW, off), BARE(SLOT)),
  /* dfd, path, flags, mask, buffer */
  PREP_FINISH(statx, check_statx, kind_statx, ARG(FD, fd), ARG(PATH, addr),
              FLAGS, ARG(U32, len), ARG(BUFFER, off)),
  /* oldpath, newpath */
  PREP(rename, HERE(RENAMEAT, BOTH_HERE), ARG(PATH, addr), ARG(PATH, off)),
  /* olddfd, oldpath, newdfd, newpath [, flags] */
  PREP(renameat, kind_renameat, ARG(FD, fd), ARG(PATH, addr), BARE(SECOND),
       ARG(PATH, off), FLAGS),
  /* path [, flags] */
  PREP(unlink, HERE(UNLINKAT), ARG(PATH, addr), FLAGS),
  /* dfd, path [, flags] */
  PREP(unlinkat, kind_unlinkat, ARG(FD, fd), ARG(PATH, addr), FLAGS),
  /* path, mode */
  PREP(mkdir, HERE(MKDIRAT), ARG(PATH, addr), ARG(OPT_MODE, len)),
  /* dfd, path, mode */
  PREP(mkdirat, kind_mkdirat, ARG(FD, fd), ARG(PATH, addr),
       ARG(OPT_MODE, len)),
  /* target, linkpath */
  PREP(symlink, HERE(SYMLINKAT), ARG(PATH, addr), ARG(PATH, off)),
  /* target, newdirfd, linkpath */
  PREP(symlinkat, kind_symlinkat, ARG(PATH, addr), ARG(FD, fd),
       ARG(PATH, off)),
  /* oldpath, newpath [, flags] */
  PREP(link, HERE(LINKAT, BOTH_HERE), ARG(PATH, addr), ARG(PATH, off), FLAGS),
  /* olddfd, oldpath, newdfd, newpath [, flags] */
  PREP(linkat, kind_linkat, ARG(FD, fd), ARG(PATH, addr), BARE(SECOND),
       ARG(PATH, off), FLAGS),

  /* name, buffer, path [, len] */
  PREP(getxattr, NO_FD(GETXATTR), ARG(NAME, addr), ARG(BUFFER, off),
       ARG(PATH, addr3), ARG(LEN, len)),
  /* name, bytes, path [, flags [, len]] */
  PREP(setxattr, NO_FD(SETXATTR), ARG(NAME, addr), ARG(BYTES, off),
       ARG(PATH, addr3), FLAGS, ARG(LEN, len)),
  /* fd, name, buffer [, len] */
  PREP(fgetxattr, KIND(FGETXATTR), ARG(FD, fd), ARG(NAME, addr),
       ARG(BUFFER, off), ARG(LEN, len)),
  /* fd, name, bytes [, flags [, len]] */
  PREP(fsetxattr, KIND(FSETXATTR), ARG(FD, fd), ARG(NAME, addr),
       ARG(BYTES, off), FLAGS, ARG(LEN, len)),
  { 0 }
};

void prep_path_open (lua_State *L) {
  prep_define(L, preps);
}
