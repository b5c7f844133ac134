/*
** mail_address: sends that need not wait, and the address's life.
*/

#include "compat.h"
#include "worker/mail_address.h"

#include "base/fork_id.h"
#include "ring/ring_submit.h"
#include "lua/errors.h"


/* ---- sending ----------------------------------------------------------- */

struct mail_address *mail_address_at (lua_State *L, const struct state *s,
                                      int index) {
  struct mail_address *a = class_at(L, s, index, CLASS_ADDRESS);
  return a ? a : class_at(L, s, index, CLASS_WORKER);
}

struct mail_address *mail_address_check (lua_State *L) {
  struct mail_address *a = mail_address_at(L, state_of(L), 1);
  if (a == NULL)
    luaL_typeerror(L, 1, class_name(CLASS_ADDRESS));
  if (a->q == NULL)
    luaL_argerror(L, 1, "attempt to use a closed address");
  if (a->q->fork_id != fork_id())
    luaL_argerror(L, 1, "this address belongs to another process: mailboxes "
                  "join the states of one process");
  return a;
}

void mail_address_fds_gone (struct handle *const *fds, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    handle_release(fds[i]);  /* guard: its number is the reader's */
}

int mail_address_post (lua_State *L, struct queue *q, struct encoded *e) {
  bool small = e->message->size <= QUEUE_SMALL;
  int rc;
  if (e->nfds > 0)  /* guard: SQEs that name them name the files of now */
    ring_submit_all(state_of(L)->rings);
  rc = queue_post(q, e->message);
  if (rc == 0) {
    if (!small) e->message = NULL;  /* the queue's */
    mail_address_fds_gone(e->fds, e->nfds);
  }
  return rc;
}

int mail_address_send_now (lua_State *L, int last, struct queue *q,
                      struct encoded *e) {
  int rc = codec_encode(L, 2, last, q, e);
  if (rc == 0) rc = mail_address_post(L, q, e);
  if (rc != -EAGAIN) codec_free(e);
  return rc;
}

int mail_address_fail (lua_State *L, const char *call, const struct queue *q,
                  int err) {
  switch (err) {
    case EPIPE: return fail(L, err, "%s: the mailbox is closed", call);
    case EAGAIN: return fail(L, err, "%s: the mailbox is full", call);
    case EMSGSIZE:
      return fail(L, err, "%s: the message counts as more than the mailbox "
                  "takes (%llu bytes, %llu descriptors): send it in parts",
                  call, (unsigned long long)q->limits.bytes,
                  (unsigned long long)q->limits.fds);
    default: return fail(L, err, "%s", call);
  }
}

/* address:try_send(...) */
int mail_address_try_send (lua_State *L) {
  struct mail_address *a = mail_address_check(L);
  struct encoded e;
  int rc = mail_address_send_now(L, lua_gettop(L), a->q, &e);
  codec_free(&e);
  if (rc < 0)
    return mail_address_fail(L, "try_send", a->q, -rc);
  lua_pushboolean(L, 1);
  return 1;
}


/* ---- its life ---------------------------------------------------------- */

struct mail_address *mail_address_new (lua_State *L) {
  return class_new(L, CLASS_ADDRESS, sizeof(struct mail_address), 0);
}

void mail_address_set (struct mail_address *a, struct queue *q) {
  a->q = q;
  queue_add_sender(q);
}

void mail_address_drop (struct mail_address *a) {
  struct queue *q = a->q;
  a->q = NULL;
  if (q) {
    queue_drop_sender(q);
    refblock_release(&q->block);
  }
}

int mail_address_close (lua_State *L) {
  struct mail_address *a = mail_address_at(L, state_of(L), 1);
  if (a == NULL)
    luaL_typeerror(L, 1, class_name(CLASS_ADDRESS));
  mail_address_drop(a);
  lua_pushboolean(L, 1);
  return 1;
}

static int mail_address_gc (lua_State *L) {
  mail_address_drop(class_check(L, 1, CLASS_ADDRESS));
  return 0;
}

static int mail_address_tostring (lua_State *L) {
  const struct mail_address *a = class_check(L, 1, CLASS_ADDRESS);
  if (a->q) lua_pushfstring(L, "uring.Address (of mailbox %p)",
                            (void *)a->q);
  else lua_pushliteral(L, "uring.Address (closed)");
  return 1;
}


static const luaL_Reg methods[] = {
  {"try_send", mail_address_try_send},
  {"close", mail_address_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", mail_address_gc},
  {"__close", mail_address_gc},
  {"__tostring", mail_address_tostring},
  {NULL, NULL}
};

void mail_address_open (lua_State *L) {
  class_define(L, CLASS_ADDRESS, methods, meta, NULL);
}
