/*
** send_queue: whose turn it is to send. Requests of one socket go one after
** another, or bytes of two tasks would mix.
*/

#include "compat.h"
#include "net/send_queue.h"

#include <errno.h>


static bool in_flight (const struct socket *s) {
  const struct op *op = socket_op(s, &s->out);
  return op && op->state == OP_FLYING && !(op->op_flags & OP_NOTIFYING);
}

bool send_busy (const struct socket *s, struct wait_node *node) {
  const struct task *holder = s->out.waitq.holder;
  if (!socket_mixes(s))
    return false;
  return in_flight(s) || (holder ? &holder->node != node
                          : !turnq_may_take(&s->out.waitq.q, node, 1));
}

void send_end_turn (lua_State *L, struct socket *s, struct wait_node *node) {
  if (node == NULL || !socket_waitq_unhold(&s->out.waitq, node))
    turnq_end_turn(&s->out.waitq.q, node);
  if (s->d && s->out.waitq.q.turns == 0
      && !(socket_mixes(s) && in_flight(s)))
    turnq_wake(state_of(L)->loop, &s->out.waitq.q);
}

bool send_at_once (const struct socket *s, const struct bytes *b,
                   const struct address *to, ssize_t *n) {
  *n = sendto(s->out.waitq.fd, b->at, b->size, MSG_DONTWAIT | MSG_NOSIGNAL,
              to ? &to->any : NULL, to ? to->len : 0);
  if (*n < 0) *n = -errno;
  return *n != -EAGAIN && *n != -EINTR;
}
