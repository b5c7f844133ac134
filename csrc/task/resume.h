/*
** resume: a task goes on until it waits or has ended; and what its end does.
**
** Whoever calls this is no task that runs: the loop (run.c), or a task that
** has just begun to wait, inside whose wait another one then goes on (join.c).
** All errors of a task are its own; only in a forked child that has come back
** into its parent's loop is one raised here, for there nothing may go on.
** Nothing is allocated.
*/

#ifndef uring_resume_h
#define uring_resume_h

#include "task/loop.h"

/* `t` is ready, and was taken out of the queue. */
void task_resume (lua_State *L, struct loop *loop, struct task *t);

/* A turn: every task that is ready now goes on once. */
void task_resume_all (lua_State *L, struct loop *loop);

int resume_explain (lua_State *L);   /* SHARED_EXPLAIN */

/* A task has ended; on top lie its outcome and then the task itself, which are
** taken. `results` is how many there are, or -1: it failed. */
void task_finish (lua_State *L, struct loop *loop, struct task *t,
                  int results);

#endif
