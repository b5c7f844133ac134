/*
** recv_input: a socket as an input of formatted reads (net/input.h), over
** the same requests, completions and queue as its receives. What must not
** break: what a read leaves in the store comes before all else that arrived.
*/

#include "compat.h"
#include "net/recv_request.h"

#include <stddef.h>


static inline struct socket *socket_of (struct input *input) {
  return (struct socket *)((char *)input - offsetof(struct socket, input));
}

static inline struct recv_args fill_args (struct socket *s) {
  struct recv_args a = { s, 1, NULL, INT32_MAX, WANT_DATA, 0 };
  return a;
}

static void recv_input_check (lua_State *L, int arg) {
  struct socket *s = socket_check(L, arg);
  if (!socket_is_stream(s))
    luaL_argerror(L, arg, "a socket of messages has no bytes to read by "
                  "format: use its receive");
}

static void recv_input_enter (lua_State *L, struct input *input) {
  struct socket *s = socket_of(input);
  s->ring = state_of(L)->loop->ring;
  s->in.waitq.describe = recv_describe;
}

static bool recv_input_may_take (struct input *input,
                                  struct wait_node *node) {
  struct socket *s = socket_of(input);
  struct recv_args a;
  if (store_size(&input->store) > 0)  /* (the most frequent case) */
    return turnq_may_take(&s->in.waitq.q, node, 1);
  a = fill_args(s);
  return (s->ring && recv_mismatch(s, &a))
         || turnq_may_take(&s->in.waitq.q, node,
                           s->ring ? recv_items(s) : 0);
}

static enum fill recv_input_fill (lua_State *L, struct input *input) {
  struct recv_args a = fill_args(socket_of(input));
  return recv_fill(L, &a);
}

static int recv_input_start (lua_State *L, struct input *input,
                             int64_t deadline) {
  struct recv_args a = fill_args(socket_of(input));
  (void)deadline;
  return recv_idle(a.s) ? recv_start(L, &a) : 0;
}

static bool recv_input_poll (struct input *input) {
  return recv_poll(socket_of(input));
}

static void recv_input_end_turn (lua_State *L, struct input *input,
                                  struct wait_node *node) {
  struct socket *s = socket_of(input);
  turnq_end_turn(&s->in.waitq.q, node);
  if (s->ring) recv_wake_next(L, s);
}

static void recv_input_abandon (struct input *input) {
  recv_abandon(socket_of(input));
}

void recv_input_open (lua_State *L) {
  static const struct input_ops ops = {
    recv_input_check, recv_input_enter, recv_input_may_take, recv_input_fill,
    recv_input_start, recv_input_poll, recv_input_end_turn, recv_input_abandon
  };
  struct state *s = lua_touserdata(L, -1);
  s->socket_input = &ops;
}
