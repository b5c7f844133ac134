/*
** loop_fd: the descriptor by which a host learns that a step would do
** something: loop:fd().
**
** It is an epoll descriptor over others: an eventfd that the kernel signals
** when the loop's ring has completions; those of the other rings that tasks
** wait on; a timerfd for the first deadline; and the eventfd of the loop's
** doorbell, for what other threads send, for what becomes ready outside
** a step, and for what a step leaves.
**
** Between two steps the loop is quiet, if nothing is left to do: then the
** descriptor is not readable, and whatever makes work for a step writes the
** doorbell's eventfd, once (loop_notify_host). A step first ends that state.
** At its end it reads what was signaled, and then looks at memory once more:
** what came before the read is seen there, what comes after it signals again.
**
** When the kernel signals is not known exactly: a signal may come after the
** completion that it is for was taken. So the first few idle steps after work
** read the eventfd as well, and later ones now and then. (A signal for what
** has waited for an eventfd comes many milliseconds later: after that all idle
** steps of a tenth of a second do.) All other idle steps look only at memory.
**
** Invariants: work for a step and a descriptor that is not readable never stay
** together. The descriptor is readable for nothing at most once.
*/

#ifndef uring_loop_fd_h
#define uring_loop_fd_h

#include "task/loop.h"

/* The descriptor, made if need be: or -errno. */
int loop_fd_open (struct loop *loop);

/* The loop's time is the host's from now on: the timerfd is not set. */
void loop_fd_host_time (struct loop *loop);

/* A step begins, at `now`. Has this module something to do in it, although
** turn_at_hand is false? */
bool loop_fd_pending (struct loop *loop, int64_t now);
void loop_fd_begin (struct loop *loop);

/* A step ends: is there still anything to do? The descriptor tells the same.
** (Without a descriptor it only looks.) */
bool loop_fd_settle (struct loop *loop);

#endif
