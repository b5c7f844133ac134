/*
** wait: queues of waiters, their turns, and the waiters of selects. (How
** a wait is performed is inline, in the header.)
**
** A wakeup must not be lost: whatever takes a node with a turn out of play
** wakes the next one.
*/

#include "compat.h"
#include "task/wait.h"

#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"


/* ---- selects ----------------------------------------------------------- */

void loop_notify (struct loop *loop, struct task *t) {
  t->task_flags |= TASKF_NOTIFIED;
  if (t->wait == WAIT_PARK) loop_wake(loop, t);
}

void select_waiter_wake (struct loop *loop, struct select_waiter *e) {
  e->queue = NULL;
  e->woken = true;
  if (e->ring) e->ring->held--;
  loop_notify(loop, e->task);
}

void select_waiter_leave (struct select_waiter *e) {
  if (e->queue) {
    waitq_remove(e->queue, &e->node);
    e->queue = NULL;
    if (e->ring) e->ring->held--;
  }
  if (e->turnq) turnq_end_turn(e->turnq, &e->node);
  select_waiter_clear_chosen(e);  /* guard: it is not its task's `chosen` */
}

void select_waiter_clear_chosen (struct select_waiter *e) {
  struct task *t = e->task;
  if ((t->task_flags & TASKF_CHOSEN) && t->chosen == e) {
    t->task_flags &= (uint8_t)~TASKF_CHOSEN;
    t->has_turn = false;
  }
}

static struct op *op_of (const struct select_waiter *e, struct ring *r) {
  return r->open && r->fork_id == fork_id() && e->token
         ? op_find(&r->ops, e->token) : NULL;
}

struct op *select_waiter_op (const struct select_waiter *e, struct ring *r) {
  struct op *op = op_of(e, r);
  return op && op->state == OP_FLYING ? op : NULL;
}

void select_waiter_drop (struct select_waiter *e, struct ring *r, bool stay) {
  struct op *op = op_of(e, r), *flying = select_waiter_op(e, r);
  if (op) ring_drop(r, op);
  if (flying) ring_cancel(r, flying);
  if (flying && stay) flying->select_waiter = e;
  else e->token = 0;
}


/* ---- queues ------------------------------------------------------------ */

/* Was this waiter woken, and has not run since? NULL: no. */
static bool turnq_has_turn (const struct turnq *q, struct wait_node *n) {
  const struct task *t = (const struct task *)n;
  const struct select_waiter *e = select_waiter_of(n);
  if (n == NULL)
    return false;
  return e ? e->has_turn && e->turnq == q : t->has_turn && t->turnq == q;
}

bool turnq_may_take (const struct turnq *q, struct wait_node *n,
                     size_t items) {
  const struct wait_node *first = waitq_first(&q->waiting);
  return turnq_has_turn(q, n) || (items > q->turns && (!first || first == n));
}

static void set_turn (struct wait_node *n, bool turn) {
  if (n->co) ((struct task *)n)->has_turn = turn;
  else select_waiter_of(n)->has_turn = turn;
}

/* A waiter that has left the queue is to be woken: it has a turn. */
static void turnq_begin_turn (struct turnq *q, struct wait_node *n) {
  set_turn(n, true);
  q->turns++;
}

bool turnq_end_turn (struct turnq *q, struct wait_node *n) {
  if (!turnq_has_turn(q, n))
    return false;
  set_turn(n, false);
  if (q->turns > 0) q->turns--;  /* (0 after turnq_wake_all) */
  return true;
}

void waiter_wake (struct loop *loop, struct wait_node *n) {
  struct task *t = (struct task *)n;
  if (n->co == NULL)
    select_waiter_wake(loop, (struct select_waiter *)n);
  else {
    if (t->wait == WAIT_MESSAGE) t->ring->held--;
    loop_wake(loop, t);
  }
}

void turnq_wake (struct loop *loop, struct turnq *q) {
  struct wait_node *n = loop ? waitq_pop(&q->waiting) : NULL;
  if (n == NULL)
    return;
  turnq_begin_turn(q, n);
  waiter_wake(loop, n);
}

void waitq_wake_all (struct loop *loop, struct waitq *q) {
  struct wait_node *n;
  if (loop == NULL)  /* guard: the state closes, and the loop went first */
    waitq_drop_all(q);
  while ((n = waitq_pop(q)) != NULL) waiter_wake(loop, n);
}

void turnq_wake_all (struct loop *loop, struct turnq *q) {
  waitq_wake_all(loop, &q->waiting);
  q->turns = 0;
}

void wait_join_plain (struct blocking *b, struct waitq *q,
                      enum task_wait wait, void *on) {
  struct select_waiter *e = select_waiter_of(b->node);
  waitq_add(q, b->node);
  b->wait = wait;
  b->on = on;
  if (e) {
    e->queue = q;
    e->woken = false;
    if (e->ring) e->ring->held++;
  }
}

void wait_join (struct blocking *b, struct turnq *q, enum task_wait wait) {
  struct select_waiter *e = select_waiter_of(b->node);
  bool front = turnq_end_turn(q, b->node);
  wait_join_plain(b, &q->waiting, wait, q);
  if (front) {  /* its wakeup was spurious: it is still the first */
    waitq_remove(&q->waiting, b->node);
    waitq_add_first(&q->waiting, b->node);
  }
  if (e) e->turnq = q;
}


/* ---- items ------------------------------------------------------------- */

void items_open (struct items *i, size_t count) {
  i->count = count;
  i->fork_id = fork_id();
}

/* (A select waiter joins again when its event is tried next.) */
static void take_out (struct waitq *q, struct wait_node *n) {
  struct select_waiter *e = select_waiter_of(n);
  waitq_remove(q, n);
  if (e) {
    e->queue = NULL;
    e->woken = true;
  }
}

void waitq_drop_all (struct waitq *q) {
  while (q->last) take_out(q, q->last);
}

/* (A task with a turn is ready, or runs.) */
static void forget_turn (const struct items *i, struct task *t) {
  if (t->has_turn && t->wait == WAIT_ITEM && t->items == i)
    t->has_turn = false;
}

void items_end (struct loop *loop, struct items *i) {
  waitq_drop_all(&i->q.waiting);
  if (loop && i->q.turns > 0) {
    for (struct wait_node *n = loop->first; n; n = n->next)
      forget_turn(i, (struct task *)n);
    if (loop->current) forget_turn(i, loop->current);
  }
  i->ended = true;
}

void items_join (struct blocking *b, struct items *i) {
  struct select_waiter *e = select_waiter_of(b->node);
  wait_join(b, &i->q, WAIT_ITEM);
  if (e) e->items = i;
}

/* A waiter that has ended, is cancelled, or has chosen another event takes
** nothing; nor does one of a select that had no memory to cancel its events.
*/
static bool can_commit (const struct loop *loop, struct wait_node *n) {
  const struct select_waiter *e = select_waiter_of(n);
  const struct task *t = e ? e->task : (const struct task *)n;
  return loop_has(loop, t) && !(t->task_flags & TASKF_CANCELLED)
         && (e == NULL || ((t->wait == WAIT_PARK || t->wait == WAIT_YIELD)
                           && !(t->task_flags & TASKF_CHOSEN)));
}

struct wait_node *items_first (struct loop *loop, struct waitq *q,
                               const struct task *own) {
  struct wait_node *n = waitq_first(q), *next;
  for (; n; n = next) {
    struct select_waiter *e = select_waiter_of(n);
    next = n == q->last ? NULL : n->next;
    if (e && e->task == own)
      continue;
    if (can_commit(loop, n))
      return n;
    take_out(q, n);
  }
  return NULL;
}

bool items_may_take (struct loop *loop, struct items *i, struct wait_node *n) {
  struct wait_node *first = NULL;
  if (turnq_has_turn(&i->q, n))
    return true;
  if (items_free(i) == 0)
    return false;
  if (loop) first = items_first(loop, &i->q.waiting, loop->current);
  return first == NULL || first == n;
}

void items_commit (struct loop *loop, struct wait_node *n) {
  struct select_waiter *e = select_waiter_of(n);
  if (e) {
    e->task->task_flags |= TASKF_CHOSEN;
    e->task->chosen = e;
  }
  waiter_wake(loop, n);
}

void items_wake (struct loop *loop, struct items *i) {
  struct wait_node *n = loop ? items_first(loop, &i->q.waiting, loop->current)
                             : NULL;
  if (n) {
    struct select_waiter *e = select_waiter_of(n);
    waitq_remove(&i->q.waiting, n);
    turnq_begin_turn(&i->q, n);
    if (e) e->task->has_turn = true;
    items_commit(loop, n);
  }
  else if (loop && i->q.waiting.last)
    loop_notify(loop, loop->current);  /* guard: its own events are passed */
}

void items_end_turn (struct items *i, struct wait_node *n) {
  struct select_waiter *e = select_waiter_of(n);
  if (n && turnq_end_turn(&i->q, n) && e) select_waiter_clear_chosen(e);
}

void items_cancel (struct loop *loop, struct items *i, struct wait_node *n) {
  items_end_turn(i, n);
  if (items_free(i) > 0) items_wake(loop, i);
}

/* The turn of a channel's or a semaphore's waiter. False: it is another's. */
static bool end_item_turn (struct loop *loop, struct task *t) {
  if (t->wait == WAIT_ITEM)
    items_cancel(loop, t->items, &t->node);
  else if (t->task_flags & TASKF_CHOSEN) {
    struct select_waiter *e = t->chosen;
    items_cancel(loop, e->items, &e->node);
  }
  else
    return false;
  t->has_turn = false;
  return true;
}

void loop_end_turns (struct loop *loop, struct task *t) {
  bool queued = t->wait == WAIT_QUEUE || t->wait == WAIT_MESSAGE;
  if (end_item_turn(loop, t))
    return;
  for (struct object_waitq *w = loop->state->waitqs; w; w = w->next) {
    if (queued ? turnq_end_turn(&w->q, &t->node)
               : object_waitq_unhold(w, &t->node)) turnq_wake(loop, &w->q);
  }
  for (struct ring *r = loop->state->rings; r && queued; r = r->next)
    if (turnq_end_turn(&r->receivers, &t->node))
      turnq_wake(loop, &r->receivers);
  t->has_turn = false;
}

int wait_iterate (lua_State *L, lua_CFunction next) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, next, 1);
  lua_pushvalue(L, 1);
  return 2;
}

int wait_next (lua_State *L, int n) {
  if (n == 3 && lua_isnil(L, -3)) {
    if (lua_tointeger(L, -1) == EBADF) {
      lua_pushnil(L);  /* closed: the end of the loop */
      return 1;
    }
    lua_pop(L, 1);
    return raise_here(L);
  }
  return n;
}


/* ---- queues of objects ------------------------------------------------- */

void object_waitq_open (struct state *s, struct object_waitq *waitq) {
  waitq->next = s->waitqs;
  waitq->back = &s->waitqs;
  if (waitq->next) waitq->next->back = &waitq->next;
  s->waitqs = waitq;
}

void object_waitq_close (struct object_waitq *waitq) {
  if (waitq->back) {
    *waitq->back = waitq->next;
    if (waitq->next) waitq->next->back = waitq->back;
    waitq->back = NULL;
  }
}

void object_waitq_hold (struct object_waitq *waitq, struct task *t) {
  waitq->holder = t;
  t->has_turn = true;
}

bool object_waitq_unhold (struct object_waitq *waitq,
                          const struct wait_node *n) {
  struct task *t = waitq->holder;
  if (t == NULL || &t->node != n)
    return false;
  waitq->holder = NULL;
  t->has_turn = false;
  return true;
}

void object_waitq_serve (struct object_waitq *waitq, struct op *op) {
  op->waitq = waitq;
  op->results.owned = true;
}

/* A request in flight that no task waits for: a socket's, for the next task;
** or of a closed socket, with only a notification pending. */
static bool unattended (const struct op *op) {
  const unsigned left = OP_LOOPED | OP_DROPPED | OP_NOTIFYING;
  const struct object_waitq *waitq = op->waitq;
  return op->state == OP_FLYING && op->waiter == NULL
         && (waitq ? waitq->q.waiting.last == NULL
                   : (op->op_flags & left) == left);
}

unsigned loop_unattended (const struct loop *loop) {
  struct op_table *ops = &loop->ring->ops;
  unsigned n = 0;
  for (struct op *op = op_each(ops, NULL); op; op = op_each(ops, op))
    if (unattended(op)) n++;
  return n;
}

void loop_cancel_unattended (struct loop *loop) {
  struct op_table *ops = &loop->ring->ops;
  for (struct op *op = op_each(ops, NULL); op; op = op_each(ops, op))
    if (unattended(op) && !(op->op_flags & OP_CANCEL))
      ring_cancel(loop->ring, op);
}
