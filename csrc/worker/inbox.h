/*
** inbox: messages to C: a queue whose reader is a thread of the host's. (No
** Lua in it.)
**
** The functions are those of include/uring_lua.h, which has their contracts.
** One thread at a time reads an inbox.
**
** Invariant: its descriptor is readable from the first message until the take
** that finds none. It is read under the queue's lock, when there is none, and
** armed there: see queue_rest.
*/

#ifndef uring_inbox_h
#define uring_inbox_h

#include <uring_lua.h>

int inbox_new (const struct uring_inbox_options *options, uring_inbox **inbox);
uring_box *inbox_box (uring_inbox *inbox);
int inbox_fd (uring_inbox *inbox);
int inbox_take (uring_inbox *inbox, uring_message **message);
int inbox_monitor (uring_box *box, uring_inbox *inbox, int64_t token);
int64_t inbox_close (uring_inbox *inbox);

#endif
