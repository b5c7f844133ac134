/*
** pidfd: see the header. What must not break: the number of a group is used
** only while its leader is not reaped.
*/

#include "compat.h"
#include "os/pidfd.h"

#include "base/clock.h"
#include "os/thread_pool.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGNAL_GROUP  (1u << 2)    /* PIDFD_SIGNAL_PROCESS_GROUP, 6.9 */
#define KILL_NS       1000000000   /* how long a killed child may take */
#define REAP_NS       20000


/* ---- signals ----------------------------------------------------------- */

/* Is it reaped by nothing but this module, and not yet? */
static bool unreaped (int pidfd) {
  siginfo_t info;
  return waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info,
                WEXITED | WNOHANG | WNOWAIT) == 0;
}

int pidfd_signal (int pidfd, pid_t group, int sig) {
  if (pidfd_send_signal(pidfd, sig, NULL, group ? SIGNAL_GROUP : 0) == 0)
    return 0;
  if (errno != EINVAL || !group)
    return -errno;
  if (!unreaped(pidfd))  /* guard: its number may be another group's */
    return -ESRCH;
  return kill(-group, sig) < 0 ? -errno : 0;
}

void pidfd_end (int pidfd, pid_t group, int sig) {
  pidfd_signal(pidfd, group, sig);
  if (sig != SIGKILL) pidfd_signal(pidfd, group, SIGCONT);
}


/* ---- its end ----------------------------------------------------------- */

bool pidfd_ended (int pidfd, int64_t deadline) {
  struct pollfd p = { pidfd, POLLIN, 0 };
  int64_t left = clock_left(deadline);
  while (poll(&p, 1, (int)((left + 999999) / 1000000)) <= 0) {
    left = clock_left(deadline);
    if (left <= 0)
      return false;
  }
  return true;
}

static int wait_pidfd (int pidfd, siginfo_t *info, int flags) {
  int rc;
  do {
    rc = waitid((idtype_t)P_PIDFD, (id_t)pidfd, info, WEXITED | flags);
  } while (rc < 0 && errno == EINTR);
  return rc < 0 ? -errno : 0;
}

int pidfd_reap (int pidfd, siginfo_t *info) {
  int64_t deadline = clock_after(KILL_NS);
  for (;;) {
    int rc;
    info->si_pid = 0;
    rc = wait_pidfd(pidfd, info, WNOHANG);
    /* guard: it is told that it has ended a moment before it can be reaped */
    if (rc < 0 || info->si_pid != 0)
      return rc;
    if (clock_left(deadline) <= 0)
      return -ETIME;
    clock_sleep(REAP_NS);
  }
}

void pidfd_reap_wait (int pidfd) {
  siginfo_t info;
  wait_pidfd(pidfd, &info, 0);
}


/* ---- on a helper thread ------------------------------------------------ */

struct reap_job {
  struct job job;          /* first */
  int pidfd;
};

static void reap_job_end (struct refblock *b) { free(b); }

static void reap_work (struct job *job) {
  int pidfd = ((struct reap_job *)job)->pidfd;
  pidfd_reap_wait(pidfd);
  close(pidfd);
}

static bool post_reap (int pidfd) {
  struct reap_job *j = calloc(1, sizeof(*j));
  int rc;
  if (j == NULL)
    return false;
  refblock_init(&j->job.block, reap_job_end);
  j->job.work = reap_work;
  j->pidfd = pidfd;
  rc = thread_pool_post(&j->job, LANE_FILES, NULL);
  refblock_release(&j->job.block);
  return rc == 0;
}

void pidfd_reap_later (int pidfd) {
  siginfo_t info;
  if (post_reap(pidfd))
    return;
  if (pidfd_ended(pidfd, clock_after(KILL_NS))) pidfd_reap(pidfd, &info);
  close(pidfd);
}
