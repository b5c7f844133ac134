/*
** recv: the waits on a socket's receive side: `receive` and its variants,
** `accept`, the iterators over multishots, and their events. All are one kind
** of wait with different arguments (struct recv_args). What must not break:
** a waiter that leaves with data, completions or nothing wakes the next one.
*/

#include "compat.h"
#include "net/recv_request.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "task/event.h"

#include <string.h>

#define BOUND         128         /* of pending completions, by default */
#define EXHAUSTED_NS  10000000    /* in case a recycled buffer was missed */
#define PAUSE_NS      100000000   /* without a descriptor to accept with */
#define NO_WAIT       0  /* the deadline of a call that does not wait */


/* ---- the wait ---------------------------------------------------------- */

/* An iterator's reader and socket are its upvalues: to read those is fastest.
** In other calls the socket is at 1, max at 2 and the number of results at 4,
** which is 0 for accept. (A reader's buffer may hold more than its size.) */
#define READER_PLACE  2
#define READER        lua_upvalueindex(READER_PLACE)
#define READER_SOCKET lua_upvalueindex(3)

static inline struct recv_args recv_args_of (lua_State *L) {
  const struct reader *r = lua_touserdata(L, READER);
  if (r) {
    struct recv_args a = { r->s, READER_SOCKET, r, r->size, r->want,
                           r->headers ? 3 : 1 };
    return a;
  }
  else {
    struct recv_args a = { class_raw(L, 1, CLASS_SOCKET), 1, NULL,
                           lua_tointeger(L, 2), WANT_DATA,
                           (int)lua_tointeger(L, 4) };
    if (a.results == 0) a.want = WANT_CONNECTION;
    return a;
  }
}

/* The wait of `node` is over: the next waiter takes what else is there. */
static inline void recv_end_turn (lua_State *L, struct socket *s,
                                  struct wait_node *node) {
  turnq_end_turn(&s->in.waitq.q, node);
  recv_wake_next(L, s);
}

/* An event may be tried and blocked on in any order, by any task. */
static void recv_check_event (lua_State *L, struct socket *s) {
  socket_check(L, 1);
  s->ring = state_of(L)->loop->ring;
}

static int recv_try (lua_State *L, struct task *t, struct wait_node *node) {
  struct recv_args a = recv_args_of(L);
  struct socket *s = a.s;
  int n;
  if (s->d == NULL)
    return recv_closed(L);
  if (node != &t->node) {
    if (endpoint_closed(s->d))
      return recv_closed(L);
    recv_check_event(L, s);
    if (input_in_push(L, &s->input))  /* guard: a finalizer's, meanwhile */
      return 0;
  }
  else if (s->pool && turnq_end_turn(&s->pool->waitq.q, node))
    turnq_wake(state_of(L)->loop, &s->pool->waitq.q);
  if (a.reader)  /* (to close the iterator: or what was taken is lost) */
    stack_reserve(L, 2 * LUA_MINSTACK, NULL);
  if (a.max > 0 && !recv_mismatch(s, &a)
      && !turnq_may_take(&s->in.waitq.q, node, recv_items(s)))
    return 0;
  n = recv_take(L, &a);
  if (n > 0 && s->d) recv_end_turn(L, s, node);
  return n;
}

/* Leases without a reference are recycled when they are collected, but a task
** that waits for a buffer allocates nothing that would start the collector. So
** start it here: a full collection if as many leases were given since the last
** one as there were buffers that it did not recycle, else a step. True if the
** call is to try again, for a buffer is free or finalizers closed the
** socket. */
static bool recv_find_leases (lua_State *L, const struct socket *s) {
  struct buf_pool *p = s->pool;
  const uint32_t out = p->group->leased;
  bool all = p->leases_given >= p->leases_missed;
  pressure_search(L, all);
  if (s->d == NULL)  /* guard: its pool's buffers went with it */
    return true;
  if (all) {
    p->leases_missed = p->group->entries - (out - p->group->leased);
    p->leases_given = 0;
  }
  return p->group->leased < p->group->entries;
}

/* An iterator found no buffer free, or no descriptor to accept with: it tries
** again when there may be one. */
static void recv_join_exhausted (lua_State *L, struct socket *s, int want,
                                 struct blocking *b) {
  int64_t soon = loop_deadline(state_of(L)->loop, want == WANT_DATA
                                                  ? EXHAUSTED_NS : PAUSE_NS);
  loop_reserve(L);
  s->rx_exhausted = false;
  turnq_end_turn(&s->in.waitq.q, b->node);
  if (soon < b->deadline) b->deadline = soon;
  if (want == WANT_DATA)
    wait_join(b, &s->pool->waitq.q, WAIT_QUEUE);
  else {
    b->wait = WAIT_SLEEP;
    b->on = &s->in.waitq;
  }
}

/* The request of a select stays in flight: the next select needs it again. */
static void recv_cancel (lua_State *L, struct task *t,
                         struct wait_node *node) {
  struct socket *s = recv_args_of(L).s;
  if (node == &t->node) recv_abandon(s);
  if (s->d) recv_end_turn(L, s, node);
}

static int recv_block (lua_State *L, struct task *t, struct blocking *b) {
  struct recv_args a = recv_args_of(L);
  struct socket *s = a.s;
  int n;
  if (endpoint_closed(s->d))
    return recv_closed(L);
  if (b->node != &t->node) recv_check_event(L, s);
  if (b->deadline == NO_WAIT) {
    if (!recv_poll(s)) {
      recv_cancel(L, t, b->node);
      return fail_timeout(L);
    }
    if ((n = recv_take(L, &a)) > 0)  /* (other waiters or not) */
      return n;
  }
  recv_widen(s, &a);
  if (!recv_ready(s) && socket_op(s, &s->in) == NULL) {
    if (s->rx_exhausted && a.reader && (a.reader->lease
                                        || a.want == WANT_CONNECTION)) {
      /* (without a pool it was an accept that found nothing free) */
      if (a.want != WANT_DATA || s->pool == NULL || !recv_find_leases(L, s)) {
        recv_join_exhausted(L, s, a.want, b);
        return 0;
      }
      if (s->d == NULL)  /* guard: a finalizer has closed it */
        return recv_closed(L);
      s->rx_exhausted = false;
    }
    if ((n = recv_start(L, &a)) > 0)
      return n;
  }
  wait_join(b, &s->in.waitq.q, WAIT_QUEUE);
  return 0;
}

static inline int64_t recv_deadline (lua_State *L, int64_t ns) {
  return ns == 0 ? NO_WAIT : loop_deadline(state_of(L)->loop, ns);
}


/* ---- descriptions ------------------------------------------------------ */

/* The reader of the iterator that waits in `co`; NULL: it is no iterator. */
static const struct reader *reader_in (lua_State *co) {
  const struct reader *r = NULL;
  lua_Debug ar;
  if (!lua_checkstack(co, 2) || !lua_getstack(co, 0, &ar))
    return NULL;
  lua_getinfo(co, "f", &ar);
  if (lua_getupvalue(co, -1, READER_PLACE)) {
    r = lua_touserdata(co, -1);
    lua_pop(co, 1);
  }
  lua_pop(co, 1);
  return r;
}

void recv_describe (lua_State *L, const struct object_waitq *waitq,
                    lua_State *co) {
  const struct reader *r = reader_in(co);
  lua_Integer max = r ? (lua_Integer)r->size : lua_tointeger(co, 2);
  if (!r && lua_tointeger(co, 4) >= INPUT_READ)
    lua_pushfstring(L, "to read from socket (fd %d)", waitq->fd);
  else if (r ? r->want == WANT_CONNECTION : lua_tointeger(co, 4) == 0)
    lua_pushfstring(L, "to accept on socket (fd %d)", waitq->fd);
  else if (max == MAX_DATAGRAM)
    lua_pushfstring(L, "to receive on socket (fd %d)", waitq->fd);
  else
    lua_pushfstring(L, "to receive at most %I bytes on socket (fd %d)",
                    (LUAI_UACINT)max, waitq->fd);
}


/* ---- calls ------------------------------------------------------------- */

static struct task *recv_enter (lua_State *L, const struct state *state,
                                struct socket *s, const char *what) {
  struct loop *loop = state->loop;
  struct task *t = loop_enter(L, loop, what);
  s->ring = loop->ring;
  s->in.waitq.describe = recv_describe;
  return t;
}

static const struct wait_kind receiving = {
  "receiving", recv_try, recv_block, recv_cancel, WAITS_OUTSIDE, NULL
};

static const struct wait_kind accepting = {
  "accepting", recv_try, recv_block, recv_cancel, WAITS_OUTSIDE, NULL
};

static int recv_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &receiving, (int64_t)ctx, recv_again);
}

/* The socket is at 1: push what recv_args_of reads behind it. */
static void recv_push_args (lua_State *L, lua_Integer max, int results) {
  lua_settop(L, 1);
  lua_pushinteger(L, max);
  lua_pushnil(L);
  lua_pushinteger(L, results);
}

/* max and timeout are at 2 and 3 */
static int recv_call (lua_State *L, int results, const char *what) {
  struct socket *s = socket_check(L, 1);
  lua_Integer max = arg_optional(L, 2, MAX_DATAGRAM, 0, INT32_MAX);
  int64_t ns = arg_seconds(L, 3);
  struct task *t = recv_enter(L, state_of(L), s, what);
  recv_push_args(L, max, results);
  return wait_perform(L, t, &receiving, recv_deadline(L, ns), recv_again);
}

/* socket:receive([max [, timeout]]): payload, from, info */
static int s_receive (lua_State *L) {
  return recv_call(L, 3, "socket:receive");
}

/* socket:recv([max [, timeout]]): payload */
static int s_recv (lua_State *L) {
  return recv_call(L, 1, "socket:recv");
}

/* socket:recvfrom([max [, timeout]]): payload, from */
static int s_recvfrom (lua_State *L) {
  return recv_call(L, 2, "socket:recvfrom");
}

/* socket:accept([timeout]): connection, peer */
static int s_accept (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = recv_enter(L, state_of(L), s, "socket:accept");
  recv_push_args(L, 1, 0);
  return wait_perform(L, t, &receiving, recv_deadline(L, ns), recv_again);
}

/* socket:receiving([max]): socket:receive as an event */
static int s_receiving (lua_State *L) {
  socket_check(L, 1);
  recv_push_args(L, arg_optional(L, 2, MAX_DATAGRAM, 0, INT32_MAX), 3);
  return event_push(L, &receiving);
}

/* socket:accepting(): socket:accept as an event */
static int s_accepting (lua_State *L) {
  socket_check(L, 1);
  recv_push_args(L, 1, 0);
  return event_push(L, &accepting);
}


/* ---- iterators --------------------------------------------------------- */

static int recv_next_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_next(L, wait_resumed(L, &receiving, (int64_t)ctx,
                                   recv_next_again));
}

static int recv_next (lua_State *L) {
  const struct reader *r = lua_touserdata(L, READER);
  struct task *t;
  if (r->s->fork_id != fork_id())  /* guard: fork */
    return luaL_error(L, "this socket belongs to another process: it was "
                      "made before a fork");
  if (r->s->d == NULL) {
    lua_pushnil(L);
    return 1;
  }
  t = recv_enter(L, r->state, r->s, "the iterator of a socket");
  return wait_next(L, wait_perform(L, t, &receiving, recv_deadline(L, r->ns),
                                   recv_next_again));
}

/* What the kernel still delivers stays with the socket. */
static int reader_close (lua_State *L) {
  struct reader *r = class_check(L, 1, CLASS_READER);
  struct socket *s = r->s;
  struct op *op = s && s->d && s->fork_id == fork_id() ? socket_op(s, &s->in)
                                                    : NULL;
  if (op && (op->op_flags & OP_MULTI) && s->in.waitq.q.waiting.last == NULL)
    ring_cancel(s->ring, op);
  return 0;
}

static struct reader *reader_new (lua_State *L, struct socket *s) {
  struct reader *r = class_new(L, CLASS_READER, sizeof(*r), 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  r->s = s;
  r->state = state_of(L);
  r->bound = BOUND;
  r->ns = CLOCK_NEVER;
  return r;
}

/* The reader is on the top of the stack. */
static int reader_return (lua_State *L) {
  int reader = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, reader);
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, recv_next, 3);
  lua_pushvalue(L, reader);
  lua_pushnil(L);
  lua_pushvalue(L, reader);  /* closed at the loop's end */
  return 4;
}

static int recv_iterate (lua_State *L, bool headers, lua_Integer size) {
  static const char *const names[] = { "fds", "size", "count", "lease",
                                       "timeout", NULL };
  struct socket *s = socket_check(L, 1);
  struct reader *r;
  lua_settop(L, 2);
  options_open(L, 2, headers ? names : names + 1);
  r = reader_new(L, s);
  r->headers = headers;
  r->size = (uint32_t)options_integer(L, 2, "size", size, 1, 1 << 20);
  r->bound = (uint16_t)options_integer(L, 2, "count", BOUND, 1, BOUND);
  r->lease = options_boolean(L, 2, "lease");
  r->ns = options_seconds(L, 2, "timeout");
  r->fds = headers && options_boolean(L, 2, "fds");
  return reader_return(L);
}

/* for payload, from, info in socket:messages{ fds=, size=, count=, lease=,
** timeout= } */
static int s_messages (lua_State *L) {
  return recv_iterate(L, true, MAX_DATAGRAM);
}

/* for data in socket:chunks{ size=, count=, lease=, timeout= } do */
static int s_chunks (lua_State *L) {
  return recv_iterate(L, false, 16384);
}

/* for connection, peer in socket:connections([{ timeout= }]) do */
static int s_connections (lua_State *L) {
  static const char *const names[] = { "timeout", NULL };
  struct socket *s = socket_check(L, 1);
  struct reader *r;
  lua_settop(L, 2);
  options_open(L, 2, names);
  r = reader_new(L, s);
  r->want = WANT_CONNECTION;
  r->ns = options_seconds(L, 2, "timeout");
  return reader_return(L);
}


static const luaL_Reg methods[] = {
  {"receive", s_receive},
  {"recvmsg", s_receive},
  {"recv", s_recv},
  {"recvfrom", s_recvfrom},
  {"accept", s_accept},
  {"receiving", s_receiving},
  {"accepting", s_accepting},
  {"messages", s_messages},
  {"chunks", s_chunks},
  {"connections", s_connections},
  {NULL, NULL}
};

static const luaL_Reg no_methods[] = {
  {NULL, NULL}
};

static const luaL_Reg reader_meta[] = {
  {"__gc", reader_close},
  {"__close", reader_close},
  {NULL, NULL}
};

void recv_open (lua_State *L) {
  class_extend(L, CLASS_SOCKET, methods);
  class_define(L, CLASS_READER, no_methods, reader_meta, NULL);
}
