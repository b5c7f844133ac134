/*
** receive: what a socket's tasks wait for inwards: `receive` and its kin,
** `accept`, the iterators over multishots, and their events.
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

#define BOUND         128         /* completions that may wait, by default */
#define STARVED_NS    10000000    /* for who missed a buffer's coming home */
#define PAUSE_NS      100000000   /* with no descriptor left to accept with */
#define NO_WAIT          0           /* the deadline of who does not wait */


/* ---- the wait ---------------------------------------------------------- */

static int recv_again (lua_State *L, int status, lua_KContext ctx);

/* An iterator's reader and socket are its upvalues, for that is the shortest
** way to them. Else 1: a socket, with max at 2 and how at 4. */
#define READER_PLACE  2
#define READER        lua_upvalueindex(READER_PLACE)
#define READER_SOCKET lua_upvalueindex(3)

static inline struct ask ask_of_reader (const struct reader *r) {
  struct ask a = { r->s, READER_SOCKET, r, r->size, r->want,
                   r->headers ? 3 : 1 };  /* (a buffer has more room) */
  return a;
}

static struct ask ask_of_call (lua_State *L) {
  struct ask a = { lua_touserdata(L, 1), 1, NULL, lua_tointeger(L, 2),
                   WANT_DATA, (int)lua_tointeger(L, 4) };
  if (a.results == 0) a.want = WANT_CONNECTION;
  return a;
}

static struct ask ask_of (lua_State *L) {
  const struct reader *r = lua_touserdata(L, READER);
  if (r)
    return ask_of_reader(r);
  lua_settop(L, 4);
  return ask_of_call(L);
}

/* A wait that is over, with its results or what it raises. */
static int recv_end (lua_State *L, const struct ask *a, int n) {
  recv_wake_next(L, a->s);
  if (a->reader == NULL)
    return n;
  if (n == 3 && lua_isnil(L, -3)) {
    if (lua_tointeger(L, -1) == EBADF) {
      lua_pushnil(L);  /* closed here: the end */
      return 1;
    }
    lua_pop(L, 1);
    return raise_here(L);
  }
  return n;
}

/* Leases that nobody refers to any more come home when they are collected, and
** who waits for one allocates nothing that would set that off. All garbage is
** searched through when as many were given since the last time as were not
** found then. True if there is something to look at again: a buffer, or that
** finalizers closed it. */
static bool find_leases (lua_State *L, const struct socket *s) {
  struct buf_pool *p = s->pool;
  const uint32_t out = p->group->leased;
  bool all = p->given >= p->missed;
  pressure_search(L, all);
  if (s->d == NULL)  /* guard: its pool's buffers went with it */
    return true;
  if (all) {
    p->missed = p->group->entries - (out - p->group->leased);
    p->given = 0;
  }
  return p->group->leased < p->group->entries;
}

/* take_or_start(socket, ask, start) */
static int take_or_start (lua_State *L) {
  struct ask a = *(const struct ask *)lua_touserdata(L, 2);
  bool starts = lua_toboolean(L, 3);
  a.socket = 1;
  lua_settop(L, 1);
  return starts ? recv_start(L, &a) : recv_take(L, &a);
}

/* Take, or start, what the others in line want too: if it raises they must not
** sleep on beside it. */
static int protect (lua_State *L, const struct ask *a, bool starts) {
  int top = lua_gettop(L);
  if (a->s->in.waitq.queue.last == NULL)
    return starts ? recv_start(L, a) : recv_take(L, a);
  state_shared(L, SHARED_TAKE);
  lua_pushvalue(L, a->socket);
  lua_pushlightuserdata(L, (void *)(uintptr_t)a);
  lua_pushboolean(L, starts);
  if (lua_pcall(L, 3, LUA_MULTRET, 0) != LUA_OK) {
    recv_wake_next(L, a->s);  /* guard: or the next in line sleeps for ever */
    lua_error(L);
  }
  return lua_gettop(L) - top;
}

/* Nothing is there for who does not wait; but the others have their turns. */
static int none_yet (lua_State *L, struct task *t, struct socket *s) {
  if (loop_unfair(t))
    return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER, NO_WAIT, recv_again);
  recv_abandon(s);
  recv_wake_next(L, s);
  return fail_timeout(L);
}

static int recv_go (lua_State *L, struct task *t, const struct ask *a,
               int64_t deadline) {
  struct socket *s = a->s;
  if (loop_unfair(t) && recv_ready(s))
    return loop_wait(L, t, WAIT_TURN, NULL, CLOCK_NEVER,
                     (lua_KContext)deadline, recv_again);
  for (;;) {
    int n = protect(L, a, false);
    if (n > 0)
      return recv_end(L, a, n);
    if (deadline == NO_WAIT) {
      if (!recv_poll(s))
        return none_yet(L, t, s);
      if (recv_ready(s))
        continue;
    }
    recv_widen(s, a);
    if (socket_op(s, &s->in))
      return loop_wait_queue(L, t, &s->in.waitq, deadline,
                            (lua_KContext)deadline, recv_again);
    if (s->rx_exhausted && a->reader && (a->reader->lease
                                    || a->want == WANT_CONNECTION)) {
      int64_t soon = clock_after(a->want == WANT_DATA ? STARVED_NS
                                                      : PAUSE_NS);
      s->rx_exhausted = false;
      if (soon > deadline) soon = deadline;
      if (a->want == WANT_DATA && find_leases(L, s))
        continue;
      if (a->want == WANT_DATA)
        return loop_wait_queue(L, t, &s->pool->waitq, soon,
                              (lua_KContext)deadline, recv_again);
      loop_reserve(L);
      return loop_wait(L, t, WAIT_SLEEP, &s->in.waitq, soon,
                       (lua_KContext)deadline, recv_again);
    }
    n = protect(L, a, true);
    if (n > 0)
      return recv_end(L, a, n);
  }
}

static int recv_again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  struct socket *s;
  struct ask a;
  (void)status;
  if (t == NULL) return lua_yieldk(L, 0, ctx, recv_again);
  a = ask_of(L);
  s = a.s;
  if (t->task_flags & TASKF_CANCELLED) {
    recv_abandon(s);
    recv_wake_next(L, s);
    loop_check(L, t);
  }
  if ((t->task_flags & TASKF_TIMED_OUT) && clock_now() >= (int64_t)ctx
      && s->d && !recv_ready(s)) {
    recv_abandon(s);
    recv_wake_next(L, s);
    return fail_timeout(L);
  }
  return recv_go(L, t, &a, (int64_t)ctx);
}


/* ---- words ------------------------------------------------------------- */

/* The reader of the iterator that waits in `co`; NULL: it is another call. */
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

static void recv_describe (lua_State *L, const struct socket_waitq *waitq,
                           lua_State *co) {
  const struct reader *r = reader_in(co);
  lua_Integer max = r ? (lua_Integer)r->size : lua_tointeger(co, 2);
  if (r ? r->want == WANT_CONNECTION : lua_tointeger(co, 4) == 0)
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

/* max and timeout at 2 and 3 */
static int receive (lua_State *L, int results, const char *what) {
  struct socket *s = socket_check(L, 1);
  lua_Integer max = arg_optional(L, 2, MAX_DATAGRAM, 0, INT32_MAX);
  int64_t ns = arg_seconds(L, 3);
  struct task *t = recv_enter(L, state_of(L), s, what);
  struct ask a;
  lua_settop(L, 1);
  lua_pushinteger(L, max);
  lua_pushnil(L);
  lua_pushinteger(L, results);
  a = ask_of(L);
  return recv_go(L, t, &a, ns == 0 ? NO_WAIT : clock_after(ns));
}

/* socket:receive([max [, timeout]]): payload, from, info */
static int s_receive (lua_State *L) {
  return receive(L, 3, "socket:receive");
}

/* socket:recv([max [, timeout]]): payload */
static int s_recv (lua_State *L) {
  return receive(L, 1, "socket:recv");
}

/* socket:recvfrom([max [, timeout]]): payload, from */
static int s_recvfrom (lua_State *L) {
  return receive(L, 2, "socket:recvfrom");
}

/* socket:accept([timeout]): connection, peer */
static int s_accept (lua_State *L) {
  struct socket *s = socket_check(L, 1);
  int64_t ns = arg_seconds(L, 2);
  struct task *t = recv_enter(L, state_of(L), s, "socket:accept");
  struct ask a;
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  lua_pushnil(L);
  lua_pushinteger(L, 0);
  a = ask_of(L);
  return recv_go(L, t, &a, ns == 0 ? NO_WAIT : clock_after(ns));
}


/* ---- events ------------------------------------------------------------ */

/* As the calls have it: 1 socket, 2 max, 3 nil, 4 how. */
static struct ask ask_of_event (lua_State *L) {
  struct ask a = ask_of_call(L);
  if (a.s->d) socket_check(L, 1);  /* (is it of this process?) */
  a.s->ring = state_of(L)->loop->ring;
  return a;
}

static int event_try (lua_State *L, struct task *t, struct select_waiter *e) {
  struct ask a = ask_of_event(L);
  int n;
  (void)t; (void)e;
  if (socket_pushes(L, a.s))
    return 0;  /* guard: a finalizer, and what is there is another's */
  n = recv_take(L, &a);
  if (n > 0) {
    recv_wake_next(L, a.s);
    n = event_ready(L, n);
  }
  return n;
}

static int event_block (lua_State *L, struct task *t,
                        struct select_waiter *e) {
  int n = 0;
  struct ask a = ask_of_event(L);
  struct socket *s = a.s;
  (void)t;
  if (s->d == NULL)
    return recv_closed(L);
  if (!recv_ready(s) && socket_op(s, &s->in) == NULL)
    n = recv_start(L, &a);
  if (n == 0) select_waiter_enqueue(e, &s->in.waitq.queue);
  return n;
}

/* The request goes on without it, for the next choice will want it again. */
static void event_cancel (lua_State *L, struct select_waiter *e) {
  struct socket *s = class_check(L, 1, CLASS_SOCKET);
  if (e->called) recv_wake_next(L, s);
}

/* socket:receiving([max]): socket:receive as an event */
static int s_receiving (lua_State *L) {
  static const struct event_kind kind = {
    "receiving", event_try, event_block, event_cancel, false
  };
  lua_Integer max;
  socket_check(L, 1);
  max = arg_optional(L, 2, MAX_DATAGRAM, 0, INT32_MAX);
  lua_settop(L, 1);
  lua_pushinteger(L, max);
  lua_pushnil(L);
  lua_pushinteger(L, 3);
  return event_push(L, &kind);
}

/* socket:accepting(): socket:accept as an event */
static int s_accepting (lua_State *L) {
  static const struct event_kind kind = {
    "accepting", event_try, event_block, event_cancel, false
  };
  socket_check(L, 1);
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  lua_pushnil(L);
  lua_pushinteger(L, 0);
  return event_push(L, &kind);
}


/* ---- iterators --------------------------------------------------------- */

static int next (lua_State *L) {
  const struct reader *r = lua_touserdata(L, READER);
  struct task *t;
  struct ask a;
  if (r->s->fork_id != fork_id())  /* guard: fork */
    return luaL_error(L, "this socket belongs to another process: it was "
                      "made before a fork");
  if (r->s->d == NULL) {
    lua_pushnil(L);
    return 1;
  }
  t = recv_enter(L, r->state, r->s, "the iterator of a socket");
  a = ask_of_reader(r);
  return recv_go(L, t, &a, CLOCK_NEVER);
}

/* What the kernel still delivers stays with the socket. */
static int recv_close (lua_State *L) {
  struct reader *r = class_check(L, 1, CLASS_READER);
  struct socket *s = r->s;
  struct op *op = s && s->d && s->fork_id == fork_id() ? socket_op(s, &s->in)
                                                    : NULL;
  if (op && (op->op_flags & OP_MULTI) && s->in.waitq.queue.last == NULL)
    ring_cancel(s->ring, op);
  return 0;
}

static struct reader *new_reader (lua_State *L, struct socket *s) {
  struct reader *r = class_new(L, CLASS_READER, sizeof(*r), 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  r->s = s;
  r->state = state_of(L);
  r->bound = BOUND;
  return r;
}

/* The reader is on the top. */
static int return_reader (lua_State *L) {
  int reader = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, reader);
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, next, 3);
  lua_pushvalue(L, reader);
  lua_pushnil(L);
  lua_pushvalue(L, reader);  /* closed at the loop's end */
  return 4;
}

static int iterate (lua_State *L, bool headers, lua_Integer size) {
  static const char *const names[] = { "fds", "size", "count", "lease", NULL };
  struct socket *s = socket_check(L, 1);
  struct reader *r;
  lua_settop(L, 2);
  options_open(L, 2, headers ? names : names + 1);
  r = new_reader(L, s);
  r->headers = headers;
  r->size = (uint32_t)options_integer(L, 2, "size", size, 1, 1 << 20);
  r->bound = (uint16_t)options_integer(L, 2, "count", BOUND, 1, BOUND);
  r->lease = options_boolean(L, 2, "lease");
  r->fds = headers && options_boolean(L, 2, "fds");
  return return_reader(L);
}

/* for payload, from, info in socket:messages{ fds=, size=, count=, lease= } */
static int s_messages (lua_State *L) {
  return iterate(L, true, MAX_DATAGRAM);
}

/* for data in socket:chunks{ size=, count=, lease= } do */
static int s_chunks (lua_State *L) {
  return iterate(L, false, 16384);
}

/* for connection, peer in socket:connections() do */
static int s_connections (lua_State *L) {
  struct reader *r = new_reader(L, socket_check(L, 1));
  r->want = WANT_CONNECTION;
  return return_reader(L);
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
  {"__gc", recv_close},
  {"__close", recv_close},
  {NULL, NULL}
};

void receive_open (lua_State *L) {
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, take_or_start, 1);
  lua_setiuservalue(L, -2, SHARED_TAKE);
  class_extend(L, CLASS_SOCKET, methods);
  class_define(L, CLASS_READER, no_methods, reader_meta, NULL);
}
