/*
** handover: messages, from a ring to the tasks that wait for them; and what
** C has to know of a channel's values.
**
** Who waits for a ring's messages sits in the line of its `struct watch`. What
** comes is handed to the first of them, into the task itself, which is marked
** (TASKF_DELIVERED) until it has run and accepted it. If that task is
** cancelled before, the message goes back to where it was in the order. To an
** ear nothing is handed: it is called, and the message is kept by the ring.
**
** The values of channels go from task to task in Lua (lua/uring/line.lua). Of
** those C knows who was handed one and has not run (TASKF_DELIVERED, and the
** wait is none for a message); who is cancelled then is on a list, so that
** whoever comes to a channel next finds him at once and not when he runs. It
** is linked by `behind` and by seat.prev, which is idle in a task that is
** ready.
**
** What can never happen: a message is lost with a task, or overtakes another;
** one is kept that nobody has been told of while somebody waits.
*/

#ifndef uring_msg_delivery_h
#define uring_msg_delivery_h

#include "task/loop.h"

/* The seats that are waiting for messages of a watched ring. */
struct waitq *msg_delivery_queue (struct ring *r);

/* Wait for messages of a watched ring, and stop waiting. */
void loop_await_message (struct task *t, struct ring *r);
void loop_forgo_message (struct task *t);

/* For hooks. One has come: does a task take it? */
bool loop_message_came (struct ring *r, uint64_t data, int32_t res,
                        uint32_t flags);

/* A message that was handed over was received. */
void loop_message_accepted (struct task *t);

/* There may be one that nobody was told of, for whoever was called for it has
** not taken it: call the next. */
void loop_pass_message (struct ring *r);

/* A task that is ready is cancelled, and was handed something: a message goes
** back, and a value is revoked; or it is not cancelled any more, or runs. */
void loop_revoke (struct loop *loop, struct task *t);
void loop_unrevoke (struct loop *loop, struct task *t);

/* Take one off the list of those whose value is revoked; NULL: none is. */
struct task *loop_next_revoked (struct loop *loop);

#endif
