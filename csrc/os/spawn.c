/*
** spawn: see the header. What must never break: between clone and execve the
** child writes to nothing of its parent's but `error` and `step`.
*/

#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3          /* (an enumerator: glibc 2.36 defines it as well) */
#endif

#define STACK   16384
#define CLOSED  -0x10000   /* no descriptor, and no error */


/* ---- in the child ------------------------------------------------------ */

/* (A sanitizer would mark the parent's memory with frames that never end.) */
#define IN_CHILD  __attribute__((no_sanitize("address", "undefined")))

/* Handlers are functions of the parent's. (execve would reset them, but one
** could run before.) */
IN_CHILD static void reset_signals (void) {
  struct sigaction sa;
  for (int n = 1; n < NSIG; n++) {
    if (sigaction(n, NULL, &sa) < 0)
      continue;  /* (of the C library's own) */
    if (n == SIGPIPE ? sa.sa_handler == SIG_DFL
                     : sa.sa_handler == SIG_DFL || sa.sa_handler == SIG_IGN)
      continue;
    sa = (struct sigaction){ .sa_handler = SIG_DFL };
    sigaction(n, &sa, NULL);
  }
}

/* A descriptor for place `i`, above all places, so that none is overwritten
** before it is used; or CLOSED, as it is in the parent; or -errno. */
IN_CHILD static int above_places (const struct spawn *s, int i) {
  int fd = s->fds[i];
  if (fd == SPAWN_NULL)
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (fd < 0)
    return -errno;
  if (fd >= 3)
    return fd;
  fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return fd >= 0 ? fd : errno == EBADF && s->fds[i] == i ? CLOSED : -errno;
}

IN_CHILD static int set_place (int fd, int i) {
  if (fd == CLOSED) close(i);
  else if (dup2(fd, i) < 0)
    return -errno;
  return 0;
}

/* 0 or -errno. */
IN_CHILD static int set_descriptors (struct spawn *s) {
  int fds[3], rc = 0;
  for (int i = 0; i < 3; i++) {
    fds[i] = i == 2 && s->fds[2] == SPAWN_STDOUT ? fds[1] : above_places(s, i);
    if (fds[i] < 0 && fds[i] != CLOSED)
      return fds[i];
  }
  for (int i = 0; i < 3 && rc == 0; i++) rc = set_place(fds[i], i);
  if (rc < 0)
    return rc;
  return close_range(3, ~0u, 0) < 0 ? -errno : 0;  /* guard: nothing leaks */
}

/* Only returns if it fails. As execvp(3) does, but with no shell: a program
** that may not be run is the error if none is found. */
IN_CHILD static int run_program (struct spawn *s) {
  int err = ENOENT;
  for (const char *const *path = s->paths; *path; path++) {
    execve(*path, s->argv, s->envp);
    if (errno == EACCES) err = EACCES;
    else if (errno != ENOENT && errno != ENOTDIR)
      return errno;
  }
  return err;
}

IN_CHILD static int fail_step (struct spawn *s, enum spawn_step step,
                               int err) {
  s->step = step;
  s->error = err;
  _exit(127);
}

IN_CHILD static int child_main (void *arg) {
  struct spawn *s = arg;
  sigset_t none;
  int rc;
  reset_signals();  /* guard: no handler of the parent's runs here */
  if (s->group && setpgid(0, 0) < 0)
    return fail_step(s, SPAWN_PROCESS, errno);
  rc = set_descriptors(s);
  if (rc < 0)
    return fail_step(s, SPAWN_DESCRIPTORS, -rc);
  if (s->directory && chdir(s->directory) < 0)
    return fail_step(s, SPAWN_DIRECTORY, errno);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  return fail_step(s, SPAWN_PROGRAM, run_program(s));
}


/* ---- in the parent ----------------------------------------------------- */

static void reap_failed (struct spawn *s) {
  siginfo_t info;
  while (waitid((idtype_t)P_PIDFD, (id_t)s->pidfd, &info, WEXITED) < 0
         && errno == EINTR) continue;
  close(s->pidfd);
  s->pidfd = -1;
}

int spawn_child (struct spawn *s) {
  _Alignas(64) char stack[STACK];  /* (this thread stands still meanwhile) */
  sigset_t all, before;
  s->error = 0;
  s->pidfd = -1;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  s->pid = clone(child_main, stack + STACK,
                 CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, s, &s->pidfd);
  if (s->pid < 0) {
    s->error = errno;
    s->step = SPAWN_PROCESS;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (s->pid > 0 && s->error != 0) reap_failed(s);
  return s->error;
}
