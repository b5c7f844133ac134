/*
** mail_address: see the header. What must not break: an address is counted as
** a sender once, and not any more when its count of the queue is released; its
** close wakes what waits through it.
*/

#include "compat.h"
#include "worker/mail_address.h"

#include "base/fork_id.h"


struct mail_address *mail_address_at (lua_State *L, const struct state *s,
                                      int index) {
  struct mail_address *a = class_at(L, s, index, CLASS_ADDRESS);
  return a ? a : class_at(L, s, index, CLASS_WORKER);
}

void mail_address_check_fork (lua_State *L, const struct queue *q) {
  if (q == NULL)
    luaL_argerror(L, 1, "attempt to use a closed address");
  if (q->fork_id != fork_id())
    luaL_argerror(L, 1, "this address belongs to another process: mailboxes "
                  "join the states of one process");
}

struct mail_address *mail_address_check (lua_State *L) {
  struct mail_address *a = mail_address_at(L, state_of(L), 1);
  if (a == NULL)
    luaL_typeerror(L, 1, class_name(CLASS_ADDRESS));
  mail_address_check_fork(L, a->q);
  return a;
}


struct mail_address *mail_address_new (lua_State *L) {
  struct mail_address *a = class_new(L, CLASS_ADDRESS, sizeof(*a), 0);
  a->state = state_of(L);
  return a;
}

void mail_address_take (struct mail_address *a, struct queue *q) {
  a->q = q;
  queue_own(q, a->state);
}

void mail_address_set (struct mail_address *a, struct queue *q) {
  mail_address_take(a, q);
  queue_add_sender(q);
}

void address_wait_begin (struct mail_address *a, struct address_wait *w) {
  w->next = a->waits;
  w->back = &a->waits;
  if (w->next) w->next->back = &w->next;
  a->waits = w;
}

void address_wait_end (struct address_wait *w) {
  if (w->back == NULL)
    return;
  *w->back = w->next;
  if (w->next) w->next->back = w->back;
  w->back = NULL;
}

void mail_address_drop (struct mail_address *a) {
  struct queue *q = a->q;
  a->q = NULL;
  while (a->waits) address_wait_end(a->waits);
  if (q) {
    queue_drop_sender(q);
    queue_disown(q, a->state);
    refblock_release(&q->block);
  }
}

static int close_address (lua_State *L, struct mail_address *a) {
  struct address_wait *w;
  while ((w = a->waits) != NULL) {
    address_wait_end(w);
    w->closed = true;
    w->woken(w, state_of(L)->loop);
  }
  mail_address_drop(a);
  lua_pushboolean(L, 1);
  return 1;
}

int mail_address_close (lua_State *L) {
  struct mail_address *a = mail_address_at(L, state_of(L), 1);
  if (a == NULL)
    luaL_typeerror(L, 1, class_name(CLASS_ADDRESS));
  return close_address(L, a);
}

/* (Of an address itself, not of a worker.) */
static int mail_address_end (lua_State *L) {
  return close_address(L, class_check(L, 1, CLASS_ADDRESS));
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
  {"close", mail_address_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", mail_address_gc},
  {"__close", mail_address_end},
  {"__tostring", mail_address_tostring},
  {NULL, NULL}
};

void mail_address_open (lua_State *L) {
  class_define(L, CLASS_ADDRESS, methods, meta, NULL);
}
