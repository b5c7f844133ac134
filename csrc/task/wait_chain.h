/*
** wait_chain: linked requests as one wait: ring:await_chain, and what the
** library itself waits for by chains (net/sendfile.c).
**
** The wait's `struct chain` is in a userdata that its caller makes. While the
** chain is in flight that is anchored here, because completions write into it
** and a script can close the task's coroutine. The caller waits with
** WAIT_CHAIN, and begins its continuation with chain_ended.
**
** Invariant: a chain that is in flight is anchored, whatever becomes of its
** task.
*/

#ifndef uring_wait_chain_h
#define uring_wait_chain_h

#include "task/loop.h"

#define chain_size(n) \
  (sizeof(struct chain) + (size_t)(n) * sizeof(struct link))

/* Queue `n` requests as this chain, which has room for as many links and is
** in the userdata at `index`, for the task: 0 or -errno. Raises, if it does,
** before it has queued any. */
int chain_push (lua_State *L, struct task *t, struct ring *r, struct chain *c,
                int index, const struct request *const *requests, unsigned n,
                struct op **ops);

/* The task was resumed: the chain has ended, or it was abandoned. */
void chain_ended (lua_State *L, struct task *t);

#endif
