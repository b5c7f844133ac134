/*
** mailbox_receive: the methods of uring.Mailbox that receive, and waits for
** a message.
**
** A message stays in the queue until its values are on the stack of the task
** that receives it: so a task that ends takes none along, and an error on the
** way loses none.
**
** While a message is decoded a finalizer may run. It finds the mailbox empty,
** as far as it can see, and may close it: then the message that is being
** decoded is still received, and all others are undelivered.
**
** Each message wakes the first task that waits, which has a turn until it has
** run (task/wait.h). When it has taken its message it looks for the next
** waiter's: if there is none, the queue is told again that the reader waits.
**
** A message may be a call (MESSAGE_CALL), for mailbox:serve, which receives
** all. Other receives answer it with an error, and pass it over.
**
** Invariant: while a task waits, without a turn of another, the queue knows it
** (`wanted`), or is in the loop's ready list.
*/

#ifndef uring_mailbox_receive_h
#define uring_mailbox_receive_h

#include <lua.h>

/* Into the table on top of the stack, below which lies the state, their
** upvalue: receive_call(mailbox), for lua/uring/call.lua: is_call, and the
** values of a message. */
void mailbox_receive_functions (lua_State *L);

void mailbox_receive_open (lua_State *L);

#endif
