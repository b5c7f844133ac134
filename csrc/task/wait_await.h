/*
** wait_await: uring.sleep, uring.await, ring:await and ring:awaiting; and what
** the other waits on a ring share: wait_chain, wait_message, wait_operation.
**
** A wait first does all that may raise. Then it queues its request, or joins a
** queue, which cannot fail; and it suspends the task. Its continuation cleans
** up after a cancellation and raises it, or pushes the results.
**
** Invariant: no result is lost if it arrives in spite of a cancellation: a
** descriptor is closed, and a message stays with its ring.
*/

#ifndef uring_wait_await_h
#define uring_wait_await_h

#include "task/loop.h"

int wait_sleep (lua_State *L);       /* uring.sleep(seconds) */
int wait_await (lua_State *L);       /* uring.await(sqe [, timeout]) */

/* Define the methods of rings and operations that wait. */
void wait_open (lua_State *L);
void wait_chain_open (lua_State *L);
void wait_message_open (lua_State *L);
void wait_operation_open (lua_State *L);

/* Watch this ring for the loop: 0; or 3 with nil, message, errno pushed. */
int wait_watch (lua_State *L, struct loop *loop, struct ring *r);

/* Did the timeout end it? A result that arrived before the cancel counts. */
static inline bool wait_timed_out (const struct task *t, int32_t res) {
  return (t->task_flags & TASKF_TIMED_OUT) && loop_cut_short(res);
}

/* Push the next completion of an operation: res, flags; or nil, message,
** errno, flags. Returns how many; 0: none is there. User value `n` of the
** object at the index `object` is the operation's subject, if it has one. */
int wait_take (lua_State *L, struct ring *r, struct op *op, int object,
               int n);

#endif
