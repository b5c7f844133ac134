/*
** wait: what a task waits with, a file for each kind of wait. Here are
** uring.sleep and uring.await with the methods of rings, and what the others
** share: wait_chain, wait_message, wait_operation.
**
** Each function there makes ready what its wait needs, which may raise; hands
** it to the kernel or enlists the task, which cannot; and suspends. Its
** continuation puts right what a cancellation left behind, raises it, or
** pushes the results.
**
** What can never happen: a result that came in spite of a cancellation is
** lost; what it opened is closed, and a message goes back.
*/

#ifndef uring_wait_await_h
#define uring_wait_await_h

#include "task/loop.h"

int wait_sleep (lua_State *L);       /* uring.sleep(seconds) */
int wait_await (lua_State *L);       /* uring.await(sqe [, timeout]) */

/* The methods that wait, of rings and operations: a file each. */
void wait_open (lua_State *L);
void wait_chain_open (lua_State *L);
void wait_message_open (lua_State *L);
void wait_operation_open (lua_State *L);

/* Can tasks wait on this ring? Pushes nil, message, errno if not. */
int wait_watch (lua_State *L, struct loop *loop, struct ring *r);

/* Did the timeout end it? What raced it and won is a result like any. */
static inline bool wait_timed_out (const struct task *t, int32_t res) {
  return (t->task_flags & TASKF_TIMED_OUT) && loop_cut_short(res);
}

/* The next completion of an operation, pushed: res, flags; or nil, message,
** errno, flags. 0: none is there. The user value `n` of the object at 1 is its
** subject, if it has one. */
int wait_take (lua_State *L, struct ring *r, struct op *op, int object,
               int n);

#endif
