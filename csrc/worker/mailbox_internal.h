/*
** mailbox_internal: what mailbox.c and mailbox_receive.c share, and no other
** file uses.
*/

#ifndef uring_mailbox_internal_h
#define uring_mailbox_internal_h

#include "task/wait.h"
#include "worker/mailbox.h"

struct mailbox {
  struct object_waitq waitq;  /* first: tasks that wait for a message */
  struct queue *q;         /* NULL: it was never made */
  struct account *account; /* charged with what it may hold; or NULL */
  size_t charged;
  size_t bytes;            /* in the queue, and told to the collector */
  unsigned fds;
  bool closed;
};

/* User values of a mailbox. */
#define MAILBOX_NAME  1    /* or nil */
#define MAILBOX_EVENT 2    /* mailbox:receiving() */

/* The mailbox at stack index 1, of this process; and if it is open. The others
** raise. */
struct mailbox *mailbox_check (lua_State *L);
struct mailbox *mailbox_check_open (lua_State *L);
struct mailbox *mailbox_check_fork (lua_State *L, struct mailbox *m);

/* Tell the collector what is in its queue now; and that it has no messages any
** more, or keeps none. */
void mailbox_count_queue (struct state *s, struct mailbox *m);
void mailbox_end_load (struct state *s, struct mailbox *m);

#endif
