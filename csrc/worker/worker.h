/*
** worker: the class uring.Worker: what the parent has of a worker. It begins
** with an address of the worker's inbox: it is an address, with more methods.
**
** Which scope a worker belongs to, and what it is called with, is in
** lua/uring/worker.lua. Here a thread is started and cancelled; worker_join
** waits for it, and takes what it ended with.
**
** Invariant: a thread that runs is in its state's list (state->workers), with
** its object or without. A state that closes waits for them for a bounded
** time, and leaves the rest to themselves: it says so by a warning, and they
** are counted (uring.workers).
*/

#ifndef uring_worker_h
#define uring_worker_h

#include "lua/state.h"
#include "task/wait.h"
#include "worker/mail_address.h"

struct worker_thread;

struct worker {
  struct mail_address address;   /* first */
  struct object_waitq waitq;     /* tasks that wait for its end */
  struct worker_thread *t;       /* counted; NULL: never made */
  int64_t cancelled;             /* when, on the loop's time; or 0 */
  bool joined;                   /* its outcome was told */
  bool reported;                 /* ... that it ignores its cancel */
};

#define WORKER_OUTCOME 1     /* user value: a table, once it was taken */
#define WORKER_TRACE   2     /* where it was started */
#define WORKER_KEEPER  3     /* a task that has its error, until it is told */
#define WORKER_VALUES  3

/* The started worker at 1, of this process. */
struct worker *worker_check (lua_State *L);

/* Join it, if it has ended: true. */
bool worker_reaped (struct worker_thread *t);

/* Tell what it has warned of, as this state's warnings. */
void worker_tell_warnings (lua_State *L, struct worker_thread *t);

void worker_functions (lua_State *L);  /* for lua/uring/worker.lua */
void worker_open (lua_State *L);

#endif
