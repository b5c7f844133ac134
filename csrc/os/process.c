/*
** process: see the header. What must not break: a child that runs has its
** pidfd in its object, or, after that was collected, among the state's
** orphans, until it is reaped.
*/

#include "compat.h"
#include "os/process.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "lua/errors.h"
#include "api/fd.h"
#include "os/signal_name.h"
#include "os/spawn.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_NS        1000000000   /* how long a killed child may take */
#define SIGNAL_GROUP   (1u << 2)    /* PIDFD_SIGNAL_PROCESS_GROUP, 6.9 */

/* What is known of a child without its object. */
struct orphan {
  struct orphan *next;     /* of the state's, once the object is collected */
  int pidfd;
  pid_t pid;
  uint32_t fork_id;
  bool group;
};

struct child {             /* the userdata */
  struct handle *d;        /* of the pidfd; NULL: it does not run (yet, or any
                              more). First, as in struct fd */
  struct orphan *self;     /* NULL: closed */
};


/* ---- signals and status ------------------------------------------------ */

/* Is it reaped by nothing but this module, and not yet? */
static bool unreaped (int pidfd) {
  siginfo_t info;
  return waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info,
                WEXITED | WNOHANG | WNOWAIT) == 0;
}

static int send_signal (int pidfd, int sig, unsigned flags) {
  return pidfd_send_signal(pidfd, sig, NULL, flags) < 0 ? -errno : 0;
}

/* 0 or -errno. */
static int orphan_signal (const struct orphan *o, int pidfd, int sig) {
  int rc = send_signal(pidfd, sig, o->group ? SIGNAL_GROUP : 0);
  if (rc != -EINVAL || !o->group)
    return rc;
  if (!unreaped(pidfd))  /* or its number may be another group's */
    return -ESRCH;
  return kill(-o->pid, sig) < 0 ? -errno : 0;
}

/* A child that is stopped handles TERM when it goes on. */
static void orphan_end (const struct orphan *o, int pidfd, int sig) {
  orphan_signal(o, pidfd, sig);
  if (sig != SIGKILL) orphan_signal(o, pidfd, SIGCONT);
}

/* Has it ended? Wait for that until the deadline. */
static bool child_ended (int pidfd, int64_t deadline) {
  struct pollfd p = { pidfd, POLLIN, 0 };
  int64_t left = clock_left(deadline);
  while (poll(&p, 1, (int)((left + 999999) / 1000000)) <= 0) {
    left = clock_left(deadline);
    if (left <= 0)
      return false;
  }
  return true;
}

/* Take the status of a child that has ended: 0, or -errno. */
static int take_status (int pidfd, siginfo_t *info) {
  int rc;
  do {
    rc = waitid((idtype_t)P_PIDFD, (id_t)pidfd, info, WEXITED | WNOHANG);
  } while (rc < 0 && errno == EINTR);
  return rc < 0 ? -errno : 0;
}


/* ---- orphans ----------------------------------------------------------- */

/* Forget those that have ended, or, in a forked child, all. */
static void reap_orphans (struct state *s, int64_t deadline) {
  struct orphan **at = &s->orphans, *o;
  while ((o = *at) != NULL) {
    siginfo_t info;
    if (o->fork_id == fork_id()) {
      if (!child_ended(o->pidfd, deadline)) {
        at = &o->next;
        continue;
      }
      take_status(o->pidfd, &info);
    }
    *at = o->next;
    close(o->pidfd);
    free(o);
  }
}

/* The state closes: what is left of its time is theirs. */
static void end_orphans (struct state *s) {
  if (s->orphans == NULL)
    return;
  reap_orphans(s, clock_after(state_close_left(s)));
  state_close_ended(s);
  for (struct orphan *o = s->orphans; o; o = o->next)
    orphan_end(o, o->pidfd, SIGKILL);
  reap_orphans(s, clock_after(KILL_NS));
  while (s->orphans) {  /* (the kernel holds them up) */
    struct orphan *o = s->orphans;
    s->orphans = o->next;
    close(o->pidfd);
    free(o);
  }
}


/* ---- life -------------------------------------------------------------- */

static struct child *child_check (lua_State *L) {
  struct child *c = class_check(L, 1, CLASS_CHILD);
  if (c->self == NULL)
    luaL_argerror(L, 1, "attempt to use a closed process");
  if (c->self->fork_id != fork_id())  /* guard: fork */
    luaL_error(L, "this process belongs to another one: it was started before "
               "a fork");
  return c;
}

/* child_new(): it is started by child_start */
static int child_new (lua_State *L) {
  struct child *c;
  reap_orphans(state_of(L), clock_now());
  pressure_tell(L, 0, 1);
  c = class_new(L, CLASS_CHILD, sizeof(*c), 0);
  c->self = calloc(1, sizeof(*c->self));
  if (c->self == NULL)
    return luaL_error(L, "not enough memory for a process");
  c->self->fork_id = fork_id();
  return 1;
}

/* Its pidfd is not needed any more. */
static void child_forget (lua_State *L, struct child *c) {
  struct handle *d = c->d;
  c->d = NULL;
  pressure_drop(&state_of(L)->pressure, 0, 1);
  ring_close_handle(state_of(L)->rings, d);
  refblock_release(&d->block);
}

/* It runs on, and its object is let go. */
static void child_orphan (lua_State *L, struct child *c) {
  struct state *s = state_of(L);
  struct handle *d = c->d;
  struct orphan *o = c->self;
  c->d = NULL;
  c->self = NULL;
  pressure_drop(&s->pressure, 0, 1);
  ring_submit_all(s->rings);  /* (requests that name the number) */
  o->pidfd = handle_release(d);
  o->next = s->orphans;
  s->orphans = o;
  refblock_release(&d->block);
  if (o->fork_id == fork_id()) orphan_end(o, o->pidfd, SIGTERM);
}

static int child_gc (lua_State *L) {
  struct child *c = class_check(L, 1, CLASS_CHILD);
  if (c->d) {
    pressure_collected(&state_of(L)->pressure, 0, 1);
    child_orphan(L, c);
  }
  free(c->self);
  c->self = NULL;
  return 0;
}

/* What attends to it has failed: it is killed. */
static int child_close (lua_State *L) {
  struct child *c = class_check(L, 1, CLASS_CHILD);
  if (c->d && c->self->fork_id == fork_id()) {
    int pidfd = handle_number(c->d);
    siginfo_t info;
    orphan_end(c->self, pidfd, SIGKILL);
    if (child_ended(pidfd, clock_after(KILL_NS))) {
      take_status(pidfd, &info);
      child_forget(L, c);
    }
  }
  return 0;
}


/* ---- start ------------------------------------------------------------- */

/* The stack of child_start. */
enum { CHILD = 1, PATHS, ARGS, ENV, CWD, GROUP, STDIN, STDOUT, STDERR, START };

/* The strings of a list, which keeps them, as the kernel takes them; the array
** is pushed. */
static const char **push_strings (lua_State *L, int arg) {
  size_t n = lua_rawlen(L, arg);
  const char **to = lua_newuserdatauv(L, (n + 1) * sizeof(*to), 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, arg, (lua_Integer)i + 1);
    to[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  to[n] = NULL;
  return to;
}

static int start_failed (lua_State *L, const struct spawn *s) {
  const char *path;
  lua_rawgeti(L, ARGS, 1);
  path = lua_tostring(L, -1);
  if (s->step == SPAWN_DIRECTORY)
    return fail(L, s->error, "process '%s': directory '%s'", path,
                s->directory);
  if (s->step == SPAWN_PROGRAM)
    return fail(L, s->error, "process '%s'%s", path,
                lua_rawlen(L, PATHS) > 1 && s->error == ENOENT
                ? ": not in PATH" : "");
  return fail(L, s->error, "process '%s': %s", path,
              s->step == SPAWN_PROCESS ? "make it" : "its descriptors");
}

/* child_start(child, paths, args, env, cwd, group, stdin, stdout, stderr):
** true; or nil, message, errno. The first three are lists of strings, without
** zero bytes, of which `env` may be nil; the last are descriptors, or enum
** spawn's numbers. */
static int child_start (lua_State *L) {
  struct child *c = child_check(L);
  struct state *state = state_of(L);
  struct spawn s = {0};
  struct handle *d;
  lua_settop(L, STDERR);
  s.paths = push_strings(L, PATHS);
  s.argv = (char *const *)(uintptr_t)push_strings(L, ARGS);
  s.envp = lua_isnil(L, ENV) ? environ
           : (char *const *)(uintptr_t)push_strings(L, ENV);
  s.directory = lua_tostring(L, CWD);
  s.group = lua_toboolean(L, GROUP);
  for (int i = 0; i < 3; i++) s.fds[i] = arg_fd(L, STDIN + i).number;
  d = handle_new();  /* (before there is a child: it may fail) */
  if (d == NULL)
    return luaL_error(L, "not enough memory for a process");
  if (spawn_child(&s) != 0) {
    refblock_release(&d->block);
    return start_failed(L, &s);
  }
  handle_own(&state->handles, d, s.pidfd);
  pressure_hold(&state->pressure, 0, 1);
  c->d = d;
  c->self->pid = s.pid;
  c->self->group = s.group;
  lua_pushboolean(L, 1);
  return 1;
}


/* ---- methods ----------------------------------------------------------- */

/* child_pid(child) */
static int child_pid (lua_State *L) {
  lua_pushinteger(L, child_check(L)->self->pid);
  return 1;
}

/* Push how it ended. */
static int push_status (lua_State *L, int rc, const siginfo_t *info) {
  if (rc < 0)
    return fail(L, -rc, "wait for process: its exit status was taken by the "
                "host, which ignores SIGCHLD or reaps all children");
  lua_pushstring(L, info->si_code == CLD_EXITED ? "exit" : "signal");
  lua_pushinteger(L, info->si_status);
  return 2;
}

/* child_reap(child, last): of a child that has ended: "exit", code; "signal",
** number; or nil, message, errno. `last`: what is left of its group is
** killed. Nothing, if it runs. */
static int child_reap (lua_State *L) {
  struct child *c = child_check(L);
  int pidfd, rc;
  siginfo_t info = {0};
  if (c->d == NULL)
    return 0;
  pidfd = handle_number(c->d);
  if (!child_ended(pidfd, clock_now()))
    return 0;
  if (lua_toboolean(L, 2) && c->self->group)
    orphan_signal(c->self, pidfd, SIGKILL);  /* guard: before it is reaped */
  rc = take_status(pidfd, &info);
  child_forget(L, c);
  return push_status(L, rc, &info);
}

/* child_kill(child, name): true; or nil, message, errno */
static int child_kill (lua_State *L) {
  struct child *c = child_check(L);
  int sig = signal_name_check(L, 2), rc;
  rc = c->d ? orphan_signal(c->self, handle_number(c->d), sig) : -ESRCH;
  if (rc < 0)
    return fail(L, -rc, "kill process %d with %s", (int)c->self->pid,
                lua_tostring(L, 2));
  lua_pushboolean(L, 1);
  return 1;
}

/* search_path(): PATH, as it is now, or the usual one */
static int process_search_path (lua_State *L) {
  const char *path = getenv("PATH");
  lua_pushstring(L, path ? path : "/bin:/usr/bin");
  return 1;
}


/* check_fd(value): raise unless it names a descriptor */
static int process_check_fd (lua_State *L) {
  arg_fd(L, 1);
  return 0;
}

/* check_signal(name): raise unless it names a signal */
static int process_check_signal (lua_State *L) {
  signal_name_check(L, 1);
  return 0;
}


static const luaL_Reg methods[] = {
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", child_gc},
  {"__close", child_close},
  {NULL, NULL}
};

static const luaL_Reg functions[] = {
  {"child_new", child_new},
  {"child_start", child_start},
  {"child_pid", child_pid},
  {"child_reap", child_reap},
  {"child_kill", child_kill},
  {"search_path", process_search_path},
  {"check_fd", process_check_fd},
  {"check_signal", process_check_signal},
  {NULL, NULL}
};

void process_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}

void process_open (lua_State *L) {
  ((struct state *)lua_touserdata(L, -1))->end_orphans = end_orphans;
  class_define(L, CLASS_CHILD, methods, meta, NULL);
}
