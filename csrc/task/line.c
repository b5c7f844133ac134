#include "compat.h"
#include "task/line.h"

#include "base/clock.h"
#include "base/proc.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"


/* ---- who waits for the same -------------------------------------------- */

void loop_call (struct loop *loop, struct task *t) {
  t->marks |= MARK_CALLED;
  if (t->wait == WAIT_PARK) loop_wake(loop, t);
}

void loop_call_first (struct loop *loop, struct seats *line) {
  struct seat *s = seats_take(line);
  if (s->co)
    loop_wake(loop, (struct task *)s);
  else
    ear_call(loop, (struct ear *)s);
}

void loop_call_all (struct loop *loop, struct seats *line) {
  while (line->last) loop_call_first(loop, line);
}


/* ---- ears -------------------------------------------------------------- */

void ear_call (struct loop *loop, struct ear *e) {
  e->line = NULL;
  e->called = true;
  if (e->ring) e->ring->held--;
  loop_call(loop, e->task);
}

void ear_sit (struct ear *e, struct seats *line) {
  seats_add(line, &e->seat);
  e->line = line;
  e->called = false;
  if (e->ring) e->ring->held++;
}

void ear_leave (struct ear *e) {
  if (e->line) {
    seats_remove(e->line, &e->seat);
    e->line = NULL;
    if (e->ring) e->ring->held--;
  }
}

static struct op *op_of (const struct ear *e, struct ring *r) {
  return r->open && r->proc == proc_id() && e->token
         ? op_find(&r->ops, e->token) : NULL;
}

struct op *ear_op (const struct ear *e, struct ring *r) {
  struct op *op = op_of(e, r);
  return op && op->state == OP_FLYING ? op : NULL;
}

void ear_drop (struct ear *e, struct ring *r, bool stay) {
  struct op *op = op_of(e, r), *flying = ear_op(e, r);
  if (op) ring_drop(r, op);
  if (flying) ring_cancel(r, flying);
  if (flying && stay) flying->waiter = e;
  else e->token = 0;
}


/* ---- lines ------------------------------------------------------------- */

void line_open (struct state *s, struct line *line) {
  line->next = s->lines;
  line->back = &s->lines;
  if (line->next) line->next->back = &line->next;
  s->lines = line;
}

void line_hold (struct loop *loop, struct line *line, struct task *t) {
  line->holder = t;
  loop->nholds++;
}

bool line_let_go (struct loop *loop, struct line *line,
                  const struct task *t) {
  if (line->holder != t)
    return false;
  line->holder = NULL;
  loop->nholds--;
  return true;
}

void loop_end_holds (struct loop *loop, const struct task *t) {
  struct line *line = loop->nholds > 0 ? loop->state->lines : NULL;
  for (; line; line = line->next)
    if (line_let_go(loop, line, t)) loop_wake_line(loop, line);
}

void line_serve (struct line *line, struct op *op) {
  op->line = line;
  op->results.owned = true;
}

void line_close (struct line *line) {
  if (line->back) {
    *line->back = line->next;
    if (line->next) line->next->back = line->back;
    line->back = NULL;
  }
}

void loop_wake_lines (struct loop *loop) {
  if (!loop->passed_over)
    return;
  loop->passed_over = false;
  for (struct line *line = loop->state->lines; line; line = line->next)
    loop_wake_line(loop, line);
}

int loop_wait_line (lua_State *L, struct task *t, struct line *line,
                    int64_t deadline, lua_KContext ctx, lua_KFunction k) {
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  seats_add(&line->seats, &t->seat);
  return loop_wait(L, t, WAIT_LINE, line, deadline, ctx, k);
}

void loop_wake_line (struct loop *loop, struct line *line) {
  if (loop && line->seats.last) loop_call_first(loop, &line->seats);
}

void loop_wake_all (struct loop *loop, struct line *line) {
  loop_call_all(loop, &line->seats);
}


/* ---- what nobody waits for --------------------------------------------- */

/* A socket's request that goes on for whoever comes next; or, of a socket that
** was closed, one that only has memory to give back. */
static bool unattended (const struct op *op) {
  const unsigned left = OP_LOOPED | OP_DROPPED | OP_TOLD;
  const struct line *line = op->line;
  return op->state == OP_FLYING && op->waiter == NULL
         && (line ? line->seats.last == NULL : (op->marks & left) == left);
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
    if (unattended(op) && !(op->marks & OP_CANCEL))
      ring_cancel(loop->ring, op);
}
