/*
** resume: resumes a task until it waits or has ended, and does what its end
** requires.
**
** It is called by the loop (run.c, host/step.c), and by a task that has just
** begun to wait, inside whose call another task then runs (join.c).
**
** Invariants: an error in a task stays the task's. Only in a forked child that
** returns into its parent's loop an error is raised here, because nothing may
** run there. Nothing is allocated between two tasks.
*/

#ifndef uring_resume_h
#define uring_resume_h

#include "task/loop.h"

/* Resume `t`, which is ready and was taken out of the queue. */
void task_resume (lua_State *L, struct loop *loop, struct task *t);

/* A turn: resume once every task that is ready now. */
void task_resume_all (lua_State *L, struct loop *loop);

/* A step's turn: the same for tasks and waits of up to `most` in all, none
** after `until`. Returns how many. */
unsigned task_resume_some (lua_State *L, struct loop *loop, unsigned most,
                           int64_t until);

int resume_explain (lua_State *L);   /* SHARED_EXPLAIN */

/* A task has ended. Pops the task and, below it, its outcome. `results`: how
** many it has returned; -1: it failed or was cancelled. */
void task_finish (lua_State *L, struct loop *loop, struct task *t,
                  int results);

#endif
