/*
** mail_send: sends that need not wait: address:try_send, and the first try of
** the others.
**
** A send encodes its values first; that raises for what cannot travel. Then
** the queue takes the message or refuses it, and nothing is done in between.
** Only if it took the message is what moves in it given away. A send that
** finds no space waits in the list of senders (worker/send_wait.h).
*/

#ifndef uring_mail_send_h
#define uring_mail_send_h

#include "lua/state.h"
#include "worker/encode.h"
#include "worker/queue.h"

/* Encode the values from `first` to `last` and post them, with these flags
** (MESSAGE_CALL): 0; -EAGAIN, and what was encoded is the caller's; or another
** -errno. */
int mail_send_now (lua_State *L, int first, int last, struct queue *q,
                   unsigned flags, struct encoded *e);

/* Post what was encoded: 0, and what moves is given away; or -errno. */
int mail_send_post (lua_State *L, struct queue *q, struct encoded *e);

/* nil, message, errno: why this call's message was refused, which was not for
** want of space. */
int mail_send_fail (lua_State *L, const char *call, const struct queue *q,
                    int err);

/* The same: the address was closed while the call waited. */
int mail_send_closed (lua_State *L, const char *call);

int mail_send_try_send (lua_State *L);
void mail_send_open (lua_State *L);

#endif
