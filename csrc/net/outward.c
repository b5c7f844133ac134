#include "compat.h"
#include "net/outward.h"

#include <errno.h>


bool outward_busy (const struct socket *s) {
  const struct op *op = socket_mixes(s) ? socket_op(s, &s->out) : NULL;
  return s->out.line.holder
         || (op && op->state == OP_FLYING && !(op->marks & OP_TOLD));
}

void outward_pass_on (lua_State *L, struct socket *s) {
  if (s->d && !outward_busy(s))
    loop_wake_line(state_of(L)->loop, &s->out.line);
}

bool outward_now (const struct socket *s, const struct bytes *b,
                  const struct address *to, ssize_t *n) {
  *n = sendto(s->out.line.fd, b->at, b->size, MSG_DONTWAIT | MSG_NOSIGNAL,
              to ? &to->any : NULL, to ? to->len : 0);
  if (*n < 0) *n = -errno;
  return *n != -EAGAIN && *n != -EINTR;
}
