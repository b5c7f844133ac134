/*
** pidfd: what is done to a child by its pidfd: signal it, wait for its end,
** reap it. (No Lua in it.)
**
** A number can be another process's by the time it is used; a pidfd cannot. So
** a child is signalled and reaped by its pidfd alone. Its group, before Linux
** 6.9, is signalled by number, and only while the child is not reaped, which
** keeps the number from being used again.
*/

#ifndef uring_pidfd_h
#define uring_pidfd_h

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Send it a signal: 0, or -errno. `group` is its number if it leads a group,
** which gets the signal, else 0. */
int pidfd_signal (int pidfd, pid_t group, int sig);

/* The same, to end it: a child that is stopped handles TERM when it goes on.
*/
void pidfd_end (int pidfd, pid_t group, int sig);

/* Has it ended? Wait for that until the deadline. */
bool pidfd_ended (int pidfd, int64_t deadline);

/* Take the status of a child that has ended: 0, or -errno. */
int pidfd_reap (int pidfd, siginfo_t *info);

/* Wait for the end of a child that was killed, and reap it. On any thread. */
void pidfd_reap_wait (int pidfd);

/* The same, on a helper thread; and close the pidfd, which is taken over. (If
** there is no helper to be had it waits here, for a second at most.) */
void pidfd_reap_later (int pidfd);

#endif
