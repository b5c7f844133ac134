/*
** task: the class uring.Task: what a task is made of, how it ends, and what
** can be said of it.
**
** Under the task's own function lies a protected call, so that to-be-closed
** variables run, and may wait, however it ends. Scripts can get hold of a
** task's coroutine (coroutine.running): what they do to it must not break
** more than that task, so nothing is kept there once the task has ended.
*/

#ifndef uring_task_h
#define uring_task_h

#include "task/cancel_scope.h"

/* Raise if the argument is neither a function nor such a table as task_new
** takes; of a table its name and its function go on top. */
void task_check (lua_State *L, int arg);

/* A task of scope `r` for the function at 1 (or the table { main=, name= })
** with what is above as its arguments; the task replaces them all. It is ready
** to run. `flags` are of TASKF_DAEMON and BY_LIBRARY: the caller is a function
** of the library's own, written in Lua. */
#define BY_LIBRARY 0x100u
struct task *task_new (lua_State *L, struct loop *loop,
                       struct cancel_scope *cs, unsigned flags);

/* What the function under a task's own returns: the outcome, and the task. */
#define TASK_RETURNS 2

/* The task at 1. Of a parent's one only what it was can be told. */
struct task *task_check_arg (lua_State *L, const struct state *s);

/* The userdata of a task that has not ended. */
void task_push (lua_State *L, const struct task *t);

/* The user value of a task. When it has ended its outcome takes the place of
** its coroutine: its result, or a table of several; { error, traceback,
** spawned at }; of a cancelled one the scope that it was in. */
#define TASK_COROUTINE 1
#define TASK_OUTCOME   1

/* What became of the task at a stack index, which has ended: true, results…
** | nil, error value | nil, message, ECANCELED. Returns how many. */
int task_push_outcome (lua_State *L, int task);

/* Push { value, its traceback, where the running task was spawned }. */
void task_push_failure (lua_State *L, int value);

/* What is appended to an error or a traceback, with "file:line" and ")". */
#define SPAWNED "\n\t(a task spawned at "

/* Push "file:line" of where a task was spawned, whose coroutine `co` is; its
** name or nil, for the task at a stack index. */
void task_push_spawned (lua_State *L, lua_State *co);
void task_push_name (lua_State *L, int task);

/* "new", "ready", … as task:status() gives it */
const char *task_status (const struct task *t);

int task_note_as (lua_State *L);     /* for lua/uring/event.lua */

void task_open (lua_State *L);

#endif
