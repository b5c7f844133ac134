/*
** region: what is cancelled together: the extent of a call in a task (a
** scope, a timeout, a shield) and, where it is a scope, the tasks in it.
**
** Regions lie one in another. A task's innermost one is `task.timer.owner_id`;
** going outward (`outer`) come those that the task itself has opened, then
** the scope that it belongs to. A task is cancelled (TASKF_CANCELLED: every
** wait raises) if a region of its own is, but for what lies outside a shield,
** or if it was cancel_requested: by task:cancel, or with its scope. Cancelling
** a scope dooms its tasks and cancels the extent of its body; tasks further in
** go as those unwind, each of whose scopes cancels its own and waits for them.
**
** A scope's region counts its tasks and is open until the last has ended. One
** whose body cannot wait any more, for its coroutine was closed by others, is
** an orphan: its tasks are cancelled, and the scope around it waits for them.
**
** The userdata of open scopes are in SHARED_CANCEL_SCOPES, by their number; a
** scope's tasks that have not ended, or have failed, in a table of its own,
** which is there too, by the number's negative.
** Whoever is cancelled is only marked and made ready here: no Lua code runs.
**
** What can never happen: a region is closed before those inside it; a scope
** is closed while a task of it runs.
*/

#ifndef uring_cancel_scope_h
#define uring_cancel_scope_h

#include "task/loop.h"

enum cancel_scope_kind { CANCEL_SCOPE_TASKS, CANCEL_SCOPE_TIMEOUT,
                        CANCEL_SCOPE_SHIELD };

struct cancel_scope {
  struct timer timer;       /* first; its word is 0: it is no task's */
  struct cancel_scope *outer;
  struct cancel_scope *owner_scope;      /* that of its owner */
  struct cancel_scope *scope;     /* the innermost that it lies in, or it is */
  struct task *owner;       /* in whose call it is; NULL: run's own, orphan */
  const char *orphan;       /* who has closed it before its tasks had ended */
  uint32_t id;              /* 0: closed */
  uint8_t kind;
  bool cancelled;           /* its waits raise */
  bool expired;             /* its time was over */
  bool failed;              /* there was an error in it */
  bool body_first;          /* ... and its body's was the first */
  bool waiting;             /* its owner waits for its tasks */
  bool ending;  /* these have ended, and its daemons are cancel_requested */
  uint32_t ntasks;          /* that keep it open */
  uint32_t ndaemons;        /* that do not */
  uint32_t nlive;           /* daemons that are not cancel_requested */
  uint32_t nplaces, free_place;  /* in the table of its tasks */
  struct task *first_failed, *last_failed;  /* linked by seat.next */
};

/* User values of a region. */
#define SCOPE_TASKS   1
#define SCOPE_REASON  2    /* why it was cancelled; or `orphan`, bare */
#define SCOPE_ERROR   3    /* its body's: as a failed task's outcome */
#define SCOPE_VALUES  3

/* A new region of `owner` (or run's own, for NULL) on top of the stack. Its
** time is over at `deadline`: then it expires. */
struct cancel_scope *cancel_scope_open (lua_State *L, struct loop *loop,
                            struct task *owner, enum cancel_scope_kind kind,
                            int64_t deadline);

/* Its call ends, and with it all that were opened inside it. */
void cancel_scope_close (lua_State *L, struct loop *loop,
                         struct cancel_scope *r);

/* It is no more: nothing is left in it. */
void cancel_scope_end (lua_State *L, struct loop *loop,
                       struct cancel_scope *r);

/* Its task ends: so do all that it has opened. */
void cancel_scope_close_all (lua_State *L, struct loop *loop, struct task *t);

void cancel_scope_expire (struct loop *loop, struct cancel_scope *r);

/* Push the userdata of an open one. */
void cancel_scope_push (lua_State *L, const struct cancel_scope *r);

/* Push the task of an open scope that has this place. */
void cancel_scope_push_task (lua_State *L, const struct cancel_scope *r,
                             uint32_t place);

/* The scope that a task belongs to, and the one that it spawns into. */
struct cancel_scope *cancel_scope_of_task (const struct loop *loop,
                                           const struct task *t);
struct cancel_scope *cancel_scope_to_spawn_in (const struct loop *loop,
                                               const struct task *t);

/* The region of its own that cancels the task; NULL: none, or it is
** cancel_requested, or shielded. */
struct cancel_scope *cancel_scope_cause (const struct loop *loop,
                                         const struct task *t);

/* Is the task cancelled, or would be if it were not shielded? */
bool cancel_scope_pending (const struct loop *loop, const struct task *t);

/* Is the task cancelled now? Marks it, and makes it leave its wait. */
void cancel_scope_update_task (struct loop *loop, struct task *t);
void task_request_cancel (struct loop *loop, struct task *t);

/* Cancel a scope, if it has not ended: its tasks and its body. The reason is
** on top, and is taken; the first one stays. */
void cancel_scope_cancel (lua_State *L, struct loop *loop,
                          struct cancel_scope *r);

/* All that has kept it open has ended: cancel its daemons, and each that is
** started from now on before it begins, unless a task is started as well. */
void cancel_scope_cancel_daemons (lua_State *L, struct loop *loop,
                            struct cancel_scope *r);

/* Why the region on top was cancelled takes its place. */
void cancel_scope_reason (lua_State *L);

/* A task, which is on top, begins in this scope, known as number `id`. Raises
** for want of memory, or if it has ended; then nothing has happened. */
void cancel_scope_add_task (lua_State *L, struct loop *loop,
                            struct cancel_scope *r,
                  uint32_t id, struct task *t);

/* A task of this scope has ended; if it failed, with the value at `error`, it
** keeps its place. Allocates nothing. */
void cancel_scope_remove_task (lua_State *L, struct loop *loop,
                               struct cancel_scope *r,
                  struct task *t, int error);

/* This loop was the parent's, and the child of a fork has its own now: here
** its scopes and tasks are over, but their coroutines may be on the stack. */
void cancel_scope_abandon_all (lua_State *L, struct loop *loop);

/* Every scope's tasks that have not ended: f for each, which is on top. */
void cancel_scope_each_task (lua_State *L, struct loop *loop,
                  void (*f)(lua_State *L, struct loop *loop, struct task *t));

#endif
