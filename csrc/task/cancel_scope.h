/*
** cancel_scope: what is cancelled together. A cancel scope is the extent of a
** uring.scope, uring.timeout or uring.shield in a task; that of a uring.scope
** has tasks in it as well. The modules of task that open, run, end and inspect
** tasks call it; so does worker/served_call.c, whose handlers run in one.
**
** Cancel scopes nest. A task's innermost one is `task.timer.owner_id`. Outward
** from there (`outer`) are the others that the task has opened, then the scope
** that it belongs to. A task is cancelled (TASKF_CANCELLED: every wait raises)
** if one of its own cancel scopes is, up to the innermost shield, or if its
** cancel was requested: by task:cancel, or with the scope that it belongs to.
** Cancelling marks the scope's own tasks and its body; nested scopes cancel
** theirs, and wait for them, as their bodies unwind.
**
** A scope counts its tasks and stays open until the last has ended. If its
** body's coroutine is closed by a script, nothing can wait for its tasks: the
** scope is an orphan, its tasks are cancelled, and the enclosing scope waits.
**
** SHARED_CANCEL_SCOPES has the userdata of all open cancel scopes by number,
** and by the negative number a scope's table of tasks: those that have not
** ended or have failed.
**
** Invariants: no Lua code runs here; a cancelled task is only marked, and made
** ready. A cancel scope closes after all that are inside it; a scope ends
** after all its tasks.
*/

#ifndef uring_cancel_scope_h
#define uring_cancel_scope_h

#include "task/loop.h"

enum cancel_scope_kind { CANCEL_SCOPE_TASKS, CANCEL_SCOPE_TIMEOUT,
                        CANCEL_SCOPE_SHIELD,
                        CANCEL_SCOPE_CALL };  /* a served call's handler */

struct cancel_scope {
  struct timer timer;       /* first; its owner_id is 0: not a task's */
  struct cancel_scope *outer;
  struct cancel_scope *owner_scope;  /* the scope that its owner is in */
  struct cancel_scope *scope;  /* the innermost scope: itself or around it */
  struct task *owner;       /* has opened it; NULL: run's own, or an orphan */
  const char *orphan;       /* orphan: the reason of its cancel; or NULL */
  uint32_t id;              /* 0: closed */
  uint8_t kind;
  bool cancelled;           /* its waits raise */
  bool expired;             /* its deadline was reached */
  bool failed;              /* its body or a task raised */
  bool body_first;          /* ... and its body first */
  bool waiting;             /* its owner waits for its tasks */
  bool detached;            /* nothing waits for it: see detached.h */
  bool lasting;             /* it ends only when it was cancelled */
  bool ending;              /* its tasks have ended, its daemons' cancel is
                               requested */
  uint32_t ntasks;          /* that keep it open */
  uint32_t ndaemons;        /* that do not */
  uint32_t nlive;           /* daemons without a requested cancel */
  uint32_t nplaces, free_place;  /* in the table of its tasks */
  struct cancel_scope *next_failed;  /* on loop->failed */
  struct task *first_failed, *last_failed;  /* linked by node.next */
};

/* User values of a cancel scope. */
#define SCOPE_TASKS   1
#define SCOPE_REASON  2    /* why it was cancelled; or `orphan` as a pointer */
#define SCOPE_ERROR   3    /* its body's error, like a failed task's outcome */
#define SCOPE_VALUES  3

/* Push a new cancel scope, opened by `owner` (NULL: run's own). At the
** deadline it expires. May raise. */
struct cancel_scope *cancel_scope_open (lua_State *L, struct loop *loop,
                                        struct task *owner,
                                        enum cancel_scope_kind kind,
                                        int64_t deadline);

/* Its call ends: close it, and first all that were opened inside it. */
void cancel_scope_close (lua_State *L, struct loop *loop,
                         struct cancel_scope *cs);

/* Free its number: it is closed and has no tasks. */
void cancel_scope_end (lua_State *L, struct loop *loop,
                       struct cancel_scope *cs);

/* The task ends: close all cancel scopes that it has opened. */
void cancel_scope_close_all (lua_State *L, struct loop *loop, struct task *t);

/* Its deadline was reached. */
void cancel_scope_expire (struct loop *loop, struct cancel_scope *cs);

/* Push the userdata of an open cancel scope. */
void cancel_scope_push (lua_State *L, const struct cancel_scope *cs);

/* Push the task at this place of an open scope. */
void cancel_scope_push_task (lua_State *L, const struct cancel_scope *cs,
                             uint32_t place);

/* The scope that a task belongs to, and the one that it spawns into. */
struct cancel_scope *cancel_scope_of_task (const struct loop *loop,
                                           const struct task *t);
struct cancel_scope *cancel_scope_to_spawn_in (const struct loop *loop,
                                               const struct task *t);

/* Which of the task's own cancel scopes cancels it. NULL: none does; its
** cancel may be requested, or it may be shielded. */
struct cancel_scope *cancel_scope_cause (const struct loop *loop,
                                         const struct task *t);

/* Is the task cancelled, or would it be without its shields? */
bool cancel_scope_pending (const struct loop *loop, const struct task *t);

/* Compute a task's TASKF_CANCELLED anew. If it is cancelled its wait ends. */
void cancel_scope_update_task (struct loop *loop, struct task *t);

/* task:cancel, without a reason. */
void task_request_cancel (struct loop *loop, struct task *t);

/* Cancel a scope, if it has not ended: its tasks and its body. Pops the
** reason, which is kept if it is the first. */
void cancel_scope_cancel (lua_State *L, struct loop *loop,
                          struct cancel_scope *cs);

/* The run is cancelled, and this task does not let others run: cancel the
** scopes around it, from the outermost one, as their owners would when they
** are resumed; and its detached scope. Pops the reason. */
void cancel_scope_reach (lua_State *L, struct loop *loop, struct task *t);

/* The tasks that kept it open have ended: cancel its daemons, and those that
** are spawned later, until a task is spawned. */
void cancel_scope_cancel_daemons (lua_State *L, struct loop *loop,
                                  struct cancel_scope *cs);

/* Replace the cancel scope on top by the reason of its cancel. */
void cancel_scope_reason (lua_State *L);

/* Add the task on top to this scope, whose number was `id`. Raises without
** memory, or if the scope has ended; then nothing has changed. */
void cancel_scope_add_task (lua_State *L, struct loop *loop,
                            struct cancel_scope *cs, uint32_t id,
                            struct task *t);

/* A task of this scope has ended. One that failed, with the value at index
** `error` (else 0), keeps its place. Allocates nothing. */
void cancel_scope_remove_task (lua_State *L, struct loop *loop,
                               struct cancel_scope *cs, struct task *t,
                               int error);

/* Another loop takes the place of the parent's, in a forked child, or of one
** that has ended because the state closes (NULL): end all scopes and tasks of
** the old one. Their coroutines may be on the C stack. */
void cancel_scope_abandon_all (lua_State *L, struct loop *loop);

/* Call f for every task that has not ended; the task is on top. */
void cancel_scope_each_task (lua_State *L, struct loop *loop,
                             void (*f)(lua_State *L, struct loop *loop,
                                       struct task *t));

#endif
