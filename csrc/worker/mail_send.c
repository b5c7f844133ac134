/*
** mail_send: see the header. What must not break: what moves is given away
** only after the queue has taken the message, and nothing runs in between.
*/

#include "compat.h"
#include "worker/mail_send.h"

#include "ring/ring_submit.h"
#include "lua/errors.h"
#include "worker/mail_address.h"
#include "worker/mailbox.h"


int mail_send_post (lua_State *L, struct queue *q, struct encoded *e) {
  bool small = e->message->size <= QUEUE_SMALL;
  uint64_t cost = e->message->cost;
  int rc;
  if (e->moved.nfds > 0)  /* guard: SQEs that name them, name these files */
    ring_submit_all(state_of(L)->rings);
  rc = queue_post(q, e->message);
  if (rc == 0) {
    if (!small) e->message = NULL;  /* the queue's */
    mailbox_sent(L, q, cost, e->moved.nfds);  /* (first: it takes over) */
    owned_sent(L, &e->moved);
  }
  return rc;
}

int mail_send_now (lua_State *L, int first, int last, struct queue *q,
                   unsigned flags, struct encoded *e) {
  int rc = encode_values(L, first, last, q, e);
  if (rc == 0 && flags) e->message->flags |= (uint8_t)flags;
  if (rc == 0) rc = mail_send_post(L, q, e);
  if (rc == 0) encode_free(e);
  else if (rc != -EAGAIN) encode_withdraw(L, e);
  return rc;
}

int mail_send_fail (lua_State *L, const char *call, const struct queue *q,
                    int err) {
  switch (err) {
    case EPIPE: return fail(L, err, "%s: the mailbox is closed", call);
    case EMSGSIZE:
      return fail(L, err, "%s: the message counts as more than the mailbox "
                  "takes (%llu bytes, %llu descriptors): send it in parts",
                  call, (unsigned long long)q->limits.bytes,
                  (unsigned long long)q->limits.fds);
    default: return fail(L, err, "%s", call);
  }
}

int mail_send_closed (lua_State *L, const char *call) {
  return fail(L, EBADF, "%s: the address was closed", call);
}

/* address:try_send(...) */
int mail_send_try_send (lua_State *L) {
  struct mail_address *a = mail_address_check(L);
  struct encoded e;
  int rc = mail_send_now(L, 2, lua_gettop(L), a->q, 0, &e);
  encode_withdraw(L, &e);
  if (rc == -EAGAIN)
    return fail_text(L, EAGAIN, "try_send: the mailbox is full");
  if (rc < 0)
    return mail_send_fail(L, "try_send", a->q, -rc);
  lua_pushboolean(L, 1);
  return 1;
}


static const luaL_Reg methods[] = {
  {"try_send", mail_send_try_send},
  {NULL, NULL}
};

void mail_send_open (lua_State *L) {
  class_extend(L, CLASS_ADDRESS, methods);
}
