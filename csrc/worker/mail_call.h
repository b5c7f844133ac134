/*
** mail_call: address:call, a message with a slot for its answer
** (worker/call.h); and how a server answers.
**
** The call's object is the first value of its message: for the server it
** becomes a served_call. It is sent as any other message, and then the task
** waits for the answer. A task that ends earlier leaves the call, and its
** server is told.
**
** The answer is the caller's memory: what it may count is charged before the
** call is sent. It is true and results; or false, an error value, and the
** traceback in the server.
*/

#ifndef uring_mail_call_h
#define uring_mail_call_h

#include "lua/state.h"

int mail_call (lua_State *L);        /* address:call(...) */
void mail_call_open (lua_State *L);

#endif
