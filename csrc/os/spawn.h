/*
** spawn: start a program in a child process. (No Lua in it.)
**
** A child shares the memory of its parent's thread, which stands still until
** the program runs or has failed to, as with vfork(2). So the child says which
** step failed, and nothing is copied. The kernel gives the pidfd together with
** the process: a pidfd that is opened later could be another process's, if the
** host ignores SIGCHLD or reaps all children.
**
** What the child has is what was asked for: descriptors 0, 1 and 2 and no
** others, whatever is open without close-on-exec; no signal blocked, none
** caught, SIGPIPE at its default. What its parent ignores it ignores too, as
** with nohup(1).
**
** Invariants: in the child nothing is called but the kernel, for other threads
** may hold any lock. No handler of the host runs in it. A child that did not
** become the program has been reaped when spawn_child returns.
*/

#ifndef uring_spawn_h
#define uring_spawn_h

#include <stdbool.h>
#include <sys/types.h>

/* Descriptors that are none. */
#define SPAWN_NULL    -1   /* /dev/null */
#define SPAWN_STDOUT  -2   /* of stderr: the same as stdout */

enum spawn_step { SPAWN_PROCESS, SPAWN_DESCRIPTORS, SPAWN_DIRECTORY,
                  SPAWN_PROGRAM };

struct spawn {
  const char *const *paths;  /* of the program, to be tried in turn */
  char *const *argv, *const *envp;
  const char *directory;   /* NULL: the parent's */
  int fds[3];              /* what becomes 0, 1 and 2 */
  bool group;              /* it leads a process group of its own */
  pid_t pid;               /* results */
  int pidfd;
  int error;
  enum spawn_step step;    /* that failed */
};

/* 0; or the errno, and `step` says what failed. */
int spawn_child (struct spawn *s);

#endif
