/*
** realm: the names of mailboxes, by which the states of a process find each
** other (worker/name_table.h).
**
** Names live in realms. A state's realm is set with its loop; without that it
** is "", which is shared. A state whose realm is false has no names.
*/

#ifndef uring_realm_h
#define uring_realm_h

#include "lua/state.h"
#include "worker/queue.h"

/* Push the option `name` of the table at `arg`, or nil. Raises if it is not a
** name. */
void realm_option (lua_State *L, int arg);

/* Give the queue the name at stack index `name`: 0. Else nil, message, errno
** are pushed: 3. */
int realm_add (lua_State *L, int name, struct queue *q);

int realm_address (lua_State *L);    /* uring.address(name, timeout) */
void realm_open (lua_State *L);

#endif
