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
#include "task/loop.h"
#include "os/job_wait.h"
#include "os/pidfd.h"
#include "os/signal_name.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_NS  1000000000   /* how long a killed child may take */
#define NAP_NS   100000

/* What is known of a child without its object. */
struct orphan {
  struct orphan *next;     /* of the state's, once the object is collected */
  int pidfd;
  pid_t pid, group;        /* group: 0, or its number, which is pid's */
  uint32_t fork_id;
};

struct child {             /* the userdata */
  struct handle *d;        /* of the pidfd; NULL: it does not run (yet, or any
                              more) */
  uint8_t away;            /* (it never is; as in struct fd) */
  struct orphan *self;     /* NULL: closed */
  struct waited_job *start;  /* counted; or NULL */
};


/* ---- orphans ----------------------------------------------------------- */

/* Forget those that have ended, or, in a forked child, all. */
static void reap_orphans (struct state *s, int64_t deadline) {
  struct orphan **at = &s->orphans, *o;
  while ((o = *at) != NULL) {
    siginfo_t info;
    if (o->fork_id == fork_id()) {
      if (!pidfd_ended(o->pidfd, deadline)) {
        at = &o->next;
        continue;
      }
      pidfd_reap(o->pidfd, &info);
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
    pidfd_end(o->pidfd, o->group, SIGKILL);
  reap_orphans(s, clock_after(KILL_NS));
  while (s->orphans) {  /* (the kernel holds them up) */
    struct orphan *o = s->orphans;
    s->orphans = o->next;
    pidfd_reap_later(o->pidfd);
    free(o);
  }
}


/* ---- life -------------------------------------------------------------- */

struct child *child_check (lua_State *L, int arg) {
  struct child *c = class_check(L, arg, CLASS_CHILD);
  if (c->self == NULL)
    luaL_argerror(L, arg, "attempt to use a closed process");
  if (c->self->fork_id != fork_id())  /* guard: fork */
    loop_raise_at_caller(L, "%s", "this process belongs to another one: it "
                         "was started before a fork");
  return c;
}

/* child_new(): it is started by child_start, of child_job */
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

struct waited_job *child_start_job (const struct child *c) {
  return c->start;
}

void child_set_start_job (struct child *c, struct waited_job *job) {
  struct waited_job *before = c->start;
  if (job) refblock_retain(&job->job.block);
  c->start = job;
  if (before) refblock_release(&before->job.block);
}

/* The state closes while a helper thread is at it. The process may end after
** that, and the child, which is to be killed, must not outlive it. */
static void wait_for_helper (struct state *s, const struct child *c) {
  int64_t deadline = clock_after(state_close_left(s));
  while (c->start->posted && !atomic_load(&c->start->job.worked)
         && clock_left(deadline) > 0)
    clock_sleep(NAP_NS);
  state_close_ended(s);
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
  if (o->fork_id == fork_id()) pidfd_end(o->pidfd, o->group, SIGTERM);
}

static int child_gc (lua_State *L) {
  struct child *c = class_check(L, 1, CLASS_CHILD);
  if (c->d) {
    pressure_collected(&state_of(L)->pressure, 0, 1);
    child_orphan(L, c);
  }
  if (c->start && c->self && c->self->fork_id == fork_id())
    wait_for_helper(state_of(L), c);
  child_set_start_job(c, NULL);
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
    pidfd_end(pidfd, c->self->group, SIGKILL);
    if (pidfd_ended(pidfd, clock_after(KILL_NS))) {
      pidfd_reap(pidfd, &info);
      child_forget(L, c);
    }
  }
  if (c->start && atomic_load(&c->start->job.worked))
    child_set_start_job(c, NULL);  /* (a child that was not taken is reaped) */
  return 0;
}

void child_started (lua_State *L, struct child *c, struct handle *d,
                    int pidfd, pid_t pid, bool group) {
  handle_own(&state_of(L)->handles, d, pidfd);
  pressure_hold(&state_of(L)->pressure, 0, 1);
  c->d = d;
  c->self->pid = pid;
  c->self->group = group ? pid : 0;
  child_set_start_job(c, NULL);
}


/* ---- methods ----------------------------------------------------------- */

/* child_pid(child) */
static int child_pid (lua_State *L) {
  lua_pushinteger(L, child_check(L, 1)->self->pid);
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
  struct child *c = child_check(L, 1);
  int pidfd, rc;
  siginfo_t info = {0};
  if (c->d == NULL)
    return 0;
  pidfd = handle_number(c->d);
  if (!pidfd_ended(pidfd, clock_now()))
    return 0;
  if (lua_toboolean(L, 2) && c->self->group)
    pidfd_signal(pidfd, c->self->group, SIGKILL);  /* guard: before it is
                                                      reaped */
  rc = pidfd_reap(pidfd, &info);
  child_forget(L, c);
  return push_status(L, rc, &info);
}

/* child_kill(child, name): true; or nil, message, errno */
static int child_kill (lua_State *L) {
  struct child *c = child_check(L, 1);
  int sig = signal_name_check(L, 2), rc;
  rc = c->d ? pidfd_signal(handle_number(c->d), c->self->group, sig) : -ESRCH;
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
