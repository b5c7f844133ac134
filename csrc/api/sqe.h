/*
** sqe: requests as values: `uring.sqe()` and what all its preps share.
**
** An SQE of this library is no slot of a ring but a userdata with a request
** in it (op.h). It may be queued as often as one likes, on any ring: each
** time the ring takes a copy, and the copy's operation its own count of every
** block. So preparing again, or collecting the SQE, disturbs nothing that is
** in flight.
**
** How a prep is written: read all arguments first, for that may raise;
** allocate what it needs; then `sqe_begin`, which empties the request and can
** no longer fail, liburing's own prep, and the pins. Afterwards nothing
** raises. An SQE whose prep raised is what it was before.
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

/* Empty it: pins, flags, data. */
void sqe_begin (lua_State *L, struct request *q);

/* Pins: an argument's descriptor; memory (one count is handed over); a ring
** that is the target of a message. */
void sqe_pin_fd (lua_State *L, struct request *q, const struct fd_arg *fd);
void sqe_pin_memory (struct request *q, struct refblock *b);
void sqe_pin_target (struct request *q, struct handle *ring);

/* A prep's result: the SQE itself. */
int sqe_end (lua_State *L, struct request *q);

/* Memory for a prep; raises for want of it. */
struct memory *sqe_memory (lua_State *L, size_t size, const void *from);

/* What to read into: `len` bytes (nil: all that is left) from `at` of the
** buffer at `arg`; what to write likewise, of a string's copy, a buffer or a
** lease. One count of the block is the caller's. */
struct bytes sqe_writable_bytes (lua_State *L, int arg, int len, int at);
struct bytes sqe_bytes (lua_State *L, int arg, int len, int at);

int sqe_new (lua_State *L);       /* uring.sqe() */
void sqe_open (lua_State *L);     /* the class, and its setters */

/* The preps, which are methods of the class: each file adds its own. */
void prep_msg_open (lua_State *L);
void prep_file_open (lua_State *L);
void prep_wait_open (lua_State *L);
void prep_socket_open (lua_State *L);

#endif
