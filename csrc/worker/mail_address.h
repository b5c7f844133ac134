/*
** mail_address: the class uring.Address: what sends to a mailbox, of this
** state or of another.
**
** An address counts as a sender from when it is made until it is closed or
** collected, or its state ends. It may outlive the mailbox: then a send gives
** EPIPE.
**
** A send encodes its values first; that raises for what cannot travel. Then
** the queue takes the message or refuses it, and nothing is done in between.
** Only if it took the message are the descriptors in it given away. A send
** that finds no space waits for it (worker/send_wait.h).
*/

#ifndef uring_mail_address_h
#define uring_mail_address_h

#include "lua/state.h"
#include "worker/codec.h"
#include "worker/queue.h"

struct mail_address {
  struct queue *q;         /* counted; NULL: closed */
};

/* Push a new address without a queue; give it one, whose count it takes. */
struct mail_address *mail_address_new (lua_State *L);
void mail_address_set (struct mail_address *a, struct queue *q);

/* The address at a stack index, or that of a worker, which begins with one;
** NULL for any other value. */
struct mail_address *mail_address_at (lua_State *L, const struct state *s,
                                      int index);

/* The open one at 1. */
struct mail_address *mail_address_check (lua_State *L);

/* The descriptors in a message were given away: forget their numbers. */
void mail_address_fds_gone (struct handle *const *fds, unsigned n);

/* Encode the values from 2 to `last` and post them: 0; -EAGAIN, and what was
** encoded is the caller's; or another -errno. */
int mail_address_send_now (lua_State *L, int last, struct queue *q,
                      struct encoded *e);

/* Post what was encoded: 0, and what moves is given away; or -errno. */
int mail_address_post (lua_State *L, struct queue *q, struct encoded *e);

/* Drop it, if it is open. */
void mail_address_drop (struct mail_address *a);

/* nil, message, errno: why this call's message was refused. */
int mail_address_fail (lua_State *L, const char *call, const struct queue *q,
                  int err);

int mail_address_try_send (lua_State *L);
int mail_address_close (lua_State *L);
void mail_address_open (lua_State *L);

#endif
