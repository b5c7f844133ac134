/*
** outward: what a socket's sends have in common, those that wait (send.c) and
** those of a choice (sending.c). Nothing here waits.
*/

#ifndef uring_send_queue_h
#define uring_send_queue_h

#include "api/buffer.h"
#include "api/sockaddr.h"
#include "net/socket.h"

/* Must who wants to send wait in the line? */
bool send_busy (const struct socket *s);

/* What the kernel takes there and then: how much, or -errno. False where it
** has no room. */
bool send_at_once (const struct socket *s, const struct bytes *b,
                  const struct address *to, ssize_t *n);

/* Who was woken and makes no request wakes the next in line. */
void send_wake_next (lua_State *L, struct socket *s);

void sending_open (lua_State *L);  /* socket:sending */

#endif
