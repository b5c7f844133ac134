/*
** probe: explain refusals, and turn the results of feature_tests into a table.
** errno must survive probe_refusal: its caller reports it.
*/

#include "api/probe.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <lua.h>

#include "base/names.h"
#include "api/feature_tests.h"


/*
** {=====================================================================
** Why there is no ring
** ======================================================================
*/

/* the first number in a file of /proc; the one after `key` if that is given */
static int read_number (const char *path, const char *key, int base,
                        long long *value) {
  char line[256];
  int found = 0;
  FILE *f = fopen(path, "re");
  if (f == NULL)
    return 0;
  while (!found && fgets(line, sizeof(line), f) != NULL) {
    size_t skip = (key != NULL) ? strlen(key) : 0;
    if (key == NULL || strncmp(line, key, skip) == 0) {
      char *end;
      *value = (long long)strtoull(line + skip, &end, base);
      found = (end != line + skip);
    }
  }
  fclose(f);
  return found;
}


static int under_seccomp (void) {
  long long mode;
  return read_number("/proc/self/status", "Seccomp:", 10, &mode) && mode != 0;
}


static int has_sys_admin (void) {
  long long caps;
  return read_number("/proc/self/status", "CapEff:", 16, &caps) &&
         (caps >> 21 & 1);
}


static int in_group (long long gid) {
  gid_t groups[256];
  int i, n;
  if (gid < 0)
    return 0;  /* (no group) */
  if ((long long)getegid() == gid)
    return 1;
  n = getgroups((int)(sizeof(groups) / sizeof(groups[0])), groups);
  for (i = 0; i < n; i++) {
    if ((long long)groups[i] == gid)
      return 1;
  }
  return 0;
}


/* does the sysctl forbid it? (It exists since 6.6.) */
static int refused_by_sysctl (char *buf, size_t len) {
  long long mode, gid;
  if (!read_number("/proc/sys/kernel/io_uring_disabled", NULL, 10, &mode))
    return 0;
  if (mode == 2) {
    snprintf(buf, len, "io_uring is switched off for every process by "
      "kernel.io_uring_disabled = 2 "
      "(cure: sysctl kernel.io_uring_disabled=0)");
    return 1;
  }
  if (mode != 1 || (has_sys_admin() && under_seccomp()))
    return 0;  /* (the capability may be that of a user namespace) */
  if (!read_number("/proc/sys/kernel/io_uring_group", NULL, 10, &gid))
    gid = -1;
  if (in_group(gid))
    return 0;
  if (gid < 0)
    snprintf(buf, len, "io_uring is only for privileged processes by "
      "kernel.io_uring_disabled = 1, and kernel.io_uring_group names no "
      "group (cure: sysctl kernel.io_uring_group=GID with a group of this "
      "user, or sysctl kernel.io_uring_disabled=0)");
  else
    snprintf(buf, len, "io_uring is only for group %lld by "
      "kernel.io_uring_disabled = 1 and kernel.io_uring_group = %lld "
      "(cure: put this user into that group, or sysctl "
      "kernel.io_uring_disabled=0)", gid, gid);
  return 1;
}


static void explain_refusal (int err, char *buf, size_t len) {
  unsigned k = name_kernel();
  if (err != ENOSYS && refused_by_sysctl(buf, len))
    return;
  if (under_seccomp())
    snprintf(buf, len, "a seccomp filter forbids io_uring to this process, "
      "as containers often do (cure for Docker and Podman: --security-opt "
      "seccomp=unconfined, or a profile that allows io_uring_setup, "
      "io_uring_enter and io_uring_register)");
  else if (err == ENOSYS)
    snprintf(buf, len, "this kernel has no io_uring: older than Linux 5.1, "
      "built without CONFIG_IO_URING, or a sandbox that imitates one "
      "(it calls itself Linux %u.%u)", NAMES_MAJOR(k), NAMES_MINOR(k));
  else
    snprintf(buf, len, "io_uring is forbidden to this process, and neither "
      "by seccomp nor by kernel.io_uring_disabled: look for a policy of "
      "SELinux or another security module");
}


static void explain_enomem (char *buf, size_t len) {
  struct rlimit lim;
  if (getrlimit(RLIMIT_MEMLOCK, &lim) != 0 || lim.rlim_cur == RLIM_INFINITY)
    snprintf(buf, len, "the kernel has no memory for this ring "
      "(cure: fewer entries)");
  else
    snprintf(buf, len, "the ring does not fit into the memory that may be "
      "locked: RLIMIT_MEMLOCK is %llu KiB (cure: fewer entries, or raise "
      "ulimit -l)", (unsigned long long)lim.rlim_cur / 1024);
}


static void explain_emfile (char *buf, size_t len) {
  struct rlimit lim;
  if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
    lim.rlim_cur = 0;
  snprintf(buf, len, "this process has no descriptor left for a ring: "
    "RLIMIT_NOFILE is %llu (cure: close some, or raise ulimit -n)",
    (unsigned long long)lim.rlim_cur);
}


const char *probe_refusal (int err, char *buf, size_t len) {
  int saved = errno;
  unsigned k = name_kernel();
  if (err < 0)
    err = -err;
  switch (err) {
    case EPERM: case EACCES: case ENOSYS:
      explain_refusal(err, buf, len);
      break;
    case ENOMEM:
      explain_enomem(buf, len);
      break;
    case EMFILE:
      explain_emfile(buf, len);
      break;
    case ENFILE:
      snprintf(buf, len, "the system has no open file left for a ring "
        "(cure: raise sysctl fs.file-max)");
      break;
    case EINVAL:
      snprintf(buf, len, "this kernel (Linux %u.%u) refuses a ring with "
        "these flags or sizes", NAMES_MAJOR(k), NAMES_MINOR(k));
      break;
    default:
      buf = NULL;
      break;
  }
  errno = saved;
  return buf;
}

/* }===================================================================== */


int probe_sync_msg (void) {
  enum { UNKNOWN, YES, NO };
  static _Atomic int known = UNKNOWN;
  int state = atomic_load_explicit(&known, memory_order_relaxed);
  if (state == UNKNOWN) {  /* (two threads that race store the same) */
    int answer = feature_test_sync_msg();
    if (answer == FEATURE_UNTESTED || answer == ENOMEM || answer == EINTR ||
        answer == EAGAIN)
      return 0;  /* no answer about messages: test again next time */
    state = (answer == FEATURE_WORKS) ? YES : NO;
    atomic_store_explicit(&known, state, memory_order_relaxed);
  }
  return state == YES;
}


/*
** {=====================================================================
** The table of uring.probe()
** ======================================================================
*/

#define ROW(name,major,minor)	{#name, NAMES_VERSION(major, minor)},

static const struct {
  const char *name;
  unsigned min_kernel;
} features[] = { FEATURE_LIST(ROW) };


static void push_version (lua_State *L, const char *format,
                          unsigned version) {
  lua_pushfstring(L, format, (int)NAMES_MAJOR(version),
                             (int)NAMES_MINOR(version));
}


/* "6.18.44" for "6.18.44-cloud-amd64" */
static void push_kernel (lua_State *L) {
  struct utsname u;
  if (uname(&u) != 0)
    lua_pushliteral(L, "unknown");
  else
    lua_pushlstring(L, u.release, strspn(u.release, "0123456789."));
}


static void push_liburing (lua_State *L) {
  int major, minor;
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, COMPAT_LIBURING_BUILT);
  lua_setfield(L, -2, "built");
  if (compat_liburing_running(&major, &minor))
    lua_pushfstring(L, "%d.%d", major, minor);
  else
    lua_pushliteral(L, "2.3 or older");
  lua_setfield(L, -2, "running");
}


static void push_ops (lua_State *L, const struct feature_test *t) {
  unsigned op;
  lua_createtable(L, 0, 80);
  for (op = 0; op < name_ops(); op++) {
    lua_pushboolean(L, t->op[op]);
    lua_setfield(L, -2, name_op_short(op));
  }
}


/* why a feature does not work */
static void push_note (lua_State *L, const struct feature_test *t, int i) {
  int answer = t->answer[i];
  const char *name = name_errno(answer);
  if (t->err != 0)
    lua_pushliteral(L, "not tried: there is no io_uring here");
  else if (answer == FEATURE_UNTESTED)
    lua_pushliteral(L, "not tried: something that the test needs failed");
  else if (name_kernel() < features[i].min_kernel)
    push_version(L, "needs Linux %d.%d", features[i].min_kernel);
  else if (answer == EPROTO)
    lua_pushliteral(L, "this kernel accepts it but does something else");
  else if (name != NULL)
    lua_pushfstring(L, "refused here with %s", name);
  else
    lua_pushfstring(L, "refused here with error %d", answer);
}


static void push_features (lua_State *L, const struct feature_test *t) {
  int i;
  lua_createtable(L, 0, FEATURE_COUNT);
  for (i = 0; i < FEATURE_COUNT; i++) {
    int works = (t->err == 0 && t->answer[i] == FEATURE_WORKS);
    lua_createtable(L, 0, 3);
    lua_pushboolean(L, works);
    lua_setfield(L, -2, "works");
    push_version(L, "%d.%d", features[i].min_kernel);
    lua_setfield(L, -2, "since");
    if (!works) {
      push_note(L, t, i);
      lua_setfield(L, -2, "note");
    }
    lua_setfield(L, -2, features[i].name);
  }
}


int probe_lua (lua_State *L) {
  struct feature_test t;
  char reason[512];
  feature_test_run(&t);
  /* (before anything that could raise, and while /proc is unchanged) */
  if (t.err != 0 && probe_refusal(t.err, reason, sizeof(reason)) == NULL)
    snprintf(reason, sizeof(reason), "no ring could be made: %s",
             name_error_text(t.err));
  lua_createtable(L, 0, 6);
  push_kernel(L);
  lua_setfield(L, -2, "kernel");
  push_liburing(L);
  lua_setfield(L, -2, "liburing");
  lua_pushboolean(L, t.err == 0);
  lua_setfield(L, -2, "available");
  if (t.err != 0) {
    const char *name = name_errno(t.err);
    lua_pushfstring(L, "%s (%s)", reason, (name != NULL) ? name : "?");
    lua_setfield(L, -2, "reason");
  }
  push_ops(L, &t);
  lua_setfield(L, -2, "ops");
  push_features(L, &t);
  lua_setfield(L, -2, "features");
  return 1;
}

/* }===================================================================== */
