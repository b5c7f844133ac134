/*
** send_wait: see the header. It has the objects of waiting sends. A sender in
** the list is woken by the loop's doorbell, on this thread. What must not
** break: the object clears `owner` of the sender before it is freed.
*/

#include "compat.h"
#include "worker/send_wait.h"

#include "lua/errors.h"
#include "task/ring_watch.h"
#include "worker/mail_address.h"
#include "worker/mail_send.h"
#include "worker/mailbox.h"

#include <stdlib.h>


struct waiting_send {
  struct object_waitq waitq;  /* first: its task, as a WAIT_QUEUE */
  struct address_wait wait;
  struct queue *q;         /* counted; NULL: it has ended */
  struct queue_sender *s;
  struct lent *lent;       /* NULL: nothing moves */
  struct account *account;  /* of its state, charged with the message */
  size_t charged;
};

static void send_woken (void *owner, struct loop *loop) {
  struct waiting_send *w = owner;
  waitq_wake_all(loop, &w->waitq.q.waiting);
}

static void send_closed (struct address_wait *wait, struct loop *loop) {
  send_woken((char *)wait - offsetof(struct waiting_send, wait), loop);
}

static void describe_send (lua_State *L, const struct object_waitq *waitq,
                           lua_State *co) {
  (void)co; (void)waitq;
  lua_pushliteral(L, "for space in a mailbox, to send to it");
}

/* Leave the list of senders: what has become of the message. */
static enum queue_result end_send (lua_State *L, struct waiting_send *w) {
  enum queue_result result = queue_withdraw(w->q, w->s);
  if (w->s->message == NULL)
    result = SEND_ACCEPTED;  /* guard: a forked child is not told */
  address_wait_end(&w->wait);
  w->s->owner = NULL;  /* guard: it may still be in the ready list */
  if (result == SEND_ACCEPTED) {
    mailbox_sent(L, w->q, w->s->cost, w->s->fds);
    owned_lent_sent(w->lent);
  }
  else owned_lent_back(L, w->lent, w->s->message);
  account_refund(w->account, w->charged);
  refblock_release(&w->s->block);
  queue_disown(w->q, state_of(L));
  refblock_release(&w->q->block);
  w->q = NULL;
  return result;
}

static int waiting_send_gc (lua_State *L) {
  struct waiting_send *w = class_check(L, 1, CLASS_WAITING_SEND);
  if (w->q) end_send(L, w);
  return 0;
}

/* It is decided, or the task was cancelled, or the address closed. */
static int send_results (lua_State *L, struct task *t, struct waiting_send *w,
                         const struct send_kind *kind) {
  enum queue_result result = end_send(L, w);
  if (result != SEND_ACCEPTED) {  /* else the next wait raises */
    loop_check(L, t);
    if (result == SEND_WITHDRAWN)
      return kind->done(L, mail_send_closed(L, kind->name));
    return kind->done(L, mail_send_fail(L, kind->name, NULL, EPIPE));
  }
  lua_pushboolean(L, 1);
  return kind->done(L, 1);
}

static int message_sent (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct waiting_send *w = class_raw(L, 2, CLASS_WAITING_SEND);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, message_sent);
  if (queue_result(w->s) == SEND_WAITS && !w->wait.closed
      && !(t->task_flags & TASKF_CANCELLED)) {
    waitq_add(&w->waitq.q.waiting, &t->node);  /* (woken by something else) */
    return loop_wait(L, t, WAIT_QUEUE, &w->waitq, CLOCK_NEVER, ctx,
                     message_sent);
  }
  return send_results(L, t, w, (const struct send_kind *)ctx);
}

/* Join the list of senders with what was encoded, and wait. */
static int send_waits (lua_State *L, struct task *t, struct waiting_send *w,
                       struct doorbell *doorbell,
                       const struct send_kind *kind) {
  struct mail_address *a = mail_address_at(L, state_of(L), 1);
  w->wait.woken = send_closed;
  if (a) address_wait_begin(a, &w->wait);  /* (of a call it goes on) */
  /* guard: what was closed since the message was refused wakes no task; and
     a finalizer may have cancelled this one */
  if (queue_wait(w->q, w->s, doorbell) != SEND_WAITS
      || t->task_flags & TASKF_CANCELLED)
    return send_results(L, t, w, kind);
  waitq_add(&w->waitq.q.waiting, &t->node);
  return loop_wait(L, t, WAIT_QUEUE, &w->waitq, CLOCK_NEVER,
                   (lua_KContext)kind, message_sent);
}

/* What was encoded becomes what waits in the list: 0; or -ENOMEM. */
static int fill_waiting_send (lua_State *L, struct waiting_send *w,
                              struct queue *q, struct encoded *e) {
  struct account *a = state_of(L)->account;
  struct message *m = account_has_room(a, e->message->size) ? encode_keep(e)
                                                            : NULL;
  w->s = m ? queue_sender_new(m, m->cost, m->fds) : NULL;
  if (w->s == NULL || !owned_lend(L, &e->moved, &w->s->sent, &w->lent)) {
    if (m != e->message) free(m);
    if (w->s) {
      w->s->message = NULL;
      refblock_release(&w->s->block);
    }
    encode_withdraw(L, e);
    return -ENOMEM;
  }
  w->q = q;
  refblock_retain(&q->block);
  queue_own(q, state_of(L));
  w->account = a;
  w->charged = m->size;
  account_count(a, m->size);
  w->waitq.describe = describe_send;
  w->waitq.rung = true;
  w->s->owner = w;
  w->s->woken = send_woken;
  return 0;
}

/* The mailbox was full. The object comes first, since a finalizer may run;
** then what is encoded anew stays as it is until it is in the list. */
static int send_later (lua_State *L, struct task *t, size_t size,
                       const struct send_kind *kind) {
  int last = lua_gettop(L);
  struct waiting_send *w;
  struct doorbell *doorbell = loop_doorbell(state_of(L)->loop);
  struct encoded e;
  struct queue *q;
  int rc;
  if (doorbell == NULL)
    return kind->done(L, fail(L, errno, "%s: no doorbell for the loop",
                              kind->name));
  pressure_make_room(L, size);
  w = class_new(L, CLASS_WAITING_SEND, sizeof(*w), 0);
  q = kind->to(L);
  rc = mail_send_now(L, kind->first, last, q, kind->flags, &e);
  if (rc == -EAGAIN) rc = fill_waiting_send(L, w, q, &e);
  else if (rc == 0) {
    lua_pushboolean(L, 1);
    return kind->done(L, 1);
  }
  if (rc == -ENOMEM)
    return kind->done(L, fail(L, ENOMEM, "%s: the message must be kept until "
                              "there is room%s", kind->name,
                              state_memory_note(L)));
  if (rc < 0)
    return kind->done(L, mail_send_fail(L, kind->name, q, -rc));
  lua_settop(L, last + 1);
  lua_insert(L, 2);  /* (a call may have no values, and `last` be 1) */
  lua_settop(L, 2);
  return send_waits(L, t, w, doorbell, kind);
}

static int send_first (lua_State *L, struct task *t, struct queue *q,
                       const struct send_kind *kind) {
  struct encoded e;
  int rc = mail_send_now(L, kind->first, lua_gettop(L), q, kind->flags, &e);
  if (rc == -EAGAIN) {
    size_t size = e.message->size;
    encode_withdraw(L, &e);
    return send_later(L, t, size, kind);
  }
  if (rc < 0)
    return kind->done(L, mail_send_fail(L, kind->name, q, -rc));
  lua_pushboolean(L, 1);
  return kind->done(L, 1);
}

static int send_yielded (lua_State *L, int status, lua_KContext ctx) {
  const struct send_kind *kind = (const struct send_kind *)ctx;
  struct task *t = loop_resumed(L);
  (void)status;
  if (t == NULL) return loop_yield_again(L, ctx, send_yielded);
  loop_check(L, t);
  /* guard: a script may resume it with values */
  lua_settop(L, (int)lua_tointeger(L, 1));
  lua_remove(L, 1);
  return send_first(L, t, kind->to(L), kind);
}

int send_wait_as (lua_State *L, struct task *t, struct queue *q,
                  const struct send_kind *kind) {
  if (t->has_turn)  /* guard: of a wait that has raised */
    loop_end_turns(state_of(L)->loop, t);
  t->wait = WAIT_NOTHING;
  if (!loop_unfair(t))
    return send_first(L, t, q, kind);
  lua_pushinteger(L, lua_gettop(L) + 1);
  lua_insert(L, 1);
  return loop_wait(L, t, WAIT_YIELD, NULL, CLOCK_NEVER, (lua_KContext)kind,
                   send_yielded);
}

static struct queue *address_queue (lua_State *L) {
  return mail_address_check(L)->q;
}

static int plainly_done (lua_State *L, int n) {
  (void)L;
  return n;
}

/* address:send(...): waits for space */
int send_wait_send (lua_State *L) {
  static const struct send_kind kind = { "send", 0, 2, address_queue,
                                         plainly_done };
  struct queue *q = mail_address_check(L)->q;
  return send_wait_as(L, loop_enter(L, state_of(L)->loop, "address:send"), q,
                      &kind);
}


static const luaL_Reg none[] = { {NULL, NULL} };

static const luaL_Reg waiting_send_meta[] = {
  {"__gc", waiting_send_gc},
  {NULL, NULL}
};

static const luaL_Reg methods[] = {
  {"send", send_wait_send},
  {NULL, NULL}
};

void send_wait_open (lua_State *L) {
  class_define(L, CLASS_WAITING_SEND, none, waiting_send_meta, NULL);
  class_extend(L, CLASS_ADDRESS, methods);
}
