/*
** call: the record of one address:call, by which its answer comes back. (No
** Lua in it.)
**
** It is a counted block, made by the caller. The message of the call counts
** it, as its *slot*, and so does whatever has taken the slot out of the
** message. The slot is for one answer, which it keeps: so an answer never
** waits, however full a mailbox is.
**
**     CALL_OPEN
**         |  one of these, once, under the lock:
**     CALL_ANSWERED   the slot has the answer
**     CALL_LOST       the slot went without one: with the mailbox, with its
**                     state, or with the server's task
**     CALL_LEFT       the caller does not wait any more
**
** What one side does is told to the other: it is linked into the ready list of
** its loop, if that watches. Each side watches first, and then looks and
** waits: so it misses nothing.
**
** Invariants: each side's `owner` is its own thread's, and cleared before it
** goes. In a forked child nothing is touched but the counts.
*/

#ifndef uring_call_h
#define uring_call_h

#include "base/lock.h"
#include "ring/doorbell.h"
#include "worker/message.h"

enum call_status { CALL_OPEN, CALL_ANSWERED, CALL_LOST, CALL_LEFT };

/* What is told to one side. */
struct call_side {
  struct ready_link link;
  struct doorbell *doorbell; /* (locked) of its loop, counted, while it waits;
                                or NULL */
  void *owner;               /* for `woken`; NULL: it is gone */
  void (*woken) (void *owner, struct loop *loop);
};

struct call {
  struct refblock block;
  uint32_t fork_id;
  uint64_t bytes;            /* that the answer may count */
  struct lock lock;
  _Atomic int status;        /* enum call_status */
  struct message *answer;    /* malloc's; or NULL */
  struct call_side caller, server;
};

/* The objects of both sides begin with this. */
struct call_handle {
  struct call *call;         /* counted; NULL: it is over */
};

/* A call, counted once; NULL: no memory. */
struct call *call_new (uint64_t bytes);

static inline enum call_status call_status (const struct call *c) {
  return (enum call_status)atomic_load_explicit(&c->status,
                                                memory_order_acquire);
}

/* Wake this side by this doorbell, once, when the other has ended the call.
** Its status now: if that is not CALL_OPEN nothing will be told. */
enum call_status call_watch (struct call *c, struct call_side *side,
                             struct doorbell *doorbell);

/* The slot in a message, as its block; and without a message, lost. */
struct message_block call_slot (struct call *c);
void call_lose (struct call *c);

/* Answer by this message of malloc's, which is the slot's then. False: the
** caller has gone, or it was answered. */
bool call_answer (struct call *c, struct message *m);

/* The caller does not wait any more. */
void call_leave (struct call *c);

#endif
