/*
** wait: the wait engine. A wait is three functions (struct wait_kind): try
** takes an item if there is one, block joins the queue if there is none,
** cancel undoes that. A task that waits for one thing performs its kind here.
** A select has a node for each of its events, and tries, blocks and cancels
** the same kinds (event.c). So blocking calls, iterators and events share
** their code.
**
** Each item that arrives wakes the first waiter, which has a turn until it has
** run (struct turnq in waitq.h): first come, first served. A wakeup hands over
** nothing, so it may be spurious: the waiter tries again, and joins the queue
** at its front if there is nothing.
**
** Invariants: no wakeup is lost: a task that suspends or ends with a turn
** loses the turn (loop_end_turns), and the next waiter is woken. No node is in
** a queue that is freed: all waiters are woken before that.
*/

#ifndef uring_wait_h
#define uring_wait_h

#include "base/clock.h"
#include "lua/errors.h"
#include "task/loop.h"
#include "task/wait_cancel.h"

/* One of the events that a parked task selects over. */
struct select_waiter {
  struct wait_node node;    /* first; its co is NULL */
  struct waitq *queue;      /* the queue that it is in, or NULL */
  struct turnq *turnq;      /* the same with turns; NULL: without */
  struct items *items;      /* the same of a channel or a semaphore */
  struct task *task;        /* its user value, like the object that has the
                               queue or the operation */
  const struct wait_kind *kind;  /* of its event */
  const void *object;       /* its user value, of its event */
  struct ring *ring;        /* whose messages it waits for, or NULL */
  uint64_t token;           /* of the operation that it waits for, or 0 */
  int index;                /* of its event in the select, from 0: event.c */
  bool woken;               /* and in no queue since */
  bool sent;                /* a receiver has taken its message */
  bool has_turn;            /* in turnq */
  uint8_t nresults;         /* of a block that did not wait: event.c */
  void *asking;             /* of address:sending: worker/sending.c */
};

/* What block fills in: what the task waits for. */
struct blocking {
  struct wait_node *node;   /* the task's own, or a select waiter's */
  enum task_wait wait;
  void *on;
  int64_t deadline;         /* block may make it earlier, to try again then */
};

/* What can make a wait ready: anything; only tasks of this state; or only
** those, and what is linked into the ready list of the loop's doorbell. */
enum wait_within { WAITS_OUTSIDE, WAITS_LOCAL, WAITS_RUNG };

/* A kind of wait. Its object is at stack index 1, followed by its arguments,
** in a call as well as in the functions of an event. `node` is NULL for an
** event that has not blocked yet. */
struct wait_kind {
  const char *name;         /* of its event */
  /* Take an item: push its values, or nil, message, errno, and return how
     many. 0: there is none, or it is another waiter's turn. */
  int (*try) (lua_State *L, struct task *t, struct wait_node *node);
  /* Start the request if need be, and join a queue: 0; or push nil, message,
     errno, and return 3: the wait ends. */
  int (*block) (lua_State *L, struct task *t, struct blocking *b);
  /* The wait ends, and its node has left the queue: wake the next waiter if
     there is an item for it. Pushes and raises nothing. */
  void (*cancel) (lua_State *L, struct task *t, struct wait_node *node);
  enum wait_within within;
  /* Push a description of the argument at this index; or NULL. */
  void (*describe) (lua_State *L, int arg);
};


/* ---- queues ------------------------------------------------------------ */

static inline struct select_waiter *select_waiter_of (struct wait_node *n) {
  return n && n->co == NULL ? (struct select_waiter *)n : NULL;
}

/* Join a queue, at its front if the node has a turn. A task's wait is then
** `wait`, on the queue. */
void wait_join (struct blocking *b, struct turnq *q, enum task_wait wait);

/* The same for a queue without turns, whose waiters are woken all at once. */
void wait_join_plain (struct blocking *b, struct waitq *q,
                      enum task_wait wait, void *on);

/* May this waiter take one of the items? NULL: it has not waited yet. */
bool turnq_may_take (const struct turnq *q, struct wait_node *n,
                     size_t items);

/* Wake a waiter that has left its queue. */
void waiter_wake (struct loop *loop, struct wait_node *n);

/* Wake the first waiter: an item has arrived. Wake all: the queue ends.
** Without a loop, when the state closes, none is woken: all only leave the
** queue. */
void turnq_wake (struct loop *loop, struct turnq *q);
void turnq_wake_all (struct loop *loop, struct turnq *q);
void waitq_wake_all (struct loop *loop, struct waitq *q);

/* End the turn of this node in this queue: false if it had none. */
bool turnq_end_turn (struct turnq *q, struct wait_node *n);

/* A task with a turn suspends, is cancelled, or will never run: end its turn,
** and wake the next waiter. */
void loop_end_turns (struct loop *loop, struct task *t);


/* ---- items ------------------------------------------------------------- */

/*
** The queue of what tasks of one state give to each other: a channel's
** messages and the tasks that receive, a semaphore's units and the tasks that
** acquire.
**
** An item that is put wakes the first waiter, and is kept for its turn.
** Nothing is handed over: if the waiter is cancelled before it runs, the item
** is still there, for the next. A select that is woken is committed: it
** chooses this event and no other, so that a message that was sent to it is
** received.
**
** The queue lies in its object. The wait of a task keeps that, until its
** coroutine is closed: so an object that is collected first takes out all
** waiters, and ends all turns (items_end).
**
** Invariants: there are never more turns than items. While an item is not kept
** for a turn, no waiter is left that could take it.
*/
struct items {
  struct turnq q;           /* first: `turnq` of a WAIT_ITEM */
  size_t count;
  uint32_t fork_id;
  bool ended;               /* its object was collected */
};

void items_open (struct items *i, size_t count);

/* Take out the waiters of a queue, and wake none. */
void waitq_drop_all (struct waitq *q);

/* The object is collected. */
void items_end (struct loop *loop, struct items *i);

/* In a forked child: forget the tasks of the parent process. */
static inline void items_check_fork (struct items *i, struct waitq *senders) {
  if (i->fork_id != fork_id()) {
    i->fork_id = fork_id();
    waitq_drop_all(&i->q.waiting);
    if (senders) waitq_drop_all(senders);
    i->q.turns = 0;
  }
}

/* The items that are not kept for a turn. */
static inline size_t items_free (const struct items *i) {
  return i->count - i->q.turns;
}

/* Join the queue. */
void items_join (struct blocking *b, struct items *i);

/* The first waiter in this queue that can be committed; those that cannot any
** more are taken out. Waiters of the task `own`, which is selecting, are
** passed over. NULL: there is none. */
struct wait_node *items_first (struct loop *loop, struct waitq *q,
                               const struct task *own);

/* May this waiter take one now? NULL: a call that does not wait. */
bool items_may_take (struct loop *loop, struct items *i, struct wait_node *n);

/* Commit that waiter, which has left its queue, and wake it. Of a select this
** event is chosen. */
void items_commit (struct loop *loop, struct wait_node *n);

/* An item was put: wake the first waiter for it. If only events of a select of
** the running task wait, that tries again. */
void items_wake (struct loop *loop, struct items *i);

/* The wait of this node ends: so does its turn. */
void items_end_turn (struct items *i, struct wait_node *n);

/* The same for a waiter that has taken nothing: the next one is woken. NULL:
** it is in no queue, and has no turn. */
void items_cancel (struct loop *loop, struct items *i, struct wait_node *n);


/* ---- performing -------------------------------------------------------- */

/* Wait in the running function: returns the number of its results. `k` only
** calls wait_resumed with the same kind. (Inline, so that the kind is a
** constant.) */
static inline int wait_again (lua_State *L, struct task *t,
                              const struct wait_kind *kind, int64_t deadline,
                              lua_KFunction k) {
  struct blocking b = { &t->node, WAIT_NOTHING, NULL, deadline };
  int n = kind->try(L, t, &t->node);
  if (n > 0)
    return n;
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  n = kind->block(L, t, &b);
  if (n > 0) {
    kind->cancel(L, t, &t->node);
    return n;
  }
  loop_begin(L, t, b.wait, b.on, b.deadline);
  if (t->task_flags & TASKF_CANCELLED)  /* guard: by a finalizer, just now */
    loop_cancel_wait(state_of(L)->loop, t);
  return lua_yieldk(L, 0, (lua_KContext)deadline, k);
}

static inline int wait_perform (lua_State *L, struct task *t,
                                const struct wait_kind *kind,
                                int64_t deadline, lua_KFunction k) {
  if (t->has_turn)  /* guard: of a wait that has raised */
    loop_end_turns(state_of(L)->loop, t);
  t->wait = WAIT_NOTHING;
  return loop_unfair(t) ? loop_wait(L, t, WAIT_YIELD, NULL, CLOCK_NEVER,
                                    (lua_KContext)deadline, k)
                        : wait_again(L, t, kind, deadline, k);
}

/* After a wait: an item beats a timeout, and a cancellation beats both. */
static inline int wait_resumed (lua_State *L, const struct wait_kind *kind,
                                int64_t deadline, lua_KFunction k) {
  struct task *t = loop_resumed(L);
  if (t == NULL)
    return loop_yield_again(L, (lua_KContext)deadline, k);
  if (t->task_flags & TASKF_CANCELLED) {
    kind->cancel(L, t, &t->node);
    loop_check(L, t);
  }
  if ((t->task_flags & TASKF_TIMED_OUT) && loop_time(state_of(L)->loop)
                                                >= deadline) {
    int n = kind->try(L, t, &t->node);
    if (n > 0)
      return n;
    kind->cancel(L, t, &t->node);
    return fail_timeout(L);
  }
  return wait_again(L, t, kind, deadline, k);
}

/* Push an iterator over the object at 1: `next`, which has the state as its
** upvalue, and the object, which is its argument. Returns 2. */
int wait_iterate (lua_State *L, lua_CFunction next);

/* The end of an iterator's step, with `n` results. EBADF, the object was
** closed, ends the loop; any other error is raised. */
int wait_next (lua_State *L, int n);


/* ---- selects ----------------------------------------------------------- */

/* Wake a parked task; one that is about to park will not. */
void loop_notify (struct loop *loop, struct task *t);

/* Wake a select waiter, which was taken out of its queue or its operation. */
void select_waiter_wake (struct loop *loop, struct select_waiter *e);

/* Its event is not chosen any more. */
void select_waiter_clear_chosen (struct select_waiter *e);

/* Take it out of its queue, and end its turn. */
void select_waiter_leave (struct select_waiter *e);

/* The operation on ring `r` that it waits for, if that is in flight. */
struct op *select_waiter_op (const struct select_waiter *e, struct ring *r);

/* Cancel that operation, and drop its result. With `stay` the waiter is woken
** by its end. */
void select_waiter_drop (struct select_waiter *e, struct ring *r, bool stay);


/* ---- queues of objects ------------------------------------------------- */

/*
** The queue of those that wait for an object of C: one side of a socket or
** stream, a pool of buffers, a mailbox, a worker, a job. Its owner opens it
** zeroed. Operations may have it as their `waitq`: each of their
** completions wakes the first waiter. Before its owner frees it, it wakes all
** waiters and removes it from those operations.
*/
struct object_waitq {
  struct turnq q;           /* first: `turnq` of a WAIT_QUEUE */
  const char *what;         /* for descriptions: "to receive on socket" */
  /* Push a better description for a task that waits in `co`, from the call's
     arguments there. May not raise in `co`. It reads all before its first
     push, which may close any of it. Or NULL. */
  void (*describe) (lua_State *L, const struct object_waitq *waitq,
                    lua_State *co);
  int fd;
  /* Called for each last completion of its operations. May not allocate,
     raise, or enter a ring. Or NULL. */
  void (*completed) (struct loop *loop, struct object_waitq *waitq,
                     const struct op *op, int32_t res);
  struct output *output;    /* for `completed`: net/output.h */
  bool rung;                /* its waiters are WAITS_RUNG */
  /* How many counts of the loop's doorbell are its, or of what waits for the
     same, and such that no other thread can ring by them. Or NULL. */
  unsigned (*own_doorbells) (const struct object_waitq *waitq,
                             const struct doorbell *doorbell);
  bool one_turn;            /* at most one waiter has a turn at a time, and its
                               end wakes the next */
  struct task *holder;      /* has sent a part, and must send the rest before
                               all others; or NULL */
  unsigned bound;           /* of completions not taken: there a multishot is
                               cancelled; 0: never */
  struct object_waitq *next, **back;  /* all of the state */
};

void object_waitq_open (struct state *s, struct object_waitq *waitq);
void object_waitq_close (struct object_waitq *waitq);

/* Reserve the next turn for this ready task; end that: false if it was not the
** holder. */
void object_waitq_hold (struct object_waitq *waitq, struct task *t);
bool object_waitq_unhold (struct object_waitq *waitq,
                          const struct wait_node *n);

/* The completions of `op` are the queue's: only its owner takes them. */
void object_waitq_serve (struct object_waitq *waitq, struct op *op);

/* Requests in flight on the loop's ring whose results no task waits for: count
** them; cancel them. */
unsigned loop_unattended (const struct loop *loop);
void loop_cancel_unattended (struct loop *loop);

#endif
