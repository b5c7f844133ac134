/*
** sqe: requests as values: `uring.sqe()`, and what all its preps share.
**
** An SQE of this library is no slot of a ring but a userdata with a request in
** it (op_table.h). It may be queued any number of times, on any ring: each
** time the ring copies the request, and the operation takes a count of its own
** of every block. So preparing the SQE again, or collecting it, does not
** affect what is in flight.
**
** A prep reads all arguments, for that may raise; allocates what it needs;
** then `sqe_assign` replaces the SQE's request by the new one, and nothing
** raises any more. If a prep raises the SQE is unchanged. All preps but one
** are rows of a table, and prep_build keeps to this order.
**
** Called by the preps, and by every function that queues an SQE. What can
** never happen: an SQE is queued that names a closed descriptor or released
** memory.
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

/* The SQE at `arg`, to be queued: raises if it is not prepared, or if what it
** names was closed or changed since. */
const struct request *sqe_check (lua_State *L, int arg);
const struct request *sqe_check_in (lua_State *L, const struct state *s,
                                    int index, int arg);

/* Replace the request of the SQE at argument 1 by `from`, and take over the
** counts of that; keep the Lua file at index `anchor`, unless that is 0. */
void sqe_assign (lua_State *L, struct request *q, const struct request *from,
                 int anchor);

/* These fields are addresses of the library's memory: do not show them. (An
** `addr` is one if the request uses memory.) */
enum { HIDDEN_OFF = 1, HIDDEN_ADDR3 = 2 };
void sqe_hide (struct request *q, unsigned fields);

/* Raise if `ioprio`, the argument `arg`, would make the kernel take a send's
** bytes for addresses: no operation owns the memory there. */
void sqe_check_ioprio (lua_State *L, int arg, unsigned opcode,
                       unsigned ioprio);

/* A prep's result: the SQE itself. */
int sqe_end (lua_State *L, struct request *q);

int sqe_new (lua_State *L);       /* uring.sqe() */
void sqe_open (lua_State *L);     /* the class, and its setters */

/* The preps, which are methods of the class: each file adds its own. */
void prep_msg_open (lua_State *L);
void prep_file_open (lua_State *L);
void prep_path_open (lua_State *L);
void prep_wait_open (lua_State *L);
void prep_socket_open (lua_State *L);

#endif
