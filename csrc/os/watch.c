/*
** watch: see the header. What must not break: the descriptor has an owner as
** soon as there is one.
*/

#include "compat.h"
#include "os/watch.h"

#include "lua/errors.h"
#include "api/fd.h"

#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#define WATCHED  (IN_CREATE | IN_MODIFY | IN_DELETE | IN_DELETE_SELF \
                  | IN_MOVE | IN_MOVE_SELF | IN_EXCL_UNLINK)

/* watch_new(fd, path): a uring.fd that tells what happens to the file that was
** opened with O_PATH; or nil, message, errno */
static int watch_new (lua_State *L) {
  const char *path = lua_tostring(L, 2);
  char name[32];
  struct fd *f;
  int n, err;
  lua_settop(L, 2);
  f = fd_push(L);
  snprintf(name, sizeof(name), "/proc/self/fd/%d", arg_fd(L, 1).number);
  /* (not blocking: such reads would go to threads of the kernel's) */
  n = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (n < 0)
    return fail(L, errno, "watch '%s'%s", path, errno == EMFILE
                ? " (no more descriptors, or more watches than "
                  "fs.inotify.max_user_instances)" : "");
  if (inotify_add_watch(n, name, WATCHED) < 0) {
    err = errno;
    close(n);
    return fail(L, err == ENOENT ? EOPNOTSUPP : err, "watch '%s'%s", path,
                err == ENOENT ? " (without /proc)" : err == ENOSPC
                ? " (more watches than fs.inotify.max_user_watches)" : "");
  }
  handle_own(&state_of(L)->handles, f->d, n);
  return 1;
}


static const luaL_Reg functions[] = {
  {"watch_new", watch_new},
  {NULL, NULL}
};

void watch_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}
