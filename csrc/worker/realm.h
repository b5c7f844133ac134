/*
** realm: the names of mailboxes, by which the states of a process find each
** other.
**
** Names live in realms. A state's realm is set with its loop; without that it
** is "", which is shared. A state whose realm is false has no names.
**
** There is one table for the process, under a lock. It counts the queues in
** it. A forked child begins with an empty one: the mailboxes are its parent's,
** and a thread of the parent may have held the lock.
**
** A task may wait for a name. When a mailbox gets a name all who wait, for any
** name, are woken and look again: that is rare.
**
** Invariants: a name is removed before its mailbox closes. A waiter is in the
** table from before its last look until it is woken or leaves.
*/

#ifndef uring_realm_h
#define uring_realm_h

#include "lua/state.h"
#include "worker/queue.h"

#define REALM_NAME_LENGTH 255
#define REALM_NAMES_MOST   4096

/* Push the option `name` of the table at `arg`, or nil. Raises if it is not a
** name. */
void realm_option (lua_State *L, int arg);

/* Give the queue the name at stack index `name`: 0. Else nil, message, errno
** are pushed: 3. */
int realm_add (lua_State *L, int name, struct queue *q);

void realm_remove (struct queue *q);

/* The queue's name, until that is removed. */
const char *realm_name_of (const struct queue *q);

int realm_address (lua_State *L);    /* uring.address(name, timeout) */
void realm_open (lua_State *L);

#endif
