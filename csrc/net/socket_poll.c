/*
** socket_poll: see the header. It pushes polls of a socket. What must not
** break: each pins the socket's handle, because closing that ends it.
*/

#include "compat.h"
#include "net/socket_poll.h"

#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "api/prep_build.h"


int socket_poll (struct socket *s, unsigned events, struct handle *other,
                 struct op **op) {
  struct request q = request_poll(&kind_poll_add, s->in.waitq.fd, events);
  int rc;
  q.pin[OP_PIN_FD] = &s->d->block;  /* guard: its close ends the poll */
  if (other) {
    q.req_flags = REQ_TARGET;
    q.pin[OP_PIN_AUX] = &other->block;
  }
  rc = ring_push_one(s->ring, &q, OP_LOOPED, op);
  return rc < 0 ? rc : 0;
}

int socket_watch (struct socket *s, struct socket_side *side, unsigned events,
                  uint64_t *token) {
  struct op *op;
  int rc = socket_poll(s, events, NULL, &op);
  if (rc < 0)
    return rc;
  object_waitq_serve(&side->waitq, op);
  *token = op->token;
  ring_drop(s->ring, op);
  return 0;
}
