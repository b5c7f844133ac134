/*
** mailbox: the class uring.Mailbox: a queue of messages, and the tasks of this
** state that wait for them.
**
** Any state of the process may send to it, through addresses. Its tasks
** receive by mailbox_receive.
**
** Invariant: what it may hold is charged to its state's account until it is
** closed and empty, so no post fails for the limit of its reader.
*/

#ifndef uring_mailbox_h
#define uring_mailbox_h

#include "lua/state.h"
#include "worker/queue.h"

/* The queue of the mailbox at `index`; NULL in `q`: it is closed. False: it is
** none. Needs one free slot of the stack; does not raise. */
bool mailbox_at (lua_State *L, const struct state *s, int index,
                 struct queue **q);

/* Into the table on top of the stack, below which lies the state, their
** upvalue: address_of(value), for lua/uring/sandbox.lua: a new address of an
** open mailbox or address; nil for any other value. check_open_mailbox(value)
** raises unless it is one. Mailbox: its methods, for call.lua. */
void mailbox_functions (lua_State *L);

/* The bytes that a mailbox may hold, unless the program says how many. */
size_t mailbox_usual_bytes (const struct account *a);

/* Push a mailbox for a queue that has no reader yet. */
void mailbox_push (lua_State *L, struct queue *q);

/* If the mailbox of this queue is this state's: count what is in it for the
** collector. */
void mailbox_count (lua_State *L, struct queue *q);

/* Has `last` brought this sum to another 4 KiB? What is in a mailbox is
** counted no more often, but for descriptors: small messages must stay cheap,
** and the reader should seldom read what senders write. */
static inline bool mailbox_grain (uint64_t sum, uint64_t last) {
  return sum % 4096 < last;
}

/* A message of this state, of this cost and with so many descriptors, was
** accepted. */
static inline void mailbox_sent (lua_State *L, struct queue *q, uint64_t cost,
                                 unsigned fds) {
  if (fds > 0 || mailbox_grain(queue_come_bytes(q), cost)) mailbox_count(L, q);
}

/* Push a table with the counts of a queue. Returns 1. */
int mailbox_push_stats (lua_State *L, struct queue *q);

int mailbox_new (lua_State *L);      /* uring.mailbox{…} */
void mailbox_open (lua_State *L);

#endif
