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

#include "ring/ring_reap.h"
#include "lua/errors.h"
#include "task/loop.h"

int wait_sleep (lua_State *L);       /* uring.sleep(seconds) */
int wait_await (lua_State *L);       /* uring.await(sqe [, timeout]) */

/* Define the methods of rings and operations that wait. */
void wait_open (lua_State *L);
void wait_chain_open (lua_State *L);
void wait_message_open (lua_State *L);
void wait_operation_open (lua_State *L);

/* Raise if no task can wait with this ring, the first argument. */
void wait_check_ring (lua_State *L, const struct ring *r);

/* Watch this ring for the loop: 0; or 3 with nil, message, errno pushed. */
int wait_watch (lua_State *L, struct loop *loop, struct ring *r);

/* Did the timeout end it? A result that arrived before the cancel counts. */
static inline bool wait_timed_out (const struct task *t, int32_t res) {
  return (t->task_flags & TASKF_TIMED_OUT) && loop_cut_short(res);
}

/* Suspend the running task until its request, `op` on ring `r`, has ended.
** Then `k`, whose context is the loop, only calls await_resumed. */
static inline int await_wait (lua_State *L, struct task *t, struct ring *r,
                              struct op *op, int64_t deadline,
                              lua_KContext loop, lua_KFunction k) {
  op->task = t;
  t->ring = r;
  return loop_wait(L, t, WAIT_AWAIT, op, deadline, loop, k);
}

/* Its result, by `push`. (Inline, so that this is a constant.) */
static inline int await_resumed (lua_State *L, lua_KContext loop,
                                 int (*push) (lua_State *L,
                                              struct task *t),
                                 lua_KFunction k) {
  struct task *t = loop_resumed_in((struct loop *)loop, L);
  uint8_t disposal;
  if (t == NULL) return loop_yield_again(L, loop, k);
  disposal = t->disposal;
  t->disposal = DISPOSE_NOTHING;
  t->wait = WAIT_NOTHING;  /* guard: its result is taken, once */
  if (t->task_flags & TASKF_CANCELLED) {
    /* guard: or a descriptor leaks */
    ring_dispose(t->ring, disposal, loop_group_or_kernel(t), t->res, t->flags);
    loop_check(L, t);
  }
  if (wait_timed_out(t, t->res))
    return fail_timeout(L);
  return push(L, t);
}

/* Push the next completion of an operation: res, flags; or nil, message,
** errno, flags. Returns how many; 0: none is there. User value `n` of the
** object at the index `object` is the operation's subject, if it has one. */
int wait_take (lua_State *L, struct ring *r, struct op *op, int object,
               int n);

#endif
