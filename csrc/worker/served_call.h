/*
** served_call: what a server has of a call that it has received: the slot for
** the answer (worker/call.h), as an object. The answer itself is sent by
** worker/mail_call.h.
**
** Its handler runs in a cancel scope, which is cancelled when the caller goes.
** Closed or collected without an answer the call is lost, and the caller told.
*/

#ifndef uring_served_call_h
#define uring_served_call_h

#include "lua/state.h"
#include "worker/call.h"

/* Push an empty one; what gives it the slot sets `call`. */
struct call_handle *served_call_new (lua_State *L);

void served_call_open (lua_State *L);

#endif
