/*
** socket_try: `try_receive` and `try_send`, which never wait, and so work
** outside of tasks too: for a host between two steps, or in a finalizer.
**
** They go by the same rules as the calls that wait: what arrived first comes
** first, a task that waits already is before them, and what was written goes
** before what is sent. Where it is not their turn there is nothing for them:
** EAGAIN. They leave no request behind.
*/

#include "compat.h"
#include "net/recv_request.h"
#include "net/send.h"

#include "ring/ring_submit.h"
#include "lua/args.h"
#include "lua/errors.h"


/* Take what has completed of the socket's requests. */
static void try_reap (const struct socket *s) {
  if (s->ring && s->ring->open) ring_catch_up(s->ring);
}

/* Values; or 0: nothing has arrived, or it is for others. */
static int try_take (lua_State *L, const struct recv_args *a) {
  struct socket *s = a->s;
  const struct turnq *q = &s->in.waitq.q;
  if (input_in_push(L, &s->input))
    return 0;  /* guard: a finalizer, and the data is being pushed */
  if (!recv_ready(s)) try_reap(s);
  if (recv_mismatch(s, a) || turnq_may_take(q, NULL, recv_items(s)))
    return recv_take(L, a);
  return recv_idle(s) && q->waiting.last == NULL && q->turns == 0
         ? recv_now(L, a) : 0;
}

/* socket:try_receive([max]): as receive; EAGAIN where that would wait */
static int s_try_receive (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  struct recv_args a = { s, 1, NULL, 0, WANT_DATA, 3 };
  int n;
  a.max = arg_optional(L, 2, MAX_DATAGRAM, 0, INT32_MAX);
  lua_settop(L, 1);
  n = a.max > 0 ? try_take(L, &a) : recv_take(L, &a);
  return n > 0 ? n : fail(L, EAGAIN, "receive on socket (fd %d): nothing has "
                          "arrived", s->in.waitq.fd);
}

/* socket:try_send(bytes): how many were sent, of a stream perhaps not all;
** EAGAIN where none can be */
static int s_try_send (lua_State *L) {
  struct socket *s = socket_check(L, SOCKET);
  struct bytes b = arg_bytes(L, DATA, DATA);
  struct loop *loop = state_of(L)->loop;
  ssize_t n;
  if (send_busy(s, NULL)) {
    if (loop) output_start(&s->output, loop);
    try_reap(s);
  }
  if (send_busy(s, NULL) || !send_at_once(s, &b, NULL, &n))
    return fail(L, EAGAIN, "send on socket (fd %d): there is no room",
                s->out.waitq.fd);
  if (n < 0) {
    lua_pushfstring(L, "send on socket (fd %d)", s->out.waitq.fd);
    return fail_cured(L, IORING_OP_SEND, (int)-n);
  }
  lua_pushinteger(L, n);
  return 1;
}


static const luaL_Reg methods[] = {
  {"try_receive", s_try_receive},
  {"try_send", s_try_send},
  {NULL, NULL}
};

void socket_try_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
}
