/*
** reply: the answer to a call (worker/call.h), from C. (No Lua in it.)
**
** It is true and results, or false and an error. The call's record has space
** for it: so an answer never waits.
**
** The functions for messages are those of include/uring_lua.h, which has their
** contracts.
*/

#ifndef uring_reply_h
#define uring_reply_h

#include <uring_lua.h>

struct call;

/* Answer this call: 0; -EPIPE: its caller has gone, or it was answered; or
** -errno, and it is still open. */
int reply_post (struct call *c, bool ok, const uring_value *values,
                uint32_t n);
int reply_post_error (struct call *c, const char *why);

int reply_values (uring_message *m, const uring_value *values, uint32_t n);
int reply_error (uring_message *m, const char *why);

/* Free a message; a call that was not answered is so now. */
void reply_free (uring_message *m);

#endif
