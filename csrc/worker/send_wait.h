/*
** send_wait: sends that wait for space: address:send, and calls.
**
** address:send waits in the list of the queue's senders with its message
** (worker/queue.h). The reader moves it into the queue, or the mailbox is
** closed, or the sender withdraws: one of these, once. If it was accepted, the
** send returns true, though its task was cancelled meanwhile; then the next
** wait raises. The descriptors in it are lent to the message as long as it
** waits.
**
** Invariant: a sender in the list has an owner that takes it out of there: the
** object of the wait, when it is collected, at the latest.
*/

#ifndef uring_send_wait_h
#define uring_send_wait_h

#include "lua/state.h"
#include "worker/queue.h"

struct task;

/* A kind of send. The task waits for space, and then returns what `done`,
** given the number of the send's results, returns; `done` may wait. `q` is
** what `to` gives now. */
struct send_kind {
  const char *name;        /* for messages */
  unsigned flags;          /* of the message */
  int first;               /* stack index of its first value */
  struct queue *(*to) (lua_State *L);  /* as it is now. May raise */
  int (*done) (lua_State *L, int n);
};
int send_wait_as (lua_State *L, struct task *t, struct queue *q,
                  const struct send_kind *kind);

int send_wait_send (lua_State *L);   /* address:send(...) */
void send_wait_open (lua_State *L);

#endif
