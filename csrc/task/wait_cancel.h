/*
** leave: a wait that is ended from outside: its time is over, its task was
** cancelled, or will never go on.
**
** A task that waits with others gives up its seat and goes on. Where the
** kernel has an operation that is the task's alone, that is asked to end, and
** the task goes on when it has, with what has come of it.
**
** What can never happen: a task that has left is still known to what it waited
** for; what has come for a task that will never go on is neither passed on nor
** disposed of.
*/

#ifndef uring_wait_cancel_h
#define uring_wait_cancel_h

#include "task/loop.h"

/* Make `t` leave what it waits for: now if that is nothing of the kernel's
** and its own, else when the kernel has let go. */
void loop_cancel_wait (struct loop *loop, struct task *t);

/* The same, for the wait's time is over. */
void loop_timed_out (struct loop *loop, struct task *t);

/* Forget a wait, and what has come of it: its task will never go on. */
void loop_abandon_wait (struct loop *loop, struct task *t);

#endif
