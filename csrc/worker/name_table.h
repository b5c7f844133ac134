/*
** name_table: the names of mailboxes, by which the states of a process, and
** its C threads, find them. (No Lua in it.)
**
** There is one table for the process, under a lock. It counts the queues in
** it. A forked child begins with an empty one: the mailboxes are its parent's,
** and a thread of the parent may have held the lock.
**
** A name is of a realm. A task may wait for a name: when a mailbox gets it,
** those that wait for it are woken, and search again.
**
** Invariants: a name is removed before its mailbox closes. A waiter is in the
** table from its last search, which is under the same lock, until it is woken
** or leaves: so its name is not added in between.
*/

#ifndef uring_name_table_h
#define uring_name_table_h

#include "worker/queue.h"

#define NAME_LENGTH 255      /* of a name, and of a realm */
#define NAMES_MOST  4096

struct queue_name {
  struct queue_name *next;
  struct queue *q;         /* counted */
  size_t realm, name;      /* lengths */
  char key[];              /* the realm, a 0, the name, a 0 */
};

/* A task that waits for a name. Its owner and the table count it, and so does
** the ready list. */
struct name_waiter {
  struct refblock block;
  struct ready_link link;
  struct name_waiter *next, **back;  /* in the table */
  struct doorbell *doorbell; /* in the table: counted */
  const struct queue_name *name;  /* in the table: its owner's */
  void *owner;             /* for `woken`; NULL: it is gone. Its thread's. */
  void (*woken)(void *owner, struct loop *loop);
};

/* A name, of malloc's; NULL: no memory. Or in memory of the caller's, which
** has space for both and 2 bytes more. */
struct queue_name *name_new (const char *realm, size_t nrealm,
                             const char *name, size_t nname);
void name_fill (struct queue_name *n, const char *realm, size_t nrealm,
                const char *name, size_t nname);

/* Give the queue this name: 0, and it is the table's; or -EEXIST, -ENOSPC. */
int name_add (struct queue_name *n, struct queue *q);

/* The queue of this name, counted; or NULL. */
struct queue *name_find (const struct queue_name *n);

/* The queue's name, if it has one, is free again. */
void name_remove (struct queue *q);

/* The queue's name, until that is removed; or NULL. */
const char *name_of (const struct queue *q);

/* A waiter, counted once; NULL: no memory. */
struct name_waiter *name_waiter_new (void);

/* The queue of this name, counted; or NULL, and the waiter is woken by this
** doorbell when there is one, until name_waiter_unlist: so long it uses `n`.
*/
struct queue *name_find_or_wait (const struct queue_name *n,
                                 struct name_waiter *w,
                                 struct doorbell *doorbell);
void name_waiter_unlist (struct name_waiter *w);

#endif
