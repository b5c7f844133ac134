/*
** child_job: see the header. What must not break: the job owns all that its
** thread touches; a child that is not taken by `results` is killed and reaped:
** by the thread, by whatever waits for the start to be undone, or at last when
** the job ends.
*/

#include "compat.h"
#include "os/child_job.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "lua/errors.h"
#include "api/fd.h"
#include "os/job_wait.h"
#include "os/pidfd.h"
#include "os/process.h"
#include "os/spawn.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The stack of child_start. */
enum { WAIT = 1, CHILD, PATHS, ARGS, ENV, CWD, GROUP, STDIN, STDOUT,
       STDERR };

enum claim { AT_WORK, STARTED, UNWANTED };

struct child_job {
  struct waited_job waited;  /* first */
  struct spawn spawn;
  struct handle *d;        /* for the pidfd: after the start nothing fails */
  struct memory *strings;  /* what `spawn` points to */
  int own[3];              /* its descriptors; or -1 */
  uint32_t fork_id;
  _Atomic int claim;
};


static void close_descriptors (struct child_job *j) {
  for (int i = 0; i < 3; i++) {
    if (j->own[i] >= 0) close(j->own[i]);
    j->own[i] = -1;
  }
}


/* ---- on a helper thread ------------------------------------------------ */

static void kill_unwanted (const struct spawn *s) {
  pidfd_signal(s->pidfd, s->group ? s->pid : 0, SIGKILL);
}

static void start_work (struct job *job) {
  struct child_job *j = (struct child_job *)job;
  int at_work = AT_WORK, rc = -1;
  if (atomic_load(&j->claim) == AT_WORK) rc = spawn_child(&j->spawn);
  close_descriptors(j);  /* (the loop may not turn for long) */
  if (rc != 0)
    return;
  if (atomic_compare_exchange_strong(&j->claim, &at_work, STARTED))
    return;
  kill_unwanted(&j->spawn);  /* guard: its task has left */
  pidfd_reap_wait(j->spawn.pidfd);
  close(j->spawn.pidfd);
  j->spawn.pidfd = -1;
}


/* ---- on the loop's ----------------------------------------------------- */

static void child_job_end (struct refblock *b) {
  struct child_job *j = (struct child_job *)b;
  close_descriptors(j);
  if (j->spawn.pidfd >= 0 && j->fork_id == fork_id())
    pidfd_reap_later(j->spawn.pidfd);  /* (it was killed) */
  if (j->strings) refblock_release(&j->strings->block);
  if (j->d) refblock_release(&j->d->block);
  free(j);
}

static void child_job_left (struct waited_job *job) {
  struct child_job *j = (struct child_job *)job;
  if (j->fork_id != fork_id())  /* guard: the child is the parent's */
    return;
  if (!job->posted) close_descriptors(j);  /* (no thread has it) */
  if (atomic_exchange(&j->claim, UNWANTED) != STARTED
      || j->spawn.pidfd < 0)
    return;
  kill_unwanted(&j->spawn);  /* guard: it was not taken */
}

static int start_failed (lua_State *L, const struct spawn *s) {
  const char *program = s->argv[0];
  if (s->step == SPAWN_DIRECTORY)
    return fail(L, s->error, "process '%s': directory '%s'", program,
                s->directory);
  if (s->step == SPAWN_PROGRAM)
    return fail(L, s->error, "process '%s'%s", program,
                lua_rawlen(L, PATHS) > 1 && s->error == ENOENT
                ? ": not in PATH" : "");
  return fail(L, s->error, "process '%s': %s", program,
              s->step == SPAWN_PROCESS ? "make it" : "its descriptors");
}

/* The child is its object's from now on. (The object lets go of the job, which
** its wait counts.) */
static void take_child (lua_State *L, struct child_job *j) {
  struct child *c = child_check(L, CHILD);
  int pidfd = j->spawn.pidfd;
  struct handle *d = j->d;
  j->d = NULL;
  j->spawn.pidfd = -1;  /* guard: it is the object's */
  child_started(L, c, d, pidfd, j->spawn.pid, j->spawn.group);
}

static int start_results (lua_State *L, struct waited_job *job) {
  struct child_job *j = (struct child_job *)job;
  if (j->spawn.error != 0) {
    child_set_start_job(child_check(L, CHILD), NULL);
    return start_failed(L, &j->spawn);
  }
  take_child(L, j);
  lua_pushboolean(L, 1);
  return 1;
}


/* ---- copies ------------------------------------------------------------ */

/* What the copies of lists take; then where the next ones go. */
struct copies {
  size_t pointers, bytes;
  char **list;
  char *text;
};

static void measure_list (lua_State *L, int arg, struct copies *c) {
  size_t n = lua_rawlen(L, arg);
  c->pointers += n + 1;
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, arg, (lua_Integer)i);
    c->bytes += lua_rawlen(L, -1) + 1;
    lua_pop(L, 1);
  }
}

static void measure_environment (struct copies *c) {
  char **e = environ;
  for (; e && *e; e++) {
    c->pointers++;
    c->bytes += strlen(*e) + 1;
  }
  c->pointers++;
}

static char *copy_text (struct copies *c, const char *s, size_t size) {
  char *to = memcpy(c->text, s, size);
  c->text += size;
  return to;
}

static char **copy_list (lua_State *L, int arg, struct copies *c) {
  size_t n = lua_rawlen(L, arg);
  char **to = c->list;
  for (size_t i = 1; i <= n; i++) {
    size_t len;
    const char *s;
    lua_rawgeti(L, arg, (lua_Integer)i);
    s = lua_tolstring(L, -1, &len);
    *c->list++ = copy_text(c, s, len + 1);
    lua_pop(L, 1);
  }
  *c->list++ = NULL;
  return to;
}

static char **copy_environment (struct copies *c) {
  char **to = c->list, **e = environ;
  for (; e && *e; e++) *c->list++ = copy_text(c, *e, strlen(*e) + 1);
  *c->list++ = NULL;
  return to;
}

/* All strings, in memory of the job's: false if there is none. (No finalizer
** runs in here: so the lists and the environment stay as they were measured.)
*/
static bool copy_strings (lua_State *L, struct child_job *j) {
  struct copies c = {0};
  size_t size, cwd = lua_isnil(L, CWD) ? 0 : lua_rawlen(L, CWD) + 1;
  measure_list(L, PATHS, &c);
  measure_list(L, ARGS, &c);
  if (lua_isnil(L, ENV)) measure_environment(&c);
  else measure_list(L, ENV, &c);
  size = c.pointers * sizeof(char *) + c.bytes + cwd;
  j->strings = memory_new(state_of(L)->account, size, NULL);
  if (j->strings == NULL)
    return false;
  c.list = (char **)(void *)j->strings->bytes;
  c.text = (char *)(c.list + c.pointers);
  j->spawn.paths = (const char *const *)copy_list(L, PATHS, &c);
  j->spawn.argv = copy_list(L, ARGS, &c);
  j->spawn.envp = lua_isnil(L, ENV) ? copy_environment(&c)
                                    : copy_list(L, ENV, &c);
  if (cwd > 0) j->spawn.directory = copy_text(&c, lua_tostring(L, CWD), cwd);
  return true;
}

/* Descriptors of its own for what the child gets: how many could be copied,
** of three; else errno is set. What it inherits it finds in its place. */
static int copy_descriptors (struct child_job *j, const int *numbers) {
  for (int i = 0; i < 3; i++) {
    j->spawn.fds[i] = numbers[i];
    if (numbers[i] < 0 || numbers[i] == i)
      continue;
    j->own[i] = fcntl(numbers[i], F_DUPFD_CLOEXEC, 3);
    if (j->own[i] < 0)
      return i;
    j->spawn.fds[i] = j->own[i];
  }
  return 3;
}


/* ---- asking ------------------------------------------------------------ */

static struct child_job *child_job_new (void) {
  struct child_job *j = job_new(sizeof(*j), child_job_end);
  if (j == NULL)
    return NULL;
  j->waited.what = "start a process";
  j->waited.job.work = start_work;
  j->waited.results = start_results;
  j->waited.left = child_job_left;
  j->own[0] = j->own[1] = j->own[2] = -1;
  j->spawn.pidfd = -1;
  j->fork_id = fork_id();
  j->d = handle_new();
  if (j->d)
    return j;
  refblock_release(&j->waited.job.block);
  return NULL;
}

/* child_start(nil, child, paths, args, env, cwd, group, stdin, stdout,
** stderr): true; or nil, message, errno. `paths`, `args` and `env` are lists
** of strings without zero bytes, and `env` may be nil; the last are
** descriptors, or the numbers of spawn.h. */
static int child_start (lua_State *L) {
  static const char *const names[] = { "stdin", "stdout", "stderr" };
  struct child_job *j;
  struct task *t;
  int numbers[3], n = 0, err = ENOMEM;
  lua_settop(L, STDERR);
  child_check(L, CHILD);
  if ((t = job_wait_enter(L, "uring.process")) == NULL)
    return 3;
  for (int i = 0; i < 3; i++) numbers[i] = arg_fd(L, STDIN + i).number;
  lua_rawgeti(L, ARGS, 1);
  lua_replace(L, WAIT);  /* (the program's name, until the wait is there) */
  j = child_job_new();
  if (j == NULL)
    return fail(L, ENOMEM, "process '%s'", lua_tostring(L, WAIT));
  j->spawn.group = lua_toboolean(L, GROUP);
  if (copy_strings(L, j)) {
    n = copy_descriptors(j, numbers);
    if (n == 3) {
      child_set_start_job(child_check(L, CHILD), &j->waited);
      return job_wait_perform(L, t, &j->waited, LANE_FILES, CLOCK_NEVER);
    }
    err = errno;
  }
  refblock_release(&j->waited.job.block);  /* (what follows may raise) */
  if (err == ENOMEM)
    return fail(L, err, "process '%s'", lua_tostring(L, WAIT));
  return fail(L, err, "process '%s': its %s, fd %d", lua_tostring(L, WAIT),
              names[n], numbers[n]);
}


/* (Its thread has reaped a child that it found unwanted.) */
static int undone_results (lua_State *L, struct waited_job *job) {
  struct child_job *j = (struct child_job *)job;
  bool killed = j && j->spawn.pidfd >= 0;
  if (killed) take_child(L, j);
  else child_set_start_job(child_check(L, CHILD), NULL);
  lua_pushboolean(L, killed);
  return 1;
}

/* child_undone(nil, child): wait until a start that was left is undone. True:
** the child was killed, and its end is to be waited for. */
static int child_undone (lua_State *L) {
  struct child *c;
  struct waited_job *job;
  struct task *t;
  lua_settop(L, CHILD);
  child_check(L, CHILD);
  if ((t = job_wait_enter(L, "uring.process")) == NULL)
    return 3;
  c = child_check(L, CHILD);
  job = child_start_job(c);
  if (job == NULL || !job->posted)
    return undone_results(L, job);
  job->results = undone_results;
  refblock_retain(&job->job.block);
  return job_wait_perform(L, t, job, LANE_FILES, CLOCK_NEVER);
}


static const luaL_Reg functions[] = {
  {"child_start", child_start},
  {"child_undone", child_undone},
  {NULL, NULL}
};

void child_job_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}
