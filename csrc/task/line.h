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

#ifndef uring_line_h
#define uring_line_h

#include "task/loop.h"

/* One of the several things that a parked task waits for. */
struct ear {
  struct seat seat;         /* first; its co is NULL */
  struct seats *line;       /* that it sits in; NULL: none */
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
struct line {
  struct seats seats;
  const char *what;         /* for words: "to receive on socket" */
  /* Push better ones for a task whose call of its owner's waits in `co`, by
     what lies on the stack there, where nothing may be raised; all is read
     before the first push, which may close any of it. Or NULL. */
  void (*say) (lua_State *L, const struct line *line, lua_State *co);
  int fd;
  struct task *holder;      /* a piece of what it sends has gone, and it is to
                               send the next before all others; or NULL */
  unsigned count, bound;    /* completions not taken; at the bound a multishot
                               is cancelled. 0: none */
  struct line *next, **back;  /* all lines of one state */
};

/* The next turn is this task's, which is ready; and it has run, or never will:
** did it hold the line? */
void line_hold (struct loop *loop, struct line *line, struct task *t);
bool line_let_go (struct loop *loop, struct line *line, const struct task *t);

/* This task will not run: the next of what it holds goes. */
void loop_end_holds (struct loop *loop, const struct task *t);

/* What completes of `op` is the line's: its owner alone takes it. */
void line_serve (struct line *line, struct op *op);

/* Call a parked task, or one that is about to park. */
void loop_call (struct loop *loop, struct task *t);

/* Call the first that sits in `line`, of one or more; all of them. Who is
** called has left it: a task goes on, an ear says so to its. */
void loop_call_first (struct loop *loop, struct seats *line);
void loop_call_all (struct loop *loop, struct seats *line);

/* Give an ear a seat, and take it back. Whoever was called and did not take
** what it was called for passes the call on. */
void ear_sit (struct ear *e, struct seats *line);
void ear_leave (struct ear *e);

/* The operation on ring `r` that it waits for, if that is under way. */
struct op *ear_op (const struct ear *e, struct ring *r);

/* That is not wanted any more. To hear of its end the ear must stay. */
void ear_drop (struct ear *e, struct ring *r, bool stay);

/* It was called, in its line or as an operation's waiter. */
void ear_call (struct loop *loop, struct ear *e);

/* A line begins, zeroed, and ends. */
void line_open (struct state *s, struct line *line);
void line_close (struct line *line);

/* Wait in a line; wake the first of it, or all. Who is woken looks again at
** what it waits for: it may be for nothing. */
int loop_wait_line (lua_State *L, struct task *t, struct line *line,
                    int64_t deadline, lua_KContext ctx, lua_KFunction k);
void loop_wake_line (struct loop *loop, struct line *line);
void loop_wake_all (struct loop *loop, struct line *line);

/* At the end of a turn: where somebody who was woken has not run, and it is not
** known any more in which line, the first of each looks. */
void loop_wake_lines (struct loop *loop);

/* Requests of the loop's ring that are under way though nobody waits for what
** they bring: how many; and ask for their end. */
unsigned loop_unattended (const struct loop *loop);
void loop_cancel_unattended (struct loop *loop);

#endif
