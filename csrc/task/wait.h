/*
** wait: the one wait engine. A wait is three functions (struct wait_kind): try
** takes what is there, block joins the queue of what is not, cancel leaves
** nothing behind. A task that waits for one thing performs its kind here; a
** select has a node for each of its events, and tries, blocks and cancels the
** same kinds (event.c). Blocking calls, iterators and events are one code.
**
** Each item that comes wakes the first waiter, which has a turn until it has
** run (struct turnq in waitq.h): first come, first served. A wakeup hands
** nothing over, so it may be spurious: the waiter tries again, and joins the
** queue at its front if there is nothing.
**
** What can never happen: a wakeup is lost, for a task that suspends or ends
** with a turn loses it (loop_end_turns), and the next is woken; a node is in
** a queue that is no more, for all are woken before a queue goes.
*/

#ifndef uring_wait_h
#define uring_wait_h

#include "base/clock.h"
#include "lua/errors.h"
#include "task/loop.h"

/* One of the events that a parked task selects over. */
struct select_waiter {
  struct wait_node node;    /* first; its co is NULL */
  struct waitq *queue;      /* in which it waits; NULL: in none */
  struct turnq *turnq;      /* that this is of; NULL: it has no turns */
  struct task *task;        /* its user value; another is the object that the
                               queue, the ring, or the operation is of */
  struct ring *ring;        /* whose messages it waits for; NULL: no ring's */
  uint64_t token;           /* of the operation that it waits for, or 0 */
  bool called;              /* and no longer in a queue */
  bool has_turn;            /* of turnq */
  bool failed;              /* its block: event.c */
};

/* What block fills in: where a task waits. */
struct blocking {
  struct wait_node *node;   /* the task's own, or a select waiter's */
  enum task_wait wait;
  void *on;
  int64_t deadline;         /* may be made earlier, to try again then */
};

/* A kind of wait. Its object lies at stack index 1, and its arguments behind
** it: in a call, and in the functions of an event. `node` is NULL for an event
** that has not blocked yet. */
struct wait_kind {
  const char *name;         /* of its event */
  /* Take what is there: how many values were pushed, or nil, message, errno;
     0: nothing is there, or it is another waiter's turn. */
  int (*try) (lua_State *L, struct task *t, struct wait_node *node);
  /* Start what there has to be, and join a queue: 0; or nil, message, errno
     are pushed, and the answer is 3. */
  int (*block) (lua_State *L, struct task *t, struct blocking *b);
  /* The wait ends, and its node has left the queue: wake the next one if there
     is something for it. Pushes and raises nothing. */
  void (*cancel) (lua_State *L, struct task *t, struct wait_node *node);
  bool local;               /* only tasks of this state make it ready */
};


/* ---- queues ------------------------------------------------------------ */

static inline struct select_waiter *select_waiter_of (struct wait_node *n) {
  return n && n->co == NULL ? (struct select_waiter *)n : NULL;
}

/* Join a queue: a task's wait is then `wait` on that. One that has a turn goes
** to its front. */
void wait_join (struct blocking *b, struct turnq *q, enum task_wait wait);

/* The same for a queue without turns: all are woken at once. */
void wait_join_plain (struct blocking *b, struct waitq *q,
                      enum task_wait wait, void *on);

/* May this waiter take one of so many items? NULL: it has not waited yet. */
bool turnq_may_take (const struct turnq *q, struct wait_node *n,
                     size_t items);

/* Wake the first, for there is an item; wake all, for the queue ends. */
void turnq_wake (struct loop *loop, struct turnq *q);
void turnq_wake_all (struct loop *loop, struct turnq *q);
void waitq_wake_all (struct loop *loop, struct waitq *q);

/* Its turn in this queue ends, if it had one. */
bool turnq_end_turn (struct turnq *q, struct wait_node *n);

/* This task suspends with a turn, is cancelled, or will never run: its turn
** ends, and the next waiter is woken. */
void loop_end_turns (struct loop *loop, struct task *t);


/* ---- performing -------------------------------------------------------- */

/* Wait by the kind in the function that is running: its values, or 3 for nil,
** message, errno. `k` does nothing but wait_resumed of the same kind. (Inline,
** so that the kind is a constant.) */
static inline int wait_again (lua_State *L, struct task *t,
                              const struct wait_kind *kind, int64_t deadline,
                              lua_KFunction k) {
  struct blocking b = { &t->node, WAIT_NOTHING, NULL, deadline };
  int n = kind->try(L, t, &t->node);
  if (n > 0)
    return n;
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  n = kind->block(L, t, &b);
  if (n > 0)
    return n;
  return loop_wait(L, t, b.wait, b.on, b.deadline, (lua_KContext)deadline, k);
}

static inline int wait_perform (lua_State *L, struct task *t,
                                const struct wait_kind *kind,
                                int64_t deadline, lua_KFunction k) {
  t->wait = WAIT_NOTHING;
  return loop_unfair(t) ? loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER,
                                    (lua_KContext)deadline, k)
                        : wait_again(L, t, kind, deadline, k);
}

/* After a wait: what came beats a timeout, but not a cancellation. */
static inline int wait_resumed (lua_State *L, const struct wait_kind *kind,
                                int64_t deadline, lua_KFunction k) {
  struct task *t = loop_resumed(L);
  if (t == NULL)
    return lua_yieldk(L, 0, (lua_KContext)deadline, k);
  if (t->task_flags & TASKF_CANCELLED) {
    kind->cancel(L, t, &t->node);
    loop_check(L, t);
  }
  if ((t->task_flags & TASKF_TIMED_OUT) && clock_now() >= deadline) {
    int n = kind->try(L, t, &t->node);
    if (n > 0)
      return n;
    kind->cancel(L, t, &t->node);
    return fail_timeout(L);
  }
  return wait_again(L, t, kind, deadline, k);
}

/* The end of a step of an iterator whose object may be closed by any task:
** that ends the loop, any other error is raised. */
int wait_next (lua_State *L, int n);


/* ---- selects ----------------------------------------------------------- */

/* Wake a parked task, or one that is about to park. */
void loop_notify (struct loop *loop, struct task *t);

/* It was woken, in its queue or as an operation's waiter. */
void select_waiter_wake (struct loop *loop, struct select_waiter *e);

/* It leaves its queue, and its turn ends. */
void select_waiter_leave (struct select_waiter *e);

/* The operation on ring `r` that it waits for, if that is under way. */
struct op *select_waiter_op (const struct select_waiter *e, struct ring *r);

/* That is not wanted any more. To hear of its end the waiter must stay. */
void select_waiter_drop (struct select_waiter *e, struct ring *r, bool stay);


/* ---- queues of objects ------------------------------------------------- */

/*
** The queue of what a socket or a pool of buffers is waited for. Its owner
** opens it zeroed, wakes all that wait in it before it goes, and takes it out
** of the operations that have it as their `waitq`: each of their completions
** wakes the first.
*/
struct socket_waitq {
  struct turnq q;           /* first: the `on` of a WAIT_QUEUE */
  const char *what;         /* for descriptions: "to receive on socket" */
  /* Push a better one for a task whose call of the owner's waits in `co`, by
     what lies on the stack there, where nothing may be raised; all is read
     before the first push, which may close any of it. Or NULL. */
  void (*describe) (lua_State *L, const struct socket_waitq *waitq,
                    lua_State *co);
  int fd;
  struct task *holder;      /* a part of what it sends has gone, and it is to
                               send the next before all others; or NULL */
  unsigned count, bound;    /* completions not taken; at the bound a multishot
                               is cancelled. 0: none */
  struct socket_waitq *next, **back;  /* all of one state */
};

void socket_waitq_open (struct state *s, struct socket_waitq *waitq);
void socket_waitq_close (struct socket_waitq *waitq);

/* The next turn is this task's, which is ready; and that is over. */
void socket_waitq_hold (struct socket_waitq *waitq, struct task *t);
bool socket_waitq_unhold (struct socket_waitq *waitq,
                          const struct wait_node *n);

/* What completes of `op` is the queue's: its owner alone takes it. */
void socket_waitq_serve (struct socket_waitq *waitq, struct op *op);

/* Requests of the loop's ring that are under way though no task waits for what
** they bring: how many; and ask for their end. */
unsigned loop_unattended (const struct loop *loop);
void loop_cancel_unattended (struct loop *loop);


/* ---- values of channels ------------------------------------------------ */

/* The values of channels go from task to task in Lua (lua/uring/line.lua). A
** task that was handed one and has not run has TASKF_DELIVERED. If it is
** cancelled then it is on a list, so that the next call of a channel takes the
** value back, and not only when the task runs; it leaves the list when it is
** not cancelled any more, or runs. */
void loop_revoke (struct loop *loop, struct task *t);
void loop_unrevoke (struct loop *loop, struct task *t);

/* Take one off the list; NULL: none is. */
struct task *loop_next_revoked (struct loop *loop);

#endif
