/*
** mail_address: the class uring.Address: what sends to a mailbox, of this
** state or of another.
**
** An address counts as a sender from when it is made until it is closed or
** collected, or its state ends. It may outlive the mailbox: then a send gives
** EPIPE.
*/

#ifndef uring_mail_address_h
#define uring_mail_address_h

#include "lua/state.h"
#include "worker/queue.h"

struct mail_address {
  struct queue *q;         /* counted; NULL: closed */
  const struct state *state;  /* that it is in; a worker's: NULL */
  struct address_wait *waits;
};

/* A wait that was begun through an address, and that its close ends: `woken`
** is called then. If the address is collected first it is only forgotten. */
struct address_wait {
  struct address_wait *next, **back;
  void (*woken)(struct address_wait *w, struct loop *loop);
  bool closed;
};

void address_wait_begin (struct mail_address *a, struct address_wait *w);
void address_wait_end (struct address_wait *w);

/* Push a new address without a queue; give it one, whose count it takes. And
** whose sender it is already. */
struct mail_address *mail_address_new (lua_State *L);
void mail_address_set (struct mail_address *a, struct queue *q);
void mail_address_take (struct mail_address *a, struct queue *q);

/* The address at a stack index, or that of a worker, which begins with one;
** NULL for any other value. */
struct mail_address *mail_address_at (lua_State *L, const struct state *s,
                                      int index);

/* The open one at 1. */
struct mail_address *mail_address_check (lua_State *L);

/* Raise if this queue, of what is at 1, is another process's; or NULL: what
** was collected has none. */
void mail_address_check_fork (lua_State *L, const struct queue *q);

/* Drop it, if it is open. */
void mail_address_drop (struct mail_address *a);

int mail_address_close (lua_State *L);
void mail_address_open (lua_State *L);

#endif
