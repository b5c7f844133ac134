/*
** socket_move: what is looked at, ended and listed before a socket moves, and
** what a parcel has. What must not break: nothing that has arrived or was
** written is lost on any way, and a number has one owner.
*/

#include "compat.h"
#include "net/socket_move.h"

#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "api/fd.h"
#include "task/inspect.h"
#include "net/arrived.h"
#include "net/rx_data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct parcel {
  int number;              /* -1: it stays with its handle */
  uint32_t fork_id;
  int family, type;
  struct store store;
  struct arrived_list arrived;
  struct output output;    /* but for its bytes and its error: zeros */
  size_t limit, line_limit;
  unsigned control_capacity, rx_size, rx_datagram_size;
  uint32_t failed_accepts;
  bool rx_shutdown, zero_copy;
};


/* ---- settling ---------------------------------------------------------- */

/* A task that waits for this side, or has its turn; NULL: none is known. */
static const struct task *task_of_side (const struct socket_side *side) {
  struct wait_node *node = waitq_first(&side->waitq.q.waiting);
  const struct select_waiter *w = select_waiter_of(node);
  if (side->waitq.holder)
    return side->waitq.holder;
  return w ? w->task : (const struct task *)(void *)node;
}

static bool side_is_in_use (const struct socket_side *side) {
  return side->waitq.q.waiting.last || side->waitq.q.turns > 0
         || side->waitq.holder;
}

static int refuse_in_use (lua_State *L, const struct task *t,
                          char why[SOCKET_WHY]) {
  char name[64];
  if (t == NULL) snprintf(why, SOCKET_WHY, "a socket in use by a task");
  else {
    inspect_write_name(L, state_of(L)->loop, t, name, sizeof(name));
    snprintf(why, SOCKET_WHY, "a socket in use by task '%s'", name);
  }
  return -EINVAL;
}

static int refuse (const char *text, char why[SOCKET_WHY]) {
  snprintf(why, SOCKET_WHY, "%s", text);
  return -EINVAL;
}

/* Is it a request that the socket has made of itself? */
static bool is_own (const struct socket *s, const struct op *op) {
  return op->token == s->in.token || op->token == s->poll_in
         || op->token == s->poll_out || op->token == s->output.token;
}

static int check_requests (lua_State *L, const struct socket *s,
                           char why[SOCKET_WHY]) {
  for (const struct op *op = s->d->ops; op; op = op->next) {
    if (is_own(s, op) || op->op_flags & OP_CANCEL)
      continue;
    if (op->op_flags & OP_LOOPED && !(op->op_flags & OP_INTERNAL)
        && op->waiter)
      return refuse_in_use(L, op->node->co ? op->task
                                           : op->select_waiter->task, why);
    return refuse("a socket with a request in flight", why);
  }
  return 0;
}

/* Cancel all requests of its own, and reap until they have ended. */
static bool end_requests (const struct socket *s) {
  struct ring *r = s->ring;
  if (s->d->ops == NULL)
    return true;
  if (r == NULL || !r->open)
    return false;
  for (struct op *op = s->d->ops; op; op = op->next)
    if (is_own(s, op)) ring_cancel(r, op);
  ring_settle(r, s->d);
  return s->d->ops == NULL;
}

static bool keep_connection (struct socket *s, struct op *op) {
  struct arrived *a = arrived_new(0);
  struct pending_cqe done;
  if (a == NULL)
    return false;  /* guard: before it is taken */
  ring_take_op(s->ring, op, &done);
  if (done.res == -ECANCELED) {
    free(a);
    return true;
  }
  a->connection = true;
  a->res = done.res;
  arrived_add(&s->arrived, a);
  return true;
}

/* Move what has arrived to the list: false: no memory, and nothing is lost. */
static bool keep_arrived (struct socket *s) {
  struct op *op;
  if (s->rx.at && !rx_data_to_arrived(s))
    return false;  /* guard: it is before all else */
  while ((op = socket_op(s, &s->in)) != NULL && op->results.first)
    if (!(op->opcode == IORING_OP_ACCEPT ? keep_connection(s, op)
                                         : rx_data_complete_to_arrived(s, op)))
      return false;
  return true;
}

int socket_settle (lua_State *L, struct socket *s, char why[SOCKET_WHY]) {
  int rc;
  if (s->away == FD_LENT)
    return refuse("a socket that is on its way", why);
  if (s->away == FD_SENT)
    return refuse("a socket that was sent away", why);
  if (s->d == NULL || handle_closed(s->d))
    return refuse("a closed socket", why);
  if (s->fork_id != fork_id())  /* guard: fork */
    return refuse("a socket of another process", why);
  if (input_in_push(L, &s->input))  /* guard: a finalizer's; its bytes go */
    return refuse("a socket whose bytes are being received", why);
  /* guard: a task would wait in a queue that has no requests any more */
  if (side_is_in_use(&s->in))
    return refuse_in_use(L, task_of_side(&s->in), why);
  if (side_is_in_use(&s->out))
    return refuse_in_use(L, task_of_side(&s->out), why);
  ring_submit_all(state_of(L)->rings);
  rc = check_requests(L, s, why);
  if (rc < 0)
    return rc;
  if (!end_requests(s))
    return refuse("a socket with a request in flight", why);
  return keep_arrived(s) ? 0 : -ENOMEM;
}

size_t socket_size (const struct socket *s) {
  return store_size(&s->input.store) + arrived_size(&s->arrived)
         + output_size(&s->output);
}


/* ---- parcels ----------------------------------------------------------- */

struct parcel *socket_pack (struct socket *s) {
  struct parcel *p = calloc(1, sizeof(*p));
  if (p == NULL)
    return NULL;
  p->number = handle_number(s->d);
  p->fork_id = s->fork_id;
  p->family = s->family;
  p->type = s->type;
  p->store = s->input.store;
  p->arrived = s->arrived;
  output_move(&s->output, &p->output);
  p->output.sends = true;
  p->limit = s->input.limit;
  p->line_limit = s->input.line_limit;
  p->control_capacity = s->control_capacity;
  p->rx_size = s->rx_size;
  p->rx_datagram_size = s->rx_datagram_size;
  p->failed_accepts = s->failed_accepts;
  p->rx_shutdown = s->rx_shutdown;
  p->zero_copy = s->zero_copy;
  s->input.store = (struct store){0};  /* guard: they have one owner */
  store_adopt(&p->store, NULL);  /* (the message counts it) */
  s->arrived = (struct arrived_list){0};
  return p;
}

void socket_unpack (lua_State *L, struct socket *s, struct parcel *p) {
  s->input.store = p->store;
  store_adopt(&s->input.store, state_of(L)->account);
  s->arrived = p->arrived;
  s->input.limit = p->limit;
  s->input.line_limit = p->line_limit;
  s->control_capacity = p->control_capacity;
  s->rx_size = p->rx_size;
  s->rx_datagram_size = p->rx_datagram_size;
  s->failed_accepts = p->failed_accepts;
  s->rx_shutdown = p->rx_shutdown;
  s->zero_copy = p->zero_copy;
  output_move(&p->output, &s->output);
  free(p);
  output_resume(&s->output, state_of(L)->account, loop_here(L));
}

void parcel_free (struct parcel *p) {
  /* (a child would send its parent's bytes again) */
  output_discard(&p->output, p->fork_id == fork_id() ? p->number : -1);
  arrived_free(&p->arrived);
  store_free(&p->store);
  if (p->number >= 0) close(p->number);
  free(p);
}


/* ---- the sender's socket ----------------------------------------------- */

/* It is packed: let go of all that is this state's. The count of its handle is
** the caller's. */
static struct handle *let_go (lua_State *L, struct socket *s,
                              enum fd_away away) {
  struct handle *d = s->d;
  pressure_drop(&state_of(L)->pressure, 0, 1);
  s->d = NULL;
  s->away = (uint8_t)away;
  s->input.open = s->output.open = false;
  s->in.token = s->out.token = s->poll_in = s->poll_out = 0;
  object_waitq_close(&s->in.waitq);
  object_waitq_close(&s->out.waitq);
  rx_data_free(s);
  if (s->own_pool) buf_pool_drop(s->own_pool, true);
  s->own_pool = s->pool = NULL;
  return d;
}

void socket_sent (lua_State *L, struct socket *s) {
  struct handle *d = let_go(L, s, FD_SENT);
  refblock_release(&d->block);
}

void socket_lend (lua_State *L, struct socket *s, struct socket_lent *lent) {
  lent->socket = s;
  lent->d = let_go(L, s, FD_LENT);
  s->lent = lent;
}

void socket_lent_sent (struct socket_lent *lent) {
  struct socket *s = lent->socket;
  refblock_release(&lent->d->block);
  if (s) {
    s->away = FD_SENT;
    s->lent = NULL;
  }
}

void socket_lent_back (lua_State *L, struct socket_lent *lent,
                       struct parcel *p) {
  struct socket *s = lent->socket;
  if (s == NULL) {
    p->number = -1;  /* (the handle closes it) */
    parcel_free(p);
    refblock_release(&lent->d->block);
    return;
  }
  s->d = lent->d;
  s->away = FD_HERE;
  s->lent = NULL;
  s->input.open = s->output.open = true;
  pressure_hold(&state_of(L)->pressure, 0, 1);
  object_waitq_open(state_of(L), &s->in.waitq);
  object_waitq_open(state_of(L), &s->out.waitq);
  socket_unpack(L, s, p);
}


/* ---- the reader's ------------------------------------------------------ */

struct socket *socket_push_for (lua_State *L, const struct parcel *p) {
  return socket_push(L, p->family, p->type);
}

void socket_adopt (lua_State *L, struct socket *s, struct parcel *p) {
  socket_own(L, s, p->number);
  socket_unpack(L, s, p);
}
