/*
** send_event: socket:sending, an event that sends what the kernel takes at
** once when the socket is writable. What must not break: it sends only in its
** turn, and its turn ends with it.
*/

#include "compat.h"
#include "net/send.h"

#include "ring/ring_cancel.h"
#include "lua/errors.h"
#include "api/ring_object.h"
#include "task/event.h"
#include "net/socket_poll.h"

#include <poll.h>


static int sending_closed (lua_State *L) {
  return fail(L, EBADF, "the socket is closed");
}

/* Send what the kernel takes at once. */
static int sending_try (lua_State *L, struct task *t,
                        struct wait_node *node) {
  struct socket *s = class_check(L, SOCKET, CLASS_SOCKET);
  struct bytes b;
  ssize_t n;
  (void)t;
  if (endpoint_closed(s->d))  /* guard: its number may be another file's */
    return sending_closed(L);
  socket_check(L, SOCKET);
  if (send_busy(s, node))
    return 0;
  b = arg_bytes(L, DATA, DATA);
  if (!send_at_once(s, &b, NULL, &n))
    return 0;
  send_end_turn(L, s, node);
  if (n < 0) {
    lua_pushfstring(L, "send on socket (fd %d)", s->out.waitq.fd);
    return fail_cured(L, IORING_OP_SEND, (int)-n);
  }
  lua_pushinteger(L, n);
  return 1;
}

/* One poll of the socket serves all selects that wait to send. */
static int sending_block (lua_State *L, struct task *t, struct blocking *b) {
  struct socket *s = class_check(L, SOCKET, CLASS_SOCKET);
  (void)t;
  if (endpoint_closed(s->d))
    return sending_closed(L);
  socket_check(L, SOCKET);
  s->ring = state_of(L)->loop->ring;
  output_start(&s->output, state_of(L)->loop);
  if (!send_busy(s, b->node) && socket_find_op(s, s->poll_out) == NULL) {
    int rc = socket_watch(s, &s->out, POLLOUT, &s->poll_out);
    if (rc < 0)
      return ring_push_failed(L, s->ring, rc);
  }
  wait_join(b, &s->out.waitq.q, WAIT_QUEUE);
  return 0;
}

static void sending_cancel (lua_State *L, struct task *t,
                            struct wait_node *node) {
  struct socket *s = class_check(L, SOCKET, CLASS_SOCKET);
  struct op *op = s->d ? socket_find_op(s, s->poll_out) : NULL;
  (void)t;
  if (op && s->out.waitq.q.waiting.last == NULL) ring_cancel(s->ring, op);
  if (select_waiter_of(node)->woken) send_end_turn(L, s, node);
}

/* socket:sending(bytes): how many were sent; of a stream perhaps not all */
static int s_sending (lua_State *L) {
  static const struct wait_kind kind = {
    "sending", sending_try, sending_block, sending_cancel, WAITS_OUTSIDE, NULL
  };
  socket_check(L, SOCKET);
  arg_bytes(L, DATA, DATA);
  lua_settop(L, DATA);
  return event_push(L, &kind);
}


static const luaL_Reg methods[] = {
  {"sending", s_sending},
  {NULL, NULL}
};

void send_event_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
}
