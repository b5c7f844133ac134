/*
** task: the class uring.Task: makes tasks, runs their functions, and has their
** outcomes.
**
** A protected call is under the task's function, so that to-be-closed
** variables run, and may wait, however the function ends.
**
** Invariant: a script can get a task's coroutine (coroutine.running), and what
** it does to that may break that task alone. So nothing is kept in the
** coroutine after the task has ended.
*/

#ifndef uring_task_h
#define uring_task_h

#include "task/cancel_scope.h"

/* Raise if the argument is neither a function nor a table { main=, name= }. Of
** a table pushes name and main. */
void task_check (lua_State *L, int arg);

/* Make a task of scope `cs` for the function at 1 (or the table { main=,
** name= }); all above it are the arguments. The task replaces them all, and is
** ready. `flags`: TASKF_DAEMON; BY_LIBRARY if the caller is one of the
** library's Lua functions. */
#define BY_LIBRARY 0x100u
struct task *task_new (lua_State *L, struct loop *loop,
                       struct cancel_scope *cs, unsigned flags);

/* What the function under a task's own returns: the outcome, and the task. */
#define TASK_RETURNS 2

/* The task at 1. Raises for one of the parent process that had not ended. */
struct task *task_check_arg (lua_State *L, const struct state *s);

/* Push the userdata of a task that has not ended. */
void task_push (lua_State *L, const struct task *t);

/* The user value of a task: its coroutine; when it has ended, its outcome.
** That is its result, or a table of several results; if it failed, { error,
** traceback, spawned at }; if it was cancelled, the scope that it was in. */
#define TASK_COROUTINE 1
#define TASK_OUTCOME   1

/* Push the outcome of the task at a stack index, which has ended: true,
** results… | nil, error value | nil, message, ECANCELED. Returns how many. */
int task_push_outcome (lua_State *L, int task);

/* Push { value, its traceback, where the running task was spawned }. */
void task_push_failure (lua_State *L, int value);

/* Appended to an error or a traceback; "file:line" and ")" follow. */
#define SPAWNED "\n\t(a task spawned at "

/* Push "file:line" of where the task with coroutine `co` was spawned; push the
** name, or nil, of the task at a stack index. */
void task_push_spawned (lua_State *L, lua_State *co);
void task_push_name (lua_State *L, int task);

/* "new", "ready", … as task:status() gives it */
const char *task_status (const struct task *t);

int task_note_as (lua_State *L);     /* for lua/uring/event.lua */

void task_open (lua_State *L);

#endif
