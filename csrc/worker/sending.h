/*
** sending: the class uring.Sending: address:sending(...), a send as an event.
**
** A select may choose another event at any moment until its task runs. So what
** a `sending` has in the queue's list of senders is an asker, which has no
** message (worker/queue.h). When that has an offer the select tries, and posts
** a copy of the message. Nothing is sent before it is chosen, and nothing of
** its descriptors is lent.
**
** Invariant: an asker in the list has an owner that takes it out of there: the
** select's waiter, or the event, when that is collected, at the latest.
*/

#ifndef uring_sending_h
#define uring_sending_h

#include <lua.h>

int sending_new (lua_State *L);      /* address:sending(...) */
void sending_open (lua_State *L);

#endif
