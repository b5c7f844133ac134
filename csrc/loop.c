#include "compat.h"
#include "loop.h"

#include "args.h"
#include "clock.h"
#include "errors.h"
#include "options.h"
#include "proc.h"
#include "ring_lua.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#define ENTRIES 256
#define FAIR_TURNS 64
#define RETRY_NS 1000000


/* ---- the ready queue --------------------------------------------------- */

static void ready (struct loop *loop, struct task *t) {
  t->state = TASK_READY;
  t->next = NULL;
  if (loop->last) loop->last->next = t; else loop->first = t;
  loop->last = t;
}

void loop_wake (struct loop *loop, struct task *t) {
  if (t->state != TASK_WAITING)
    return;
  heap_remove(&loop->heap, &t->timer);
  if (t->wait == WAIT_JOIN) loop->njoining--;
  t->on = NULL;  /* guard: what it waited for has no more to do with it */
  ready(loop, t);
}


/* ---- who waits for the same -------------------------------------------- */

static void enlist (struct task **first, struct task **last,
                    struct task *t) {
  t->next = NULL;
  t->prev = *last;
  if (*last) (*last)->next = t; else *first = t;
  *last = t;
}

static void delist (struct task **first, struct task **last,
                    struct task *t) {
  if (t->prev) t->prev->next = t->next; else *first = t->next;
  if (t->next) t->next->prev = t->prev; else *last = t->prev;
  t->next = t->prev = NULL;
}

void loop_await_message (struct task *t, struct ring *r) {
  struct watch *w = r->watch;
  enlist(&w->first, &w->last, t);
  r->held++;
}

static void hand_over (struct watch *w, const struct arrival *a) {
  struct task *t = w->first;
  delist(&w->first, &w->last, t);
  w->ring->held--;
  w->ring->arrivals.promised++;
  t->data = a->data;
  t->res = a->res;
  t->flags = a->flags;
  t->marks |= MARK_HANDED;
  loop_wake(w->loop, t);
}

void loop_message_accepted (struct task *t) {
  t->marks &= (uint8_t)~MARK_HANDED;
  if (t->ring->open) t->ring->arrivals.promised--;
}

void loop_message_back (struct task *t) {
  struct arrival a = {0};
  struct watch *w = t->ring->watch;
  t->marks &= (uint8_t)~MARK_HANDED;
  if (!t->ring->open)
    return;
  a.data = t->data;
  a.res = t->res;
  a.flags = t->flags;
  ring_put_back(t->ring, &a);  /* guard: a cancelled task loses nothing */
  if (w && w->first && ring_take_message(t->ring, &a))
    hand_over(w, &a);
}


/* ---- what the rings tell ----------------------------------------------- */

static bool on_completion (struct ring *r, struct op *op, int32_t res,
                           uint32_t flags, bool last) {
  struct task *t = op->waiter;
  struct watch *w = r->watch;
  if (t == NULL)
    return false;
  if (w == NULL) {  /* the loop is gone, and with it whoever waited */
    op->waiter = NULL;
    op->marks |= OP_DROPPED;
    return false;
  }
  switch (t->wait) {
    case WAIT_AWAIT:
      if (!last)
        return true;
      t->res = res;
      t->flags = flags;
      t->disposal = op->disposal;
      op_free(&r->ops, op);
      loop_wake(w->loop, t);
      return true;
    case WAIT_CHAIN: {
      struct chain *c = t->on;
      for (unsigned i = 0; last && i < c->n; i++) {
        struct link *l = &c->link[i];
        if (l->token == op->token) {
          l->res = res;
          l->flags = flags;
          l->token = 0;
          op_free(&r->ops, op);
          if (!l->silent && --c->pending == 0) loop_wake(w->loop, t);
          break;
        }
      }
      return true;
    }
    default:  /* WAIT_OPERATION: the result is kept until the task takes it */
      op->waiter = NULL;
      loop_wake(w->loop, t);
      return false;
  }
}

static bool on_message (struct ring *r, uint64_t data, int32_t res,
                        uint32_t flags) {
  struct watch *w = r->watch;
  struct arrival a = {0};
  if (w == NULL || w->first == NULL)
    return false;
  a.data = data;
  a.res = res;
  a.flags = flags;
  hand_over(w, &a);
  return true;
}

/* The poll of a watched ring's eventfd. */
static void on_internal (struct ring *r, struct op *op, int32_t res,
                         uint32_t flags, bool last) {
  struct watch *w = op->waiter;
  (void)r; (void)res; (void)flags;
  w->rung = true;
  if (last) {
    w->poll = NULL;
    if (w->ring == NULL) free(w);
  }
}

/* Stop watching. The record goes when its poll has ended. */
static void unwatch (struct watch *w) {
  struct loop *loop = w->loop;
  struct watch **p = &loop->watches;
  w->ring->watch = NULL;
  w->ring = NULL;
  if (w == &loop->own)
    return;
  while (*p != w) p = &(*p)->next;
  *p = w->next;
  close(w->eventfd);
  if (w->poll && loop->ring->open) ring_cancel(loop->ring, w->poll);
  else free(w);
}

static void on_closed (struct ring *r) {
  struct watch *w = r->watch;
  if (w == NULL)
    return;
  while (w->first) {
    struct task *t = w->first;
    delist(&w->first, &w->last, t);
    r->held--;
    t->res = -EBADF;
    loop_wake(w->loop, t);
  }
  unwatch(w);
}

static bool on_unwatch (struct ring *r) {
  if (r->held > 0 || r->loops_own)
    return false;
  sys_register(r->io.ring_fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
  unwatch(r->watch);
  return true;
}

static const struct ring_hooks hooks = {
  on_completion, on_message, on_internal, on_closed, on_unwatch
};


/* ---- other rings ------------------------------------------------------- */

int loop_watch (struct loop *loop, struct ring *r) {
  struct watch *w;
  int rc;
  if (r->watch)
    return 0;
  if (r->eventfd)
    return -EBUSY;
  w = calloc(1, sizeof(*w));
  if (w == NULL)
    return -ENOMEM;
  w->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (w->eventfd < 0) {
    rc = -errno;
    free(w);
    return rc;
  }
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_EVENTFD, &w->eventfd, 1);
  if (rc < 0) {
    close(w->eventfd);
    free(w);
    return rc;
  }
  w->loop = loop;
  w->ring = r;
  w->rung = true;  /* what came before the eventfd did not ring */
  w->next = loop->watches;
  loop->watches = w;
  r->watch = w;
  return 0;
}

static void arm (struct loop *loop, struct watch *w) {
  struct io_uring_sqe sqe;
  memset(&sqe, 0, sizeof(sqe));
  io_uring_prep_poll_multishot(&sqe, w->eventfd, POLLIN);
  if (ring_push_internal(loop->ring, &sqe, w, &w->poll) < 0)
    loop->retry = true;
}

/* Submit and take on the other rings, as far as there is a reason to. */
static void stir (struct loop *loop) {
  for (struct watch *w = loop->watches, *next; w; w = next) {
    struct ring *r = w->ring;
    next = w->next;
    if (w->poll == NULL)  /* guard: armed again whenever it has ended */
      arm(loop, w);
    if (w->rung || ring_restless(r) || sys_cq_ready(&r->io) > 0) {
      int rc = ring_enter(r, 0, SYS_FOREVER);
      w->rung = false;
      if (ring_reap(r) < 0 || rc == -EAGAIN || rc == -EBUSY) {
        w->rung = true;
        loop->retry = true;
      }
    }
  }
}


/* ---- ending a wait from outside ---------------------------------------- */

/* Make `t` leave what it waits for. Where the kernel has an operation that
** is the task's alone, ask for its end, and the task goes on when it has. */
static void leave (struct loop *loop, struct task *t) {
  switch (t->wait) {
    case WAIT_AWAIT:
      ring_cancel(t->ring, t->on);
      return;
    case WAIT_CHAIN: {
      struct chain *c = t->on;
      for (unsigned i = c->n; i-- > 0; ) {
        struct op *op = op_find(&t->ring->ops, c->link[i].token);
        if (op) {
          ring_cancel(t->ring, op);
          return;
        }
      }
      return;
    }
    case WAIT_OPERATION:
      ((struct op *)t->on)->waiter = NULL;
      break;
    case WAIT_MESSAGE: {
      struct watch *w = t->ring->watch;
      delist(&w->first, &w->last, t);
      t->ring->held--;
      break;
    }
    case WAIT_JOIN: {
      struct task *none;
      delist(&((struct task *)t->on)->joiners, &none, t);
      break;
    }
    default: break;
  }
  loop_wake(loop, t);
}

void loop_cancel (struct loop *loop, struct task *t) {
  if (t->marks & MARK_CANCELLED)
    return;
  t->marks |= MARK_CANCELLED;
  if (t->state == TASK_WAITING)
    leave(loop, t);
}

static void expire (struct loop *loop) {
  struct timer *top = heap_top(&loop->heap);
  int64_t now;
  if (top == NULL || top->when > (now = clock_now()))
    return;
  do {
    struct task *t = (struct task *)top;
    heap_remove(&loop->heap, top);
    t->marks |= MARK_TIMED_OUT;
    leave(loop, t);
    top = heap_top(&loop->heap);
  } while (top && top->when <= now);
}

/* Forget a wait whose task will never go on. */
static void forget (struct task *t) {
  if (t->state != TASK_WAITING) {
    if (t->marks & MARK_HANDED) loop_message_back(t);
    return;
  }
  switch (t->wait) {
    case WAIT_AWAIT: {
      struct op *op = t->on;
      ring_drop(t->ring, op);
      ring_cancel(t->ring, op);
      break;
    }
    case WAIT_CHAIN: {
      struct chain *c = t->on;
      for (unsigned i = c->n; i-- > 0; ) {
        struct op *op = op_find(&t->ring->ops, c->link[i].token);
        if (op) {
          ring_drop(t->ring, op);
          ring_cancel(t->ring, op);
        }
      }
      break;
    }
    case WAIT_OPERATION:
      ((struct op *)t->on)->waiter = NULL;
      break;
    case WAIT_MESSAGE: {
      struct watch *w = t->ring->watch;
      delist(&w->first, &w->last, t);
      t->ring->held--;
      break;
    }
    default: break;
  }
}


/* ---- running tasks ----------------------------------------------------- */

static void push_task (lua_State *L, const struct task *t) {
  state_shared(L, SHARED_TASKS);
  lua_rawgeti(L, -1, t->place);
  lua_remove(L, -2);
}

static void cancel_all (lua_State *L, struct loop *loop) {
  loop->ending = true;  /* what is spawned now does not start */
  state_shared(L, SHARED_TASKS);
  for (uint32_t i = 1; i <= loop->nplaces; i++) {
    if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
      struct task *t = lua_touserdata(L, -1);
      if (t != loop->current) loop_cancel(loop, t);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* A task has ended; on its coroutine lie `n` values, the first of which says
** whether it went well. Nothing here allocates. */
static void finish (lua_State *L, struct loop *loop, struct task *t, int n) {
  bool ok = lua_toboolean(t->co, -n);
  bool failed = false;
  t->state = ok ? TASK_DONE : TASK_FAILED;
  t->results = n - 1;
  while (t->joiners) {
    struct task *j = t->joiners, *none;
    delist(&t->joiners, &none, j);
    loop_wake(loop, j);
  }
  if (!ok && !loop->failed) {
    state_shared(L, SHARED_CANCELLED);
    lua_xmove(L, t->co, 1);
    failed = !lua_rawequal(t->co, -1, -2);
    lua_pop(t->co, 1);
  }
  if (failed) {
    loop->failed = true;
    push_task(L, t);
    lua_setiuservalue(L, lua_upvalueindex(1), SHARED_FAILURE);
  }
  state_shared(L, SHARED_TASKS);
  lua_pushinteger(L, loop->free_place);  /* its place is free, and says */
  lua_rawseti(L, -2, t->place);          /* which is the next free one */
  lua_pop(L, 1);
  loop->free_place = t->place;
  loop->ntasks--;
  if (failed) cancel_all(L, loop);
}

static void resume (lua_State *L, struct loop *loop, struct task *t) {
  int args = t->state == TASK_NEW ? t->results : 0;
  int n = 0, status;
  if (t->state == TASK_NEW && (t->marks & MARK_CANCELLED)) {
    lua_settop(t->co, 0);
    lua_pushboolean(t->co, 0);
    state_shared(L, SHARED_CANCELLED);
    lua_xmove(L, t->co, 1);
    finish(L, loop, t, 2);
    return;
  }
  t->state = TASK_RUNNING;
  loop->current = t;
  status = lua_resume(t->co, L, args, &n);
  loop->current = NULL;
  if (loop->proc != proc_id())  /* guard: fork */
    luaL_error(L, "a forked child came back into its parent's uring.run: end "
               "it with os.exit, or by exec");
  if (status == LUA_YIELD && t->state != TASK_RUNNING)
    return;  /* it waits */
  if (status == LUA_OK) {
    finish(L, loop, t, n);
    return;
  }
  /* it yielded to nobody, or had no memory left even to fail */
  lua_closethread(t->co, L);
  lua_settop(t->co, 0);
  lua_pushboolean(L, 0);
  lua_createtable(L, 1, 0);
  lua_pushstring(L, status == LUA_YIELD
    ? "a task called coroutine.yield: its waits are uring's own; to yield "
      "values, run a coroutine inside the task"
    : "not enough memory to end a task");
  lua_rawseti(L, -2, 1);
  lua_xmove(L, t->co, 2);
  finish(L, loop, t, 2);
}

static void run_ready (lua_State *L, struct loop *loop) {
  struct task *last = loop->last;  /* who becomes ready now runs next time */
  struct task *t;
  while ((t = loop->first) != NULL) {
    loop->first = t->next;
    if (loop->first == NULL) loop->last = NULL;
    t->next = NULL;
    resume(L, loop, t);
    if (t == last) break;
  }
}


/* ---- the wait ---------------------------------------------------------- */

static void describe_all (lua_State *L, struct loop *loop) {
  luaL_Buffer b;
  state_shared(L, SHARED_TASKS);
  luaL_buffinit(L, &b);
  for (uint32_t i = 1; i <= loop->nplaces; i++) {
    if (lua_rawgeti(L, -2, i) == LUA_TUSERDATA) {
      struct task *t = lua_touserdata(L, -1);
      lua_pop(L, 1);
      luaL_addstring(&b, "\n\t");
      loop_describe(L, loop, t);
      luaL_addvalue(&b);
    }
    else
      lua_pop(L, 1);
  }
  luaL_pushresult(&b);
  lua_remove(L, -2);
}

/* Nobody is ready and no time is set: can anything at all still come? */
static void check_deadlock (lua_State *L, struct loop *loop) {
  const struct op_table *t = &loop->ring->ops;
  if (loop->njoining < loop->ntasks
      || t->flying > t->internal + t->nsilent)
    return;
  for (struct watch *w = loop->watches; w; w = w->next)
    if (w->ring->held > 0)
      return;
  describe_all(L, loop);
  luaL_error(L, "deadlock: every task waits for another one:%s",
             lua_tostring(L, -1));
}

static void sleep_a_little (int64_t ns) {
  struct timespec ts = { 0, (long)ns };
  nanosleep(&ts, NULL);
}

/* One turn after the tasks have run: submit, wait if nobody is ready, take.*/
static void pump (lua_State *L, struct loop *loop) {
  struct ring *own = loop->ring;
  unsigned wait = 0;
  int64_t ns = SYS_FOREVER;
  int rc = 0, taken;
  loop->retry = false;
  if (loop->watches) stir(loop);
  if (loop->first == NULL) {
    struct timer *top = heap_top(&loop->heap);
    wait = 1;
    if (top) ns = clock_left(top->when);
    else check_deadlock(L, loop);
    if (loop->retry && (ns < 0 || ns > RETRY_NS)) ns = RETRY_NS;
    if (ns == 0) wait = 0;
  }
  if (wait || ring_restless(own))
    rc = ring_enter(own, wait, ns);
  taken = ring_reap(own);
  if (taken < 0)
    luaL_error(L, "not enough memory for what has completed");
  if (rc == -EINTR)
    ring_interrupted(L);
  else if (rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM) {
    if (taken == 0 && loop->first == NULL) sleep_a_little(RETRY_NS);
  }
  else if (rc < 0 && rc != -ETIME) {
    fail_enter(L, -rc, own->io.ring_fd);
    luaL_error(L, "the loop cannot go on: %s", lua_tostring(L, -2));
  }
  for (struct watch *w = loop->watches; w; w = w->next)
    if (w->rung) { stir(loop); break; }
  expire(loop);
}

/* The loop under uring.run, called protected; until no task is left. */
static int run_tasks (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  while (loop->ntasks > 0) {
    run_ready(L, loop);
    if (lua_gethookmask(L)) ring_interrupted(L);
    if (loop->ntasks == 0) break;
    pump(L, loop);
  }
  /* what the last task queued goes too */
  if (ring_restless(loop->ring)) {
    ring_enter(loop->ring, 0, SYS_FOREVER);
    ring_reap(loop->ring);
  }
  return 0;
}

/* The loop itself failed, or was interrupted twice: nothing more can run.
** Coroutines are closed where they stand. */
static void abandon_all (lua_State *L, struct loop *loop) {
  loop->first = loop->last = NULL;
  state_shared(L, SHARED_TASKS);
  for (uint32_t i = 1; i <= loop->nplaces; i++) {
    if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) {
      struct task *t = lua_touserdata(L, -1);
      forget(t);
      heap_remove(&loop->heap, &t->timer);
      t->joiners = NULL;
      t->state = TASK_FAILED;
      t->results = 1;
      lua_closethread(t->co, L);
      lua_settop(t->co, 0);
      lua_pushboolean(t->co, 0);
      state_shared(L, SHARED_CANCELLED);
      lua_xmove(L, t->co, 1);
      lua_pushinteger(L, loop->free_place);
      lua_rawseti(L, -3, i);
      loop->free_place = i;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  loop->ntasks = loop->njoining = 0;
}


/* ---- the functions of waiting ------------------------------------------ */

static int raise_cancelled (lua_State *L) {
  state_shared(L, SHARED_CANCELLED);
  return lua_error(L);
}

void loop_check (lua_State *L, struct task *t) {
  if (t->marks & MARK_CANCELLED)
    raise_cancelled(L);
}

struct task *loop_enter (lua_State *L, const char *what) {
  struct loop *loop = state_of(L)->loop;
  struct task *t = loop ? loop->current : NULL;
  if (t == NULL)
    luaL_error(L, "%s waits, and only a task can wait: call it in a function "
               "that runs under uring.run", what);
  if (loop->proc != proc_id())
    luaL_error(L, "%s: this task belongs to another process: a forked child "
               "starts afresh with a uring.run of its own", what);
  if (t->co != L)  /* guard: the wrong coroutine is never suspended */
    luaL_error(L, "%s waits in a coroutine that is not the task's own: "
               "make it a task by uring.spawn, or wait outside it", what);
  if (!lua_isyieldable(L))
    luaL_error(L, "%s cannot wait here: between the task and this call there "
               "is a C function that cannot be suspended (such as table.sort, "
               "string.gsub, require, a finalizer)", what);
  loop_check(L, t);
  return t;
}

void loop_reserve (lua_State *L, struct loop *loop) {
  if (!heap_reserve(&loop->heap, 1))
    luaL_error(L, "not enough memory for a deadline");
}

int loop_wait (lua_State *L, struct task *t, enum task_wait wait, void *on,
               int64_t deadline, lua_KContext ctx, lua_KFunction k) {
  struct loop *loop = state_of(L)->loop;
  t->wait = (uint8_t)wait;
  t->on = on;
  t->marks &= (uint8_t)~MARK_TIMED_OUT;
  t->turns = 0;
  if (wait == WAIT_TURN)
    ready(loop, t);
  else {
    t->state = TASK_WAITING;
    if (wait == WAIT_JOIN) loop->njoining++;
    if (deadline != CLOCK_NEVER) heap_add(&loop->heap, &t->timer, deadline);
  }
  return lua_yieldk(L, 0, ctx, k);
}

struct task *loop_resumed (lua_State *L) {
  return state_of(L)->loop->current;
}

bool loop_unfair (struct task *t) {
  return ++t->turns >= FAIR_TURNS;
}


/* ---- in words ---------------------------------------------------------- */

static void push_place (lua_State *L, lua_State *co) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(co, level, &ar); level++) {
    lua_getinfo(co, "Sl", &ar);
    if (ar.currentline > 0) {
      lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
      return;
    }
  }
  lua_pushliteral(L, "?");
}

/* "task 3 'reader'" */
static void push_name (lua_State *L, const struct task *t) {
  state_shared(L, SHARED_NAMES);
  push_task(L, t);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_type(L, -1) == LUA_TSTRING)
    lua_pushfstring(L, "task %d '%s'", (int)t->place, lua_tostring(L, -1));
  else
    lua_pushfstring(L, "task %d", (int)t->place);
  lua_remove(L, -2);
}

/* Where the task at stack index `task` was spawned. */
static void push_spawned (lua_State *L, int task) {
  const struct task *t = lua_touserdata(L, task);
  lua_Debug ar;
  if (lua_getiuservalue(L, task, 2) == LUA_TFUNCTION) {
    lua_getinfo(L, ">S", &ar);
    lua_pushfstring(L, "%s:%d", ar.short_src, (int)t->line);
  }
  else {
    lua_pop(L, 1);
    lua_pushliteral(L, "?");
  }
}

void loop_describe (lua_State *L, struct loop *loop, struct task *t) {
  int top = lua_gettop(L);
  (void)loop;
  luaL_checkstack(L, 10, NULL);
  push_name(L, t);
  switch (t->state == TASK_WAITING ? t->wait : WAIT_NOTHING) {
    case WAIT_SLEEP: lua_pushliteral(L, "sleeps"); break;
    case WAIT_AWAIT: case WAIT_OPERATION: case WAIT_CHAIN:
      lua_pushfstring(L, "waits for an operation on ring (fd %d)",
                      t->ring->io.ring_fd);
      break;
    case WAIT_MESSAGE:
      lua_pushfstring(L, "waits for a message to ring (fd %d)",
                      t->ring->io.ring_fd);
      break;
    case WAIT_JOIN:
      push_name(L, t->on);
      lua_pushfstring(L, "waits for %s to end", lua_tostring(L, -1));
      lua_remove(L, -2);
      break;
    default: lua_pushliteral(L, "is ready"); break;
  }
  push_place(L, t->co);
  push_task(L, t);
  push_spawned(L, lua_gettop(L));
  lua_remove(L, -2);
  lua_pushfstring(L, "%s %s at %s (spawned at %s)",
                  lua_tostring(L, top + 1), lua_tostring(L, top + 2),
                  lua_tostring(L, top + 3), lua_tostring(L, top + 4));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}


/* ---- tasks ------------------------------------------------------------- */

/* Under every task: its function, called so that to-be-closed variables run,
** and may wait, whatever ends it. Returns true, results… or false, error. */
static int body_end (lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status == LUA_OK || status == LUA_YIELD) {
    lua_pushboolean(L, 1);
    lua_replace(L, 1);  /* in the handler's place */
    return lua_gettop(L);
  }
  if (status != LUA_ERRRUN) {  /* the handler had no chance to word it */
    lua_createtable(L, 1, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
  }
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

static int body (lua_State *L) {
  return body_end(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0,
                                body_end), 0);
}

/* The message handler: { value, traceback }, but for a cancellation. */
static int handler (lua_State *L) {
  state_shared(L, SHARED_CANCELLED);
  if (lua_rawequal(L, 1, -1))
    return 1;
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  luaL_traceback(L, L, NULL, 1);
  lua_rawseti(L, -2, 2);
  return 1;
}

static int nothing (lua_State *L) {
  (void)L;
  return 0;
}

/* A task for the function at 1 with what is above it as its arguments; the
** task replaces them all. In the function's place there may be a table. */
static struct task *new_task (lua_State *L, struct loop *loop) {
  static const char *const names[] = { "main", "name", NULL };
  int n = lua_gettop(L);
  bool named = false;
  uint32_t place;
  struct task *t;
  lua_State *co;
  lua_Debug ar;
  if (lua_istable(L, 1)) {
    options_open(L, 1, names);
    lua_getfield(L, 1, "name");
    if (!lua_isnil(L, -1)) {
      if (lua_type(L, -1) != LUA_TSTRING)
        luaL_argerror(L, 1, "option 'name' must be a string");
      named = true;
    }
    lua_insert(L, 2);
    n++;
    if (lua_getfield(L, 1, "main") != LUA_TFUNCTION)
      luaL_argerror(L, 1, "option 'main' must be a function");
    lua_replace(L, 1);
  }
  else {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushnil(L);
    lua_insert(L, 2);
    n++;
  }
  luaL_checkstack(L, n + 10, "too many arguments");
  t = class_new(L, CLASS_TASK, sizeof(*t), 2);
  co = lua_newthread(L);
  lua_setiuservalue(L, -2, 1);
  if (!lua_checkstack(co, n + 10))
    luaL_error(L, "not enough memory for a task");
  t->co = co;
  if (named) {
    state_shared(L, SHARED_NAMES);
    lua_pushvalue(L, n + 1);
    lua_pushvalue(L, 2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "l", &ar);
    if (ar.currentline > 0) {  /* who spawned it: the nearest Lua function */
      lua_getinfo(L, "f", &ar);
      lua_setiuservalue(L, -2, 2);
      t->line = ar.currentline;
      break;
    }
  }
  state_shared(L, SHARED_BODY);
  state_shared(L, SHARED_HANDLER);
  lua_xmove(L, co, 2);
  state_shared(L, SHARED_TASKS);
  place = loop->free_place ? loop->free_place : loop->nplaces + 1;
  lua_rawgeti(L, -1, place);
  lua_pushvalue(L, n + 1);
  lua_rawseti(L, -3, place);  /* the last that may raise */
  if (loop->free_place) loop->free_place = (uint32_t)lua_tointeger(L, -1);
  else loop->nplaces = place;
  lua_pop(L, 2);
  lua_insert(L, 1);           /* the task, below its function */
  lua_remove(L, 3);           /* the name */
  lua_xmove(L, co, n - 1);    /* the function and its arguments */
  t->place = place;
  t->results = n;             /* with the handler: what resume passes */
  loop->ntasks++;
  ready(loop, t);
  t->state = TASK_NEW;
  if (loop->ending) t->marks |= MARK_CANCELLED;
  return t;
}

int loop_spawn (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  if (loop == NULL || loop->current == NULL || loop->proc != proc_id())
    return luaL_error(L, "uring.spawn belongs in a task: call it in a "
                      "function that runs under uring.run");
  new_task(L, loop);
  return 1;
}

/* What became of a task that has ended: true, results… | nil, error value |
** nil, message, ECANCELED. */
static int push_outcome (lua_State *L, struct task *t) {
  lua_State *co = t->co;
  int n = t->results;
  int base = lua_gettop(co) - n;
  if (t->state == TASK_DONE) {
    luaL_checkstack(L, n + 1, "too many results");
    if (!lua_checkstack(co, 1))
      return luaL_error(L, "not enough memory");
    lua_pushboolean(L, 1);
    for (int i = 1; i <= n; i++) {
      lua_pushvalue(co, base + i);
      lua_xmove(co, L, 1);
    }
    return n + 1;
  }
  luaL_pushfail(L);
  state_shared(L, SHARED_CANCELLED);
  lua_pushvalue(co, -1);
  lua_xmove(co, L, 1);
  if (lua_rawequal(L, -1, -2)) {
    lua_pop(L, 2);
    lua_pushliteral(L, "the task was cancelled");
    lua_pushinteger(L, ECANCELED);
    return 3;
  }
  lua_rawgeti(L, -1, 1);  /* nil, cancelled, { value }, value */
  lua_replace(L, -3);
  lua_pop(L, 1);
  return 2;
}

static int join_end (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct task *of = class_check(L, 1, CLASS_TASK);
  (void)status; (void)ctx;
  loop_check(L, t);
  return of->state >= TASK_DONE ? push_outcome(L, of) : fail_timeout(L);
}

int task_join (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  struct task *of = class_check(L, 1, CLASS_TASK);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = loop_enter(L, "task:join"), *none;
  if (of == t)
    return luaL_argerror(L, 1, "a task cannot join itself");
  if (of->state >= TASK_DONE) {
    if (!loop_unfair(t))
      return join_end(L, LUA_OK, 0);
    return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER, 0, join_end);
  }
  loop_reserve(L, loop);
  none = NULL;
  for (none = of->joiners; none && none->next; none = none->next) {}
  enlist(&of->joiners, &none, t);
  return loop_wait(L, t, WAIT_JOIN, of, clock_after(ns), 0, join_end);
}

static int t_tostring (lua_State *L) {
  static const char *const states[] = {
    "new", "ready", "running", "waiting", "done", "failed"
  };
  struct task *t = class_check(L, 1, CLASS_TASK);
  state_shared(L, SHARED_NAMES);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, -2) == LUA_TSTRING)
    lua_pushfstring(L, "uring.Task ('%s', %s)", lua_tostring(L, -1),
                    states[t->state]);
  else
    lua_pushfstring(L, "uring.Task (%s)", states[t->state]);
  return 1;
}


/* ---- run --------------------------------------------------------------- */

/* Raise the error of the task that failed first. */
static int rethrow (lua_State *L, struct loop *loop) {
  struct task *t;
  int task;
  loop->failed = false;
  state_shared(L, SHARED_FAILURE);
  task = lua_gettop(L);
  t = lua_touserdata(L, task);
  lua_pushnil(L);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_FAILURE);
  lua_pushvalue(t->co, -1);
  lua_xmove(t->co, L, 1);
  lua_rawgeti(L, -1, 1);
  lua_rawgeti(L, -2, 2);
  if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING) {
    push_spawned(L, task);
    lua_pushfstring(L, "%s\n%s\n\t(a task spawned at %s)",
                    lua_tostring(L, -3), lua_tostring(L, -2),
                    lua_tostring(L, -1));
  }
  else
    lua_pop(L, 1);  /* a value is passed on as it is */
  return lua_error(L);
}

static int call_run_tasks (lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, run_tasks, 1);
  return lua_pcall(L, 0, 0, 0);
}

int loop_run (lua_State *L) {
  struct loop *loop = loop_get(L);
  int status;
  struct task *t;
  if ((loop->ring->io.flags & IORING_SETUP_SINGLE_ISSUER)
      && !pthread_equal(loop->ring->owner, pthread_self()))
    return luaL_error(L, "this state's loop belongs to another thread: its "
                      "first uring.run was there");
  if (loop->running)
    return luaL_error(L, "uring.run inside a task: the loop is running "
                      "already; uring.spawn starts another task");
  loop->ending = loop->failed = false;
  t = new_task(L, loop);  /* stays at 1, so that it is not collected */
  loop->running = loop->ring->driven = true;
  status = call_run_tasks(L);
  if (status != LUA_OK && loop->proc == proc_id()) {
    /* the loop's own trouble, or Ctrl-C: let the tasks end, but not for
       ever: a second time they are not asked */
    cancel_all(L, loop);
    if (call_run_tasks(L) != LUA_OK) {
      lua_pop(L, 1);
      abandon_all(L, loop);
    }
  }
  loop->running = loop->ring->driven = false;
  if (status != LUA_OK) {
    loop->failed = false;
    return lua_error(L);
  }
  if (loop->failed)
    return rethrow(L, loop);
  status = push_outcome(L, t);
  return t->state == TASK_DONE ? status - 1 : status;
}


/* ---- the loop object --------------------------------------------------- */

static struct loop *make_loop (lua_State *L, const struct ring_options *o) {
  struct state *s = state_of(L);
  struct loop *loop = class_new(L, CLASS_LOOP, sizeof(*loop), 3);
  struct ring *r;
  if (ring_new(L, o, &r) != 1)
    return NULL;
  lua_setiuservalue(L, -2, 1);
  /* a forked child's new loop keeps the old one, for the C that runs it may
     still be on the stack */
  state_shared(L, SHARED_LOOP);
  lua_setiuservalue(L, -2, 2);
  state_shared(L, SHARED_TASKS);  /* one of its coroutines too */
  lua_setiuservalue(L, -2, 3);
  lua_newtable(L);  /* places of tasks start afresh */
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_TASKS);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, lua_upvalueindex(1), SHARED_LOOP);
  loop->state = s;
  loop->ring = r;
  loop->own.loop = loop;
  loop->own.ring = r;
  loop->own.eventfd = -1;
  loop->proc = proc_id();
  r->watch = &loop->own;
  r->loops_own = true;
  s->loop = loop;
  return loop;
}

static bool have_loop (lua_State *L) {
  struct loop *loop = state_of(L)->loop;
  return loop != NULL && loop->proc == proc_id();
}

struct loop *loop_get (lua_State *L) {
  static const struct ring_options o = { .entries = ENTRIES };
  if (!have_loop(L)) {
    if (make_loop(L, &o) == NULL)
      luaL_error(L, "%s", lua_tostring(L, -2));
    lua_pop(L, 1);
  }
  return state_of(L)->loop;
}

int loop_object (lua_State *L) {
  static const char *const names[] = { "entries", "cq_entries", "flags",
                                       NULL };
  lua_settop(L, 1);
  if (options_open(L, 1, names)) {
    struct ring_options o = {0};
    if (have_loop(L))
      return luaL_argerror(L, 1, "this state's loop was made already; its "
                           "options are set before it is first used");
    o.entries = (unsigned)options_integer(L, 1, "entries", ENTRIES, 1, 32768);
    o.cq_entries = (unsigned)options_integer(L, 1, "cq_entries", 0, 1,
                                             65536);
    o.exact = options_given(L, 1, "flags");
    o.flags = (unsigned)options_integer(L, 1, "flags", 0, 0, UINT32_MAX);
    if (o.flags & (IORING_SETUP_IOPOLL | IORING_SETUP_R_DISABLED))
      return luaL_argerror(L, 1, "the loop's ring cannot have IOPOLL or "
                           "R_DISABLED");
    if (make_loop(L, &o) == NULL)
      return 3;
    return 1;
  }
  loop_get(L);
  state_shared(L, SHARED_LOOP);
  return 1;
}

static int l_ring (lua_State *L) {
  class_check(L, 1, CLASS_LOOP);
  lua_getiuservalue(L, 1, 1);
  return 1;
}

/* The state closes. Rings may close after this, and find no loop. */
static int l_gc (lua_State *L) {
  struct loop *loop = class_check(L, 1, CLASS_LOOP);
  if (loop->ring == NULL)
    return 0;
  while (loop->watches) {
    struct watch *w = loop->watches;
    loop->watches = w->next;
    if (w->ring) w->ring->watch = NULL;
    close(w->eventfd);
    if (w->poll) w->poll->waiter = NULL;
    free(w);
  }
  loop->ring->watch = NULL;
  loop->ring->loops_own = loop->ring->driven = false;
  heap_free(&loop->heap);
  if (loop->state->loop == loop) loop->state->loop = NULL;
  loop->ring = NULL;
  return 0;
}

static int l_tostring (lua_State *L) {
  struct loop *loop = class_check(L, 1, CLASS_LOOP);
  lua_pushfstring(L, "uring.Loop (%d tasks)", (int)loop->ntasks);
  return 1;
}


static const luaL_Reg loop_methods[] = {
  {"ring", l_ring},
  {NULL, NULL}
};

static const luaL_Reg loop_meta[] = {
  {"__gc", l_gc},
  {"__tostring", l_tostring},
  {NULL, NULL}
};

static const luaL_Reg task_methods[] = {
  {"join", task_join},
  {NULL, NULL}
};

static const luaL_Reg task_meta[] = {
  {"__tostring", t_tostring},
  {NULL, NULL}
};

static int c_tostring (lua_State *L) {
  lua_pushliteral(L, "uring.cancelled");
  return 1;
}

static void share_function (lua_State *L, lua_CFunction f, int which) {
  int state = lua_gettop(L);
  lua_pushvalue(L, state);
  lua_pushcclosure(L, f, 1);
  lua_setiuservalue(L, state, which);
}

void loop_open (lua_State *L) {
  int state = lua_gettop(L);
  struct state *s = lua_touserdata(L, state);
  s->hooks = &hooks;
  class_define(L, CLASS_LOOP, loop_methods, loop_meta, NULL);
  class_define(L, CLASS_TASK, task_methods, task_meta, NULL);
  share_function(L, body, SHARED_BODY);
  share_function(L, handler, SHARED_HANDLER);
  share_function(L, nothing, SHARED_NOTHING);
  lua_newtable(L);  /* the value uring.cancelled */
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, c_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushliteral(L, "uring.cancelled");
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_setiuservalue(L, state, SHARED_CANCELLED);
  lua_newtable(L);  /* the names of tasks */
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setiuservalue(L, state, SHARED_NAMES);
}
