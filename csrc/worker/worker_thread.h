/*
** worker_thread: the thread of a worker, and the record that it shares with
** the state that started it, its parent. (No Lua in it.)
**
** The record is counted: by the parent, by the thread, and by each ready list
** that it is in. So a parent may leave a thread that does not end alone: what
** the thread uses is freed by the thread, and the module stays mapped.
**
**     WORKER_NEW      the parent's alone
**         |  worker_thread_start
**     WORKER_RUNS     both have it
**         |  the thread's last act but one: to tell the parent
**     WORKER_ENDED    its state and its inbox are closed, its results are in
**                     the queue; the parent joins the thread
**
** Who touches what, after the start:
**
** - what says how to start (`body` to `hook`) is only read. `start` is the
**   thread's, which disposes of it.
** - `account` is charged by both with what is the worker's alone: its inbox,
**   the messages that it begins and ends with, and Lua's memory. Its state's
**   own account joins it.
** - `inbox` is read by the thread. Its parent has an address of it, like any
**   other sender. `results` is read by the parent, after the end.
** - The doorbells, the reason of a cancel, warnings and `left` are under the
**   lock; what is atomic is read by either.
** - `owner`, `woken`, the list and the thread's number are the parent's.
**
** To cancel a worker is to link the record into the ready list of the
** worker's loop, if there is one yet; else the worker finds it when it says
** that it listens. An end, or a warning, is told the parent in the same way.
** So each side may be asleep in the kernel, and neither waits for the other.
**
** Invariants
** - A thread has all signals blocked, so no handler of a host's runs there.
** - Each is joined once, or left to itself once: then it is counted
**   (worker_threads_left) until it ends.
** - In a forked child there is no thread: nothing of the record is touched,
**   for its lock may be taken for ever.
*/

#ifndef uring_worker_thread_h
#define uring_worker_thread_h

#include "base/account.h"
#include "base/lock.h"
#include "ring/doorbell.h"
#include "worker/queue.h"

/* Texts, each with a 0 after it. */
struct worker_warnings {
  char *texts;               /* malloc's; or NULL */
  size_t size;
  unsigned lost;             /* for which there was no space */
};

#define WORKER_WARNINGS 8192   /* bytes that wait for the parent, at most */

enum worker_status { WORKER_NEW, WORKER_RUNS, WORKER_ENDED };

struct lua_State;

struct worker_thread {
  struct refblock block;
  uint32_t fork_id;
  void (*body) (struct worker_thread *t);  /* the thread's work */
  int (*open) (struct lua_State *L);  /* for `body`: luaopen_uring */
  struct queue *inbox, *results;   /* counted */
  struct account *account;   /* of the state that started it; NULL: that has
                                no bound. Has one byte of the record */
  size_t charged;            /* for the inbox, until it was joined */
  size_t posted;             /* for the results: the thread's, and from the end
                                on its parent's */
  struct message *start;     /* what it is called with, charged; or NULL */
  char *name;                /* or NULL */
  size_t memory, used;       /* bytes that its state may hold (0: no limit),
                                and holds: the thread's */
  _Atomic bool at_limit;     /* ... by which Lua was refused memory last */
  bool hook;                 /* a cancel reaches code that does not wait */

  _Atomic int status;        /* enum worker_status */
  _Atomic bool cancelled;
  struct lock lock;          /* of all this: */
  struct doorbell *doorbell; /* of the parent's loop, counted; or NULL */
  struct doorbell *listener;  /* of the worker's loop, counted; or NULL */
  bool left;                 /* it is not joined any more */
  char *reason;              /* of its cancel; or NULL. Not changed after
                                `cancelled` was set, nor is its length */
  size_t reason_len;
  struct worker_warnings warnings;  /* that the parent has not told */
  bool warned;               /* `warning` is in the ready list */
  struct ready_link warning;  /* in the parent's ready list */
  struct ready_link ended;   /* the same */
  struct ready_link cancelled_link;  /* in the worker's */
  void (*cancel) (struct worker_thread *t, struct loop *loop);  /* its loop has
                                to be cancelled: on its thread */

  bool joined;               /* the parent's: */
  pthread_t thread;
  void *owner;               /* for `woken`; NULL: none */
  void (*woken) (void *owner, struct loop *loop);
  struct worker_thread *next, **back;  /* of its state's */
};

/* A record, counted once, with an inbox of these limits, which counts for the
** account; NULL: no memory. */
struct worker_thread *worker_thread_new (const struct queue_limits *inbox,
                                         struct account *a);

/* It is not called with `start` any more, which was freed. */
static inline void worker_thread_began (struct worker_thread *t,
                                        size_t size) {
  t->start = NULL;
  account_refund(t->account, size);
}

/* The parent has taken the results. */
static inline void worker_thread_took (struct worker_thread *t) {
  account_refund(t->account, t->posted);
  t->posted = 0;
}

static inline enum worker_status worker_status (
                                         const struct worker_thread *t) {
  return (enum worker_status)atomic_load_explicit(&t->status,
                                                  memory_order_acquire);
}

static inline bool worker_cancelled (const struct worker_thread *t) {
  return atomic_load_explicit(&t->cancelled, memory_order_acquire);
}


/* ---- the parent's ------------------------------------------------------ */

/* Start it. Its end is told to this doorbell's loop. 0 or -errno. */
int worker_thread_start (struct worker_thread *t, struct doorbell *doorbell);

/* False: it was cancelled before, or has ended. `reason`, of `len` bytes, may
** be NULL. */
bool worker_thread_cancel (struct worker_thread *t, const char *reason,
                           size_t len);

/* What it has warned of since this was called last: the texts are the
** caller's. */
struct worker_warnings worker_thread_warnings (struct worker_thread *t);

/* Is there any? */
bool worker_thread_warned (struct worker_thread *t);

/* Wait for its end, and join it. False: it has not ended by then. */
bool worker_thread_join (struct worker_thread *t, int64_t deadline);

/* Do not wait for it any more: the parent ends. It is in no list of that. */
void worker_thread_leave (struct worker_thread *t);

/* Threads of this process that were left, and run. */
unsigned worker_threads_left (void);


/* ---- the thread's ------------------------------------------------------ */

/* From now on a cancel is told to this doorbell's loop; if there was one it is
** so at once. And no more. */
void worker_thread_listen (struct worker_thread *t, struct doorbell *doorbell);
void worker_thread_unlisten (struct worker_thread *t);

/* Give the parent a warning to tell, of `len` bytes without a 0. */
void worker_thread_warn (struct worker_thread *t, const char *text,
                         size_t len);

#endif
