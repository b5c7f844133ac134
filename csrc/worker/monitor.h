/*
** monitor: address:monitor(), an event that is ready, once, when the mailbox
** has been closed, its state or its thread has ended; at once if that is so.
**
** From its first wait on the queue knows it, and tells it. It counts the
** queue, and is no sender.
*/

#ifndef uring_monitor_h
#define uring_monitor_h

#include "lua/state.h"

int monitor_push (lua_State *L);     /* address:monitor() */
void monitor_open (lua_State *L);

#endif
