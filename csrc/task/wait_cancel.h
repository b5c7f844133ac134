/*
** wait_cancel: ends a wait early: its deadline was reached, its task was
** cancelled, or its task will never run again.
**
** A task in a queue leaves it and is ready. An operation that is the task's
** alone is cancelled, and the task is ready when that has ended, with its
** result.
**
** Invariants: a task whose wait has ended is in no queue and waits for no
** operation. What has arrived for a task that will never run is passed on or
** disposed of.
*/

#ifndef uring_wait_cancel_h
#define uring_wait_cancel_h

#include "task/loop.h"

/* End the wait of `t`: at once, or, if it awaits an operation of its own, when
** that has ended. */
void loop_cancel_wait (struct loop *loop, struct task *t);

/* The same, because its deadline was reached. */
void loop_timed_out (struct loop *loop, struct task *t);

/* Abandon the wait of `t`, and dispose of its results: it will never run. */
void loop_abandon_wait (struct loop *loop, struct task *t);

/* The state closes: dispose of what tasks were given and will never take. */
void loop_dispose_results (const struct loop *loop);

#endif
