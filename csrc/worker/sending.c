/*
** sending: see the header. Each select that waits with the event has an asker
** of its own. What must not break: an asker clears its sender's `owner` before
** it is freed; nothing is given away but by a post that was accepted.
*/

#include "compat.h"
#include "worker/sending.h"

#include "ring/ring_submit.h"
#include "lua/errors.h"
#include "task/event.h"
#include "task/ring_watch.h"
#include "worker/mail_address.h"
#include "worker/mail_send.h"
#include "worker/mailbox.h"

#include <stdlib.h>


/* ---- askers ------------------------------------------------------------ */

/* One select that waits with this event: its select waiter has it. */
struct asking {
  struct asking *next, **back;  /* of the event's */
  struct waitq waiting;    /* its node, until that is woken */
  struct queue_sender *s;
};

struct sending {           /* its user value is the address */
  struct queue *q;         /* counted; NULL: never made */
  struct address_wait wait;
  struct message *message;  /* NULL: it counts too much */
  struct account *account;  /* of its state, charged with the message */
  unsigned nfds;
  struct handle *fds[OWNED_MOST];  /* counted, but not lent */
  struct asking *asking;
};

static struct asking *asking_of (struct wait_node *node) {
  return node ? select_waiter_of(node)->asking : NULL;
}

static void asking_woken (void *owner, struct loop *loop) {
  struct asking *a = owner;
  waitq_wake_all(loop, &a->waiting);
}

/* It does not wait any more. (Its node has left the queue.) */
static void asking_end (struct sending *s, struct asking *a) {
  *a->back = a->next;
  if (a->next) a->next->back = a->back;
  queue_withdraw(s->q, a->s);
  a->s->owner = NULL;  /* guard: it may still be in the ready list */
  refblock_release(&a->s->block);
  free(a);
}

static void asking_closed (struct address_wait *wait, struct loop *loop) {
  struct sending *s = (struct sending *)((char *)wait
                                         - offsetof(struct sending, wait));
  for (struct asking *a = s->asking; a; a = a->next)
    waitq_wake_all(loop, &a->waiting);
}

static bool fds_are_open (const struct sending *s) {
  for (unsigned i = 0; i < s->nfds; i++)
    if (handle_closed(s->fds[i]))
      return false;
  return true;
}

/* Post a copy of the message: 0 or -errno. NULL: nothing asks for it yet. */
static int post_copy (lua_State *L, struct sending *s, struct asking *a) {
  struct message *m = s->message, *copy = m;
  bool linked = m->size > QUEUE_SMALL;  /* the queue takes it as it is */
  int rc;
  if (!fds_are_open(s))
    return -EBADF;
  if (linked || m->flags & MESSAGE_OWNS) {
    if ((copy = malloc(m->size)) == NULL)
      return -ENOMEM;
    memcpy(copy, m, m->size);
    owned_count(copy);
  }
  if (s->nfds > 0) ring_submit_all(state_of(L)->rings);
  rc = a ? queue_post_offered(s->q, a->s, copy) : queue_post(s->q, copy);
  if (rc < 0 && copy != m) owned_withdraw_plain(copy);
  if (copy != m && (rc < 0 || !linked)) free(copy);
  for (unsigned i = 0; rc == 0 && i < s->nfds; i++)
    handle_send(s->fds[i]);
  if (rc == 0) mailbox_sent(L, s->q, m->cost, m->fds);
  return rc;
}

static int sending_message_try (lua_State *L, struct task *t,
                                struct wait_node *node) {
  struct sending *s = class_check(L, 1, CLASS_SENDING);
  struct asking *a = asking_of(node);
  int rc;
  (void)t;
  mail_address_check_fork(L, s->q);
  if (s->wait.closed)
    return mail_send_closed(L, "sending");
  if (a && queue_result(a->s) == SEND_WAITS)
    return 0;
  rc = s->message ? post_copy(L, s, a) : -EMSGSIZE;
  if (rc == -EAGAIN)
    return 0;
  if (rc == -EBADF)
    return fail(L, EBADF, "sending: a descriptor in the message was closed, "
                "or was sent away");
  if (rc < 0)
    return mail_send_fail(L, "sending", s->q, -rc);
  lua_pushboolean(L, 1);
  return 1;
}

static struct asking *asking_new (lua_State *L, struct sending *s) {
  struct asking *a = calloc(1, sizeof(*a));
  if (a == NULL)
    return NULL;
  a->s = queue_sender_new(NULL, s->message->cost, s->message->fds);
  if (a->s == NULL) {
    free(a);
    return NULL;
  }
  a->s->state = state_of(L);
  a->s->owner = a;
  a->s->woken = asking_woken;
  a->next = s->asking;
  a->back = &s->asking;
  if (a->next) a->next->back = &a->next;
  s->asking = a;
  return a;
}

/* Ask to be woken when there is space. After a wakeup in vain it is in the
** list still, in its place. */
static int sending_message_block (lua_State *L, struct task *t,
                                  struct blocking *b) {
  struct sending *s = class_check(L, 1, CLASS_SENDING);
  struct doorbell *doorbell = loop_doorbell(state_of(L)->loop);
  struct asking *a = asking_of(b->node);
  (void)t;
  mail_address_check_fork(L, s->q);
  if (s->message == NULL)  /* guard: a program's event has not tried it */
    return mail_send_fail(L, "sending", s->q, EMSGSIZE);
  if (a == NULL) {
    if (doorbell == NULL)
      return fail(L, errno, "sending: no doorbell for the loop");
    if ((a = asking_new(L, s)) == NULL)
      return fail(L, ENOMEM, "sending");
    select_waiter_of(b->node)->asking = a;
    queue_wait(s->q, a->s, doorbell);  /* (refused: the next try finds it) */
  }
  wait_join_plain(b, &a->waiting, WAIT_QUEUE, NULL);
  return 0;
}

static void sending_message_cancel (lua_State *L, struct task *t,
                                    struct wait_node *node) {
  struct sending *s = class_raw(L, 1, CLASS_SENDING);
  struct asking *a = asking_of(node);
  (void)t;
  if (a && s->q) asking_end(s, a);  /* guard: or it has ended with `s` */
  select_waiter_of(node)->asking = NULL;
}

static const struct wait_kind sending_kind = {
  "sending", sending_message_try, sending_message_block,
  sending_message_cancel, WAITS_RUNG, NULL
};

/* Keep the message of the values from 2 to `last`, which is charged: 0, or
** -errno. Garbage is collected where there is no room for it. */
static int fill_sending (lua_State *L, struct sending *s, int last,
                         struct encoded *e) {
  struct account *a = state_of(L)->account;
  int rc = encode_values(L, 2, last, mail_address_check(L)->q, e);
  if (rc == 0 && !account_has_room(a, e->message->size)) {
    size_t size = e->message->size;
    encode_withdraw(L, e);
    pressure_make_room(L, size);
    rc = encode_values(L, 2, last, mail_address_check(L)->q, e);
  }
  if (rc < 0)
    return rc;
  if (e->moved.nbuffers + e->moved.nsockets > 0) {
    const char *what = e->moved.nbuffers > 0 ? "buffer" : "socket";
    encode_withdraw(L, e);
    return luaL_argerror(L, 2, lua_pushfstring(L,
      "cannot send a %s by an event: use send or try_send", what));
  }
  if (account_has_room(a, e->message->size)) s->message = encode_keep(e);
  if (s->message == NULL) {
    encode_withdraw(L, e);
    return -ENOMEM;
  }
  s->account = a;
  account_count(a, s->message->size);
  return 0;
}

/* address:sending(...): an event that sends when it is chosen */
int sending_new (lua_State *L) {
  struct encoded e;
  struct sending *s;
  struct queue *q;
  int last = lua_gettop(L), rc;
  mail_address_check(L);
  s = class_new(L, CLASS_SENDING, sizeof(*s), 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  rc = fill_sending(L, s, last, &e);
  q = mail_address_check(L)->q;
  if (rc == -ENOMEM)
    return luaL_error(L, "not enough memory for a message%s",
                      state_memory_note(L));
  s->q = q;
  refblock_retain(&q->block);
  queue_own(q, state_of(L));
  s->wait.woken = asking_closed;
  address_wait_begin(mail_address_at(L, state_of(L), 1), &s->wait);
  for (; s->message && s->nfds < e.moved.nfds; s->nfds++) {
    s->fds[s->nfds] = e.moved.fds[s->nfds];
    refblock_retain(&s->fds[s->nfds]->block);
  }
  lua_settop(L, last + 1);
  lua_replace(L, 1);
  lua_settop(L, 1);
  return event_push(L, &sending_kind);
}

static int sending_gc (lua_State *L) {
  struct sending *s = class_check(L, 1, CLASS_SENDING);
  if (s->q == NULL)
    return 0;
  while (s->asking) {
    /* guard: a finalizer that ran before has blocked on the event */
    waitq_drop_all(&s->asking->waiting);
    asking_end(s, s->asking);
  }
  address_wait_end(&s->wait);
  for (unsigned i = 0; i < s->nfds; i++)
    refblock_release(&s->fds[i]->block);
  if (s->message) {
    owned_withdraw_plain(s->message);  /* (copies of it were sent, if any) */
    account_refund(s->account, s->message->size);
    free(s->message);
  }
  queue_disown(s->q, state_of(L));
  refblock_release(&s->q->block);
  s->q = NULL;
  return 0;
}

static int sending_tostring (lua_State *L) {
  const struct sending *s = class_check(L, 1, CLASS_SENDING);
  lua_pushfstring(L, "a message to mailbox %p", (void *)s->q);
  return 1;
}


static const luaL_Reg none[] = { {NULL, NULL} };

static const luaL_Reg meta[] = {
  {"__gc", sending_gc},
  {"__tostring", sending_tostring},
  {NULL, NULL}
};

static const luaL_Reg methods[] = {
  {"sending", sending_new},
  {NULL, NULL}
};

void sending_open (lua_State *L) {
  class_define(L, CLASS_SENDING, none, meta, NULL);
  class_extend(L, CLASS_ADDRESS, methods);
}
