/*
** send_queue: what a socket's sends have in common, those that wait (send.c)
** and those of a select (send_event.c). Nothing here waits.
*/

#ifndef uring_send_queue_h
#define uring_send_queue_h

#include "api/buffer.h"
#include "api/sockaddr.h"
#include "net/socket.h"

/* Must this waiter, or NULL for what has not waited yet, wait for its turn? */
bool send_busy (const struct socket *s, struct wait_node *node);

/* What the kernel takes there and then: how much, or -errno. False where it
** has no room. */
bool send_at_once (const struct socket *s, const struct bytes *b,
                  const struct address *to, ssize_t *n);

/* A turn ends, if this waiter had it, without a request: wake the next. */
void send_end_turn (lua_State *L, struct socket *s, struct wait_node *node);

void send_event_open (lua_State *L);  /* socket:sending */

#endif
