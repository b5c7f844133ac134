/*
** monitor: see the header. The queue knows it as a queue_sender without
** a message. What must not break: the object clears `owner` of that before it
** is freed.
*/

#include "compat.h"
#include "worker/monitor.h"

#include "lua/errors.h"
#include "task/event.h"
#include "task/ring_watch.h"
#include "worker/mail_address.h"

#include <errno.h>

struct monitor {           /* the userdata */
  struct object_waitq waitq;  /* first: the tasks that wait */
  struct queue *q;         /* counted; NULL: never made */
  struct queue_sender *s;  /* NULL: the queue does not know it yet */
  bool fired;
};


static void monitor_woken (void *owner, struct loop *loop) {
  struct monitor *m = owner;
  waitq_wake_all(loop, &m->waitq.q.waiting);
}

static void describe_monitor (lua_State *L, const struct object_waitq *waitq,
                              lua_State *co) {
  (void)co; (void)waitq;
  lua_pushliteral(L, "for the end of a mailbox");
}

static int monitor_try (lua_State *L, struct task *t,
                        struct wait_node *node) {
  struct monitor *m = class_check(L, 1, CLASS_MONITOR);
  (void)t; (void)node;
  mail_address_check_fork(L, m->q);
  /* The queue itself, not what `s` was told: it is told later. */
  if (m->fired || !queue_is_closed(m->q))
    return 0;
  m->fired = true;
  lua_pushboolean(L, 1);
  return 1;
}

/* Let the queue know it, once. */
static int monitor_begin (lua_State *L, struct monitor *m) {
  struct doorbell *doorbell = loop_doorbell(state_of(L)->loop);
  struct queue_sender *s = doorbell ? queue_sender_new(NULL, 0, 0) : NULL;
  if (s == NULL)
    return fail(L, doorbell ? ENOMEM : errno, "monitor");
  s->owner = m;
  s->woken = monitor_woken;
  m->s = s;
  queue_monitor(m->q, s, doorbell);
  return 0;
}

static int monitor_block (lua_State *L, struct task *t, struct blocking *b) {
  struct monitor *m = class_check(L, 1, CLASS_MONITOR);
  int n;
  mail_address_check_fork(L, m->q);
  if (m->s == NULL && (n = monitor_begin(L, m)) > 0)
    return n;
  if ((n = monitor_try(L, t, b->node)) > 0)
    return n;  /* guard: it was closed before the queue knew this one */
  wait_join_plain(b, &m->waitq.q.waiting, WAIT_QUEUE, &m->waitq);
  return 0;
}

static void monitor_cancel (lua_State *L, struct task *t,
                            struct wait_node *node) {
  (void)L; (void)t; (void)node;
}

static const struct wait_kind monitor_kind = {
  "monitor", monitor_try, monitor_block, monitor_cancel, WAITS_RUNG, NULL
};

/* address:monitor() */
int monitor_push (lua_State *L) {
  struct monitor *m;
  mail_address_check(L);
  lua_settop(L, 1);
  m = class_new(L, CLASS_MONITOR, sizeof(*m), 0);
  m->q = mail_address_check(L)->q;  /* (as it is now) */
  refblock_retain(&m->q->block);
  queue_own(m->q, state_of(L));
  m->waitq.what = "for the end of a mailbox";
  m->waitq.describe = describe_monitor;
  m->waitq.fd = -1;
  lua_replace(L, 1);
  return event_push(L, &monitor_kind);
}

static int monitor_gc (lua_State *L) {
  struct monitor *m = class_check(L, 1, CLASS_MONITOR);
  struct queue *q = m->q;
  if (q == NULL)
    return 0;
  m->q = NULL;
  if (m->s) {
    m->s->owner = NULL;  /* guard: it may be in the ready list */
    queue_unmonitor(q, m->s);
    refblock_release(&m->s->block);
  }
  queue_disown(q, state_of(L));
  refblock_release(&q->block);
  return 0;
}

static int monitor_tostring (lua_State *L) {
  const struct monitor *m = class_check(L, 1, CLASS_MONITOR);
  lua_pushfstring(L, "the end of mailbox %p", (void *)m->q);
  return 1;
}


static const luaL_Reg none[] = { {NULL, NULL} };

static const luaL_Reg meta[] = {
  {"__gc", monitor_gc},
  {"__tostring", monitor_tostring},
  {NULL, NULL}
};

static const luaL_Reg methods[] = {
  {"monitor", monitor_push},
  {NULL, NULL}
};

void monitor_open (lua_State *L) {
  class_define(L, CLASS_MONITOR, none, meta, NULL);
  class_extend(L, CLASS_ADDRESS, methods);
}
