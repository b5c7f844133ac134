/*
** inspect: descriptions of what tasks do: for uring.tasks(), the message of a
** deadlock, and the watchdog. Nothing is recorded for it: a description is
** made from the task and its stack when it is asked for.
**
** Invariant: a description changes no task, and needs none to run.
*/

#ifndef uring_inspect_h
#define uring_inspect_h

#include "task/cancel_scope.h"

/* Push "task 3 'reader'"; "task 2.3" in a nested scope. The task at this stack
** index may have ended: `scope` is the number of the scope that it was in. */
void inspect_push_name_in (lua_State *L, int task, uint32_t scope);

/* Write the task's name, or "task 3.1", to `size` bytes. Allocates nothing;
** needs two free slots of the stack. */
void inspect_write_name (lua_State *L, const struct loop *loop,
                         const struct task *t, char *to, size_t size);

/* Push "task 3 'reader' waits for … at file:line (spawned at file:line)" */
void inspect_push_description (lua_State *L, const struct task *t);

/* Note this resume of `t`, which took `ns`, as the worst of the loop. The task
** has just stopped or returned, and was not ended yet. Allocates nothing. */
void inspect_worst (lua_State *L, struct loop *loop, const struct task *t,
                    int64_t ns);

int inspect_tasks (lua_State *L);       /* uring.tasks() */

#endif
