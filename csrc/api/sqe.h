/*
** sqe: requests as values: `uring.sqe()` and what all its preps share.
**
** An SQE of this library is no slot of a ring but a userdata with a request
** in it (op_table.h). It may be queued as often as one likes, on any ring:
** each time the ring takes a copy, and the copy's operation its own count of
** every block. So preparing again, or collecting the SQE, disturbs nothing
** that is in flight.
**
** A prep reads all arguments, for that may raise; allocates what it needs;
** then `sqe_assign` gives the SQE the new request in place of the old one, and
** nothing raises any more. An SQE whose prep raised is what it was before. All
** but one are rows of a table, and prep_build keeps to that order.
*/

#ifndef uring_sqe_h
#define uring_sqe_h

#include "ring/op_table.h"
#include "lua/args.h"
#include "lua/state.h"
#include "api/buffer.h"
#include "api/fd.h"

/* The SQE at argument 1, for a prep. */
struct request *sqe_self (lua_State *L);

/* The prepared SQE at `arg`, for queueing: raises if it is not prepared, or
** if what it names has been closed or changed since. */
const struct request *sqe_check (lua_State *L, int arg);
const struct request *sqe_check_in (lua_State *L, const struct state *s,
                                    int index, int arg);

/* The SQE at argument 1 becomes this request, whose counts are its own from
** now on; and keeps the Lua file at `anchor`, unless that is 0. */
void sqe_assign (lua_State *L, struct request *q, const struct request *from,
                 int anchor);

/* Its `off` is an address of the library's memory, which is not shown. */
void sqe_hide_off (struct request *q);

/* A prep's result: the SQE itself. */
int sqe_end (lua_State *L, struct request *q);

int sqe_new (lua_State *L);       /* uring.sqe() */
void sqe_open (lua_State *L);     /* the class, and its setters */

/* Push the table of the class's methods; the state is on top of the stack. */
void sqe_push_methods (lua_State *L);

/* The preps, which are methods of the class: each file adds its own. */
void prep_msg_open (lua_State *L);
void prep_file_open (lua_State *L);
void prep_wait_open (lua_State *L);
void prep_socket_open (lua_State *L);

#endif
