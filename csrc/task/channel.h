/*
** channel: uring.channel(capacity): messages from task to task of one state,
** first in, first out. A message is one value or several.
**
** Messages that were sent and not yet received are in a ring of slots, user
** value 1 of the object. A message of several values is there as one table
** with a metatable of the library's own. A sender that waits keeps its message
** on its own stack, a select in its event, until the channel has space for it
** or a receiver takes it; then it is sent, whatever becomes of the sender.
**
** There is space for as many messages as the capacity, and for one for each
** receiver that waits: that one is woken, and takes the first (wait.h). If it
** is cancelled before it runs, the message stays.
**
** Invariants: no message is lost, doubled or overtaken, whatever fails: all
** that can raise comes before the first change. No sender waits while there is
** space.
*/

#ifndef uring_channel_h
#define uring_channel_h

#include "task/wait.h"

struct channel {
  struct items items;       /* first; the messages, and the receivers */
  struct waitq senders;
  size_t capacity;
  size_t first, size;       /* slots: the first message's, from 0; all */
  bool closed;
};

/* Push "1, "text…", table": the values of the message at `arg`. */
void channel_describe_message (lua_State *L, int arg);

int channel_new (lua_State *L);      /* uring.channel([capacity]) */

void channel_open (lua_State *L);

#endif
