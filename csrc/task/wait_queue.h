/*
** line: who waits for the same thing, and is woken in turn.
**
** A task that waits for one thing sits in its line itself. Who waits for
** several things at once is parked, and has an ear in each of their lines: an
** ear that is called loses its seat and wakes its task, which then looks for
** itself. What it was called for stays where it was. So whoever goes without
** having taken it passes the call on to the next.
**
** A line is plain seats, as of those who join a task or wait for a ring's
** messages; or, where it is somebody else's and has a name, a `struct line`.
**
** What can never happen: an ear that was called still has a seat; somebody
** sleeps on though what he waits for has come, because the one who was woken
** for it will not look.
*/

#ifndef uring_wait_queue_h
#define uring_wait_queue_h

#include "task/loop.h"

/* One of the several things that a parked task waits for. */
struct select_waiter {
  struct wait_node node;         /* first; its co is NULL */
  struct waitq *waitq;       /* that it sits in; NULL: none */
  struct task *task;        /* its user value; another is the object that
                               the line, the ring, or the operation is of */
  struct ring *ring;        /* whose messages it waits for; NULL: no ring's */
  uint64_t token;           /* of the operation that it waits for, or 0 */
  bool called;              /* and has lost its seat */
  bool failed;              /* the beginning of its wait: park.c */
};

/*
** Tasks that wait, one after another, for the same thing of somebody else's:
** a socket's data, a turn at sending. Whoever has one owns it, wakes all who
** are in it before it goes, and takes it out of the operations that have it
** as their `line`: each of their completions wakes the first.
*/
struct socket_waitq {
  struct waitq queue;
  const char *what;         /* for words: "to receive on socket" */
  /* Push better ones for a task whose call of its owner's waits in `co`, by
     what lies on the stack there, where nothing may be raised; all is read
     before the first push, which may close any of it. Or NULL. */
  void (*describe) (lua_State *L, const struct socket_waitq *waitq,
                    lua_State *co);
  int fd;
  struct task *holder;      /* a piece of what it sends has gone, and it is to
                               send the next before all others; or NULL */
  unsigned count, bound;    /* completions not taken; at the bound a multishot
                               is cancelled. 0: none */
  struct socket_waitq *next, **back;  /* all lines of one state */
};

/* The next turn is this task's, which is ready; and it has run, or never will:
** did it hold the line? */
void socket_waitq_hold (struct loop *loop, struct socket_waitq *waitq,
                        struct task *t);
bool socket_waitq_unhold (struct loop *loop, struct socket_waitq *waitq,
                          const struct task *t);

/* This task will not run: the next of what it holds goes. */
void loop_release_holds (struct loop *loop, const struct task *t);

/* What completes of `op` is the line's: its owner alone takes it. */
void socket_waitq_serve (struct socket_waitq *waitq, struct op *op);

/* Call a parked task, or one that is about to park. */
void loop_notify (struct loop *loop, struct task *t);

/* Call the first that sits in `line`, of one or more; all of them. Who is
** called has left it: a task goes on, an ear says so to its. */
void waitq_wake_first (struct loop *loop, struct waitq *waitq);
void waitq_wake_all (struct loop *loop, struct waitq *waitq);

/* Give an ear a seat, and take it back. Whoever was called and did not take
** what it was called for passes the call on. */
void select_waiter_enqueue (struct select_waiter *e, struct waitq *waitq);
void select_waiter_dequeue (struct select_waiter *e);

/* The operation on ring `r` that it waits for, if that is under way. */
struct op *select_waiter_op (const struct select_waiter *e, struct ring *r);

/* That is not wanted any more. To hear of its end the ear must stay. */
void select_waiter_drop (struct select_waiter *e, struct ring *r, bool stay);

/* It was called, in its line or as an operation's waiter. */
void select_waiter_wake (struct loop *loop, struct select_waiter *e);

/* A line begins, zeroed, and ends. */
void socket_waitq_open (struct state *s, struct socket_waitq *waitq);
void socket_waitq_close (struct socket_waitq *waitq);

/* Wait in a line; wake the first of it, or all. Who is woken looks again at
** what it waits for: it may be for nothing. */
int loop_wait_queue (lua_State *L, struct task *t, struct socket_waitq *waitq,
                    int64_t deadline, lua_KContext ctx, lua_KFunction k);
void loop_wake_first (struct loop *loop, struct socket_waitq *waitq);
void loop_wake_all (struct loop *loop, struct socket_waitq *waitq);

/* At the end of a turn: where somebody who was woken has not run, and it is
** not known any more in which line, the first of each looks. */
void loop_wake_skipped (struct loop *loop);

/* Requests of the loop's ring that are under way though nobody waits for what
** they bring: how many; and ask for their end. */
unsigned loop_unattended (const struct loop *loop);
void loop_cancel_unattended (struct loop *loop);

#endif
