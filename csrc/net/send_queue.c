#include "compat.h"
#include "net/send_queue.h"

#include <errno.h>


bool send_busy (const struct socket *s) {
  const struct op *op = socket_mixes(s) ? socket_op(s, &s->out) : NULL;
  return s->out.waitq.holder
         || (op && op->state == OP_FLYING && !(op->op_flags & OP_NOTIFYING));
}

void send_wake_next (lua_State *L, struct socket *s) {
  if (s->d && !send_busy(s))
    loop_wake_first(state_of(L)->loop, &s->out.waitq);
}

bool send_at_once (const struct socket *s, const struct bytes *b,
                  const struct address *to, ssize_t *n) {
  *n = sendto(s->out.waitq.fd, b->at, b->size, MSG_DONTWAIT | MSG_NOSIGNAL,
              to ? &to->any : NULL, to ? to->len : 0);
  if (*n < 0) *n = -errno;
  return *n != -EAGAIN && *n != -EINTR;
}
