/*
** wall_timer: see the header. What must not break: whatever takes the first
** timer out while no timeout is in flight notifies the next one's task.
*/

#include "compat.h"
#include "task/wall_timer.h"

#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "api/prep_build.h"
#include "api/ring_object.h"
#include "task/task.h"
#include "task/wait.h"

#include <stdlib.h>
#include <time.h>

/* Seconds as a float are exact to some 120 ns. So much later a time has come
** by uring.time() as well. */
#define ROUNDING 512

struct wall {              /* of a loop */
  struct object_waitq q;   /* first: of the timeouts, for `completed` */
  struct heap heap;
  uint64_t token;          /* of the timeout in flight, or 0 */
  int64_t set_to;          /* when that ends, or its successor has to */
};

struct wall_timer {        /* the userdata, which keeps its task */
  struct timer timer;      /* first; in the heap of `wall` */
  struct wall *wall;
  struct task *task;
  double time;
};

static double wall_now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (double)((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec) / 1e9;
}

/* uring.time(): seconds of CLOCK_REALTIME, since 1970 */
int wall_time (lua_State *L) {
  lua_pushnumber(L, wall_now());
  return 1;
}


/* ---- the heap ---------------------------------------------------------- */

static void notify (struct loop *loop, struct timer *t) {
  struct task *task = ((struct wall_timer *)t)->task;
  if (loop_has(loop, task)) loop_notify(loop, task);
}

/* The timeout has ended, by its time or a cancel: the times that have come.
** And the first of the others is to set the next one. (The clock may have been
** set since: then its task finds that the time has not come.) */
static void wall_completed (struct loop *loop, struct object_waitq *waitq,
                            const struct op *op, int32_t res) {
  struct wall *w = (struct wall *)waitq;
  double now = wall_now();
  struct timer *t;
  (void)res;
  if (op->token != w->token)
    return;
  w->token = 0;
  while ((t = heap_top(&w->heap)) != NULL) {
    notify(loop, t);
    if (((struct wall_timer *)t)->time > now) break;
    heap_remove(&w->heap, t);
  }
}

static struct wall *wall_of (struct loop *loop) {
  if (loop->wall == NULL
      && (loop->wall = calloc(1, sizeof(*loop->wall))) != NULL) {
    loop->wall->q.what = "for a time";
    loop->wall->q.fd = -1;
    loop->wall->q.completed = wall_completed;
  }
  return loop->wall;
}

void wall_end (struct loop *loop) {
  struct wall *w = loop->wall;
  struct op *op = w && w->token && loop->ring->open
                  ? op_find(&loop->ring->ops, w->token) : NULL;
  if (op) op->waitq = NULL;  /* (its queue ends) */
  while (w && w->heap.n > 0) heap_remove(&w->heap, heap_top(&w->heap));
  if (w) heap_free(&w->heap);
  free(w);
  loop->wall = NULL;
}


/* ---- the timeout ------------------------------------------------------- */

static int wall_request (struct loop *loop, struct wall *w, int64_t when) {
  struct __kernel_timespec ts = { when / 1000000000, when % 1000000000 };
  const struct copied c = { &ts, sizeof(ts), PLACE(addr) };
  struct request q = request_of(&kind_timeout, -1);
  struct op *op;
  int rc;
  q.sqe.timeout_flags = IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME;
  if (!request_copy(loop->state->account, &q, &c, 1))
    return -ENOMEM;
  rc = ring_push_one(loop->ring, &q, OP_LOOPED, &op);
  refblock_release(q.pin[OP_PIN_MEMORY]);  /* (the operation has its count) */
  if (rc < 0)
    return rc;
  object_waitq_serve(&w->q, op);
  w->token = op->token;
  w->set_to = when;
  ring_drop(loop->ring, op);  /* (its result is for wall_completed) */
  return 0;
}

/* A timeout must end with the first timer: 0 or -errno. One that would end
** later is cancelled, and when that is done the first timer's task sets
** another. */
static int wall_set (struct loop *loop, struct wall *w) {
  int64_t when = w->heap.at[0].when;
  struct op *op;
  if (w->token == 0)
    return wall_request(loop, w, when);
  if (when < w->set_to) {
    op = op_find(&loop->ring->ops, w->token);
    if (op) ring_cancel(loop->ring, op);
    w->set_to = when;
  }
  return 0;
}

static void wall_timer_stop (struct loop *loop, struct wall_timer *t) {
  struct timer *first;
  if (t->timer.place == 0)
    return;
  heap_remove(&t->wall->heap, &t->timer);
  first = heap_top(&t->wall->heap);
  if (first && loop && t->wall == loop->wall && t->wall->token == 0)
    notify(loop, first);  /* guard: it was to be set by this one */
}

/* Raises if it cannot be done. */
static void wall_timer_start (lua_State *L, struct loop *loop,
                              struct wall_timer *t) {
  double ns = t->time * 1e9;
  int rc;
  if (t->timer.place == 0) {
    if (!heap_reserve(&t->wall->heap, 1))
      luaL_error(L, "not enough memory for a time");
    heap_add(&t->wall->heap, &t->timer,
             clock_add(clock_from_seconds(t->time), ns > 0 ? ROUNDING : 0));
  }
  rc = wall_set(loop, t->wall);
  if (rc < 0) {
    wall_timer_stop(loop, t);
    ring_push_failed(L, loop->ring, rc);
    luaL_error(L, "%s", lua_tostring(L, -2));
  }
}


/* ---- for lua/uring/time.lua -------------------------------------------- */

/* wall_timer(time): notifies the running task */
static int wall_timer_new (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop ? loop->current : NULL;
  struct wall_timer *timer;
  if (t == NULL)
    return luaL_error(L, "an event is for uring.select, in a task");
  timer = class_new(L, CLASS_WALL_TIMER, sizeof(*timer), 0);
  task_push(L, t);
  class_keep(L, -2);
  timer->task = t;
  timer->time = luaL_checknumber(L, 1);
  timer->wall = wall_of(loop);
  if (timer->wall == NULL)
    return luaL_error(L, "not enough memory for a time");
  wall_timer_start(L, loop, timer);
  return 1;
}

/* wall_timer_again(timer): the task was notified before its time */
static int wall_timer_again (lua_State *L) {
  struct loop *loop = loop_here(L);
  struct wall_timer *t = class_check(L, 1, CLASS_WALL_TIMER);
  if (loop && t->wall == loop->wall) wall_timer_start(L, loop, t);
  return 0;
}

static int wall_timer_close (lua_State *L) {
  struct wall_timer *t = class_test(L, 1, CLASS_WALL_TIMER);
  if (t) wall_timer_stop(state_of(L)->loop, t);
  return 0;
}


static const luaL_Reg none[] = { {NULL, NULL} };

static const luaL_Reg meta[] = {
  {"__gc", wall_timer_close},
  {NULL, NULL}
};

static const luaL_Reg functions[] = {
  {"wall_timer", wall_timer_new},
  {"wall_timer_again", wall_timer_again},
  {"wall_timer_close", wall_timer_close},
  {NULL, NULL}
};

void wall_timer_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
}

void wall_timer_open (lua_State *L) {
  class_define(L, CLASS_WALL_TIMER, none, meta, NULL);
}
