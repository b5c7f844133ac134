/*
** send_wait: sends that wait for room: address:send, and address:sending, the
** event.
**
** mail_address:send stands in line with its message (worker/queue.h). The
** reader moves it into the queue, or the mailbox is closed, or the sender
** withdraws: one of these, once. If it was accepted, the send returns true,
** though its task was cancelled meanwhile; then the next wait raises. The
** descriptors in it are lent to the message as long as it waits.
**
** A select may choose another event after the reader has looked. So what a
** `sending` has in line is only a request to be told of room. When it was
** told, the select tries: that posts a copy of the message, if there still is
** room; if not it stands at the front of the line. Nothing is sent before it
** is chosen, and nothing of its descriptors is lent.
**
** Invariant: what stands in line has an owner that takes it out of there: the
** object of the wait, when it is collected, at the latest.
*/

#ifndef uring_send_wait_h
#define uring_send_wait_h

#include "lua/state.h"

void send_wait_open (lua_State *L);

#endif
