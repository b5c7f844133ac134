/*
** socket: see the header. What must not break: closing cancels every request
** of the socket's own, takes its queues out of all operations, and wakes every
** waiter.
*/

#include "compat.h"
#include "net/socket.h"

#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "lua/errors.h"
#include "api/cmsg.h"
#include "api/fd.h"
#include "task/ring_watch.h"
#include "task/wait_cancel.h"
#include "net/rx_data.h"

#include <errno.h>
#include <string.h>

/* Attempts of the kernel that find nothing before the one that does: each
** writes credentials (see cmsg_of_last_try). Mostly there is one. */
#define TRIES 4

unsigned socket_default_control (int family) {
  return family == AF_UNIX
         ? (unsigned)(CMSG_SPACE(CONTROL_FDS * sizeof(int))
                      + (TRIES + 1) * CMSG_SPACE(sizeof(struct ucred)))
         : 0;
}


/* ---- life -------------------------------------------------------------- */

struct socket *socket_push (lua_State *L, int family, int type) {
  struct socket *s;
  pressure_tell(L, 0, 1);
  s = class_new(L, CLASS_SOCKET, sizeof(*s), SOCKET_VALUES);
  s->fork_id = fork_id();
  s->family = family;
  s->type = type;
  s->in.waitq.what = "to receive on socket";
  s->out.waitq.what = "to send on socket";
  s->in.waitq.fd = s->out.waitq.fd = -1;
  s->control_capacity = socket_default_control(family);
  s->input.ops = state_of(L)->socket_input;
  s->input.waitq = &s->in.waitq;
  s->input.limit = SIZE_MAX;
  s->input.line_limit = INPUT_LIMIT;
  s->output.ops = state_of(L)->socket_output;
  s->output.waitq = &s->out.waitq;
  s->output.sends = true;
  s->output.d = &s->d;
  s->input.name = s->output.name = "the socket";
  s->d = handle_new();
  if (s->d == NULL)
    luaL_error(L, "not enough memory for a socket");
  pressure_hold(&state_of(L)->pressure, 0, 1);
  object_waitq_open(state_of(L), &s->in.waitq);
  object_waitq_open(state_of(L), &s->out.waitq);
  s->input.open = s->output.open = true;
  return s;
}

void socket_own (lua_State *L, struct socket *s, int socket_number) {
  handle_own(&state_of(L)->handles, s->d, socket_number);
  s->in.waitq.fd = s->out.waitq.fd = socket_number;
}

/* Why a socket without a descriptor cannot be used. */
static const char *away_text (const struct socket *s) {
  switch (s->away) {
    case FD_LENT: return "this socket is on its way, in a message that waits "
                         "to be sent";
    case FD_SENT: return "this socket was sent away, in a message";
    default: return "attempt to use a closed socket";
  }
}

struct socket *socket_check (lua_State *L, int arg) {
  struct socket *s = class_check(L, arg, CLASS_SOCKET);
  if (s->d == NULL || handle_closed(s->d))
    luaL_argerror(L, arg, away_text(s));
  if (s->fork_id != fork_id())  /* guard: fork */
    luaL_argerror(L, arg, "this socket belongs to another process: it was "
                  "made before a fork");
  return s;
}

struct op *socket_find_op (const struct socket *s, uint64_t token) {
  return token != 0 && s->ring->open ? op_find(&s->ring->ops, token) : NULL;
}

struct op *socket_op (const struct socket *s, const struct socket_side *side) {
  return socket_find_op(s, side->token);
}

static void socket_abandon (struct socket *s, struct op *op) {
  struct loop *loop = loop_of_ring(s->ring);
  if (op) {
    op->waitq = NULL;  /* guard: the queue ends with the socket */
    if (op->waiter == NULL) ring_drop(s->ring, op);
    else if ((op->op_flags & OP_NOTIFYING) && loop) loop_cancel_wait(loop,
                                                               op->waiter);
    ring_cancel(s->ring, op);
  }
}

/* Cancel its requests, and wake all that wait in its queue. */
static void socket_end_side (struct socket *s, struct socket_side *side) {
  struct op *op = socket_op(s, side), *next;
  socket_abandon(s, op);
  side->token = 0;
  for (op = s->d->ops; op; op = next) {  /* of sends there may be several */
    next = op->next;
    if (op->waitq == &side->waitq) socket_abandon(s, op);
  }
  turnq_wake_all(loop_of_ring(s->ring), &side->waitq.q);
}

/* Cancel all requests of the socket's own, and close its queues. */
static void socket_end_sides (struct socket *s) {
  if (s->fork_id == fork_id() && s->ring && s->ring->open) {
    socket_end_side(s, &s->in);
    socket_abandon(s, socket_find_op(s, s->poll_in));
    socket_abandon(s, socket_find_op(s, s->poll_out));
    socket_end_side(s, &s->out);
  }
  object_waitq_close(&s->in.waitq);
  object_waitq_close(&s->out.waitq);
}

static void socket_drop_buffers (lua_State *L, struct socket *s) {
  /* guard: a finalizer closes it */
  if (!input_in_push(L, &s->input)) rx_data_free(s);
  if (s->own_pool) buf_pool_drop(s->own_pool, s->fork_id == fork_id());
  s->own_pool = NULL;
}

/* Cancel what is in flight, wake all waiters, release all memory; and close
** the descriptor, or give it away: 0 or -errno, or its number. */
static int socket_end (lua_State *L, struct socket *s, bool closes) {
  struct handle *d = s->d;
  int rc;
  if (d == NULL)
    return 0;
  pressure_drop(&state_of(L)->pressure, 0, 1);
  output_end(&s->output, s->fork_id == fork_id());
  socket_end_sides(s);
  s->d = NULL;
  s->input.open = false;
  rc = closes ? ring_close_handle(state_of(L)->rings, d) : handle_release(d);
  socket_drop_buffers(L, s);
  refblock_release(&d->block);
  return rc;
}

static int close_now (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  int n = output_close(L, &s->output);
  int rc = socket_end(L, s, true);
  return n > 0 ? n : fd_closed(L, rc);
}

/* socket:close(): what was written goes first, for as long as it may linger */
static int s_close (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  if (s->away == FD_LENT)
    return luaL_argerror(L, 1, away_text(s));
  if (s->d == NULL || s->fork_id != fork_id()) {
    socket_end(L, s, true);
    lua_pushboolean(L, 1);
    return 1;
  }
  return output_linger(L, &s->output, close_now);
}

/* Why it cannot be given away: what would be lost; or NULL. */
static const char *socket_busy (const struct socket *s) {
  const struct op *op = s->ring ? socket_op(s, &s->in) : NULL;
  if (store_size(&s->input.store) > 0 || s->rx.at || s->arrived.first
      || (op && op->results.first))
    return "what it has received was not read";
  if (output_size(&s->output) > 0)
    return "what was written is not sent yet: flush it";
  return s->d->ops ? "a request is under way on it" : NULL;
}

/* socket:release(): the number; the caller owns it from now on. */
static int s_release (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  const char *why;
  int n = output_failed(L, &s->output);
  if (n > 0)
    return n;
  ring_submit_all(state_of(L)->rings);
  ring_reap_uses(state_of(L)->rings, s->d);
  why = socket_busy(s);
  if (why)  /* guard: nothing that came is lost */
    return fail(L, EBUSY, "release socket (fd %d): %s", handle_number(s->d),
                why);
  lua_pushinteger(L, socket_end(L, s, false));
  return 1;
}

/* A collected socket was not closed: requests of other owners on it go on, and
** keep the descriptor open. */
static int socket_gc (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  struct handle *d = s->d;
  if (d) {
    pressure_collected(&state_of(L)->pressure, s->own_pool
                       ? buf_pool_weight(s->own_pool) : 0, 1);
    pressure_drop(&state_of(L)->pressure, 0, 1);
    state_of(L)->unflushed += output_end(&s->output,
                                         s->fork_id == fork_id());
    socket_end_sides(s);
    s->d = NULL;
    s->input.open = false;
    if (s->ring) ring_settle(s->ring, d);
    ring_reap_uses(state_of(L)->rings, d);
    socket_drop_buffers(L, s);
    refblock_release(&d->block);
  }
  if (s->lent) s->lent->socket = NULL;  /* guard: it is freed */
  rx_data_free(s);
  return 0;
}


/* ---- inspection -------------------------------------------------------- */

static int s_fileno (lua_State *L) {
  lua_pushinteger(L, handle_number(socket_check(L, 1)->d));
  return 1;
}

/* socket:stats(): pending completions of the receive side; accepts that failed
** for want of a descriptor or memory; whether large sends use zero copy */
static int s_stats (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  const struct op *op = socket_op(s, &s->in);
  lua_Integer waiting = (lua_Integer)s->arrived.count
    + (op && s->in.waitq.bound > 0 ? op->results.count : 0);
  lua_createtable(L, 0, 3);
  lua_pushboolean(L, s->zero_copy);
  lua_setfield(L, -2, "zero_copy");
  lua_pushinteger(L, waiting);
  lua_setfield(L, -2, "waiting");
  lua_pushinteger(L, s->failed_accepts);
  lua_setfield(L, -2, "failed_accepts");
  return 1;
}

static int socket_tostring (lua_State *L) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  static const char *const away[] = { "closed", "on its way", "sent away" };
  if (s->d == NULL) lua_pushfstring(L, "uring.Socket (%s)", away[s->away]);
  else lua_pushfstring(L, "uring.Socket (fd %d)", handle_number(s->d));
  return 1;
}



static const luaL_Reg methods[] = {
  {"fileno", s_fileno},
  {"release", s_release},
  {"stats", s_stats},
  {"close", s_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", socket_gc},
  {"__close", s_close},
  {"__tostring", socket_tostring},
  {NULL, NULL}
};

void socket_open (lua_State *L) {
  class_define(L, CLASS_SOCKET, methods, meta, NULL);
}
