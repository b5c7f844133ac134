/*
** stream: see the header. It makes and closes streams, and is their input:
** the requests that read, and taking what they bring. What must not break: no
** request is made while one is in flight or has something to take; a close
** cancels it and wakes every waiter.
*/

#include "compat.h"
#include "os/stream.h"

#include "base/clock.h"
#include "base/fork_id.h"
#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "lua/errors.h"
#include "api/fd.h"
#include "api/prep_build.h"
#include "api/ring_object.h"
#include "task/ring_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_READ  4096u
#define LAST_READ   65536u
#define BY_THREAD   10000000  /* ns, at most, for what is there to be read */


/* ---- input ------------------------------------------------------------- */

/* The request in flight, or with something to take; or NULL. */
static struct op *stream_op (const struct stream *s) {
  return s->token != 0 && s->ring->open ? op_find(&s->ring->ops, s->token)
                                        : NULL;
}

bool stream_reads (const struct stream *s) {
  return stream_op(s) != NULL;
}

static bool stream_completed (const struct stream *s) {
  const struct op *op = stream_op(s);
  return op && op->results.first;
}

/* Is no request in flight? */
static bool stream_ended (const struct stream *s) {
  const struct op *op = stream_op(s);
  return op == NULL || op->results.first;
}

void stream_input_check (lua_State *L, int arg) {
  stream_check(L, arg);
}

void stream_input_enter (lua_State *L, struct input *in) {
  stream_of_input(in)->ring = state_of(L)->loop->ring;
}

static bool stream_input_may_take (struct input *in, struct wait_node *node) {
  const struct stream *s = stream_of_input(in);
  size_t items = store_size(&in->store) > 0 || stream_completed(s);
  return turnq_may_take(&s->in.q, node, items);
}

/* Of a file, by a call: the kernel has no thread for a request. */
static enum fill read_at_once (lua_State *L, struct stream *s) {
  off_t at = lseek(s->fd, 0, SEEK_CUR);
  ssize_t n = pread(s->fd, s->memory->bytes, s->size, at);
  if (n < 0) {
    fail(L, errno, "read from %s", s->input.name);
    return FILL_FAILED;
  }
  if (n == 0)
    return FILL_END;
  if (!store_add(&s->input.store, state_of(L)->account, s->memory->bytes,
                 (size_t)n))
    return FILL_NO_MEMORY;
  lseek(s->fd, at + n, SEEK_SET);  /* guard: only of what was kept */
  s->at = at + n;
  return FILL_MORE;
}

static enum fill stream_input_fill (lua_State *L, struct input *in) {
  struct stream *s = stream_of_input(in);
  struct op *op = stream_op(s);
  struct pending_cqe a;
  bool polled, cancelled;
  if (op == NULL || op->results.first == NULL)
    return FILL_NOTHING;
  polled = op->opcode == IORING_OP_POLL_ADD;
  cancelled = op->op_flags & OP_CANCEL;
  /* guard: nothing is taken that cannot be kept */
  if (op->results.first->res > 0 && !polled
      && !store_add(&in->store, state_of(L)->account, s->memory->bytes,
                    (size_t)op->results.first->res))
    return FILL_NO_MEMORY;
  ring_take_op(s->ring, op, &a);
  if (a.res > 0 && !polled) {
    if (s->output.positioned && !endpoint_closed(s->d))
      output_moved(s->fd, s->at, a.res);
    s->at += a.res;
    if ((unsigned)a.res == s->size && s->size < LAST_READ) s->size *= 2;
    s->poll_first = false;
    return FILL_MORE;
  }
  if (a.res == 0)
    return FILL_END;
  s->poll_first = a.res == -EAGAIN;
  /* guard: or it is made for ever */
  if (loop_cut_short(a.res) && endpoint_closed(s->d)) {
    fail(L, EBADF, "%s is closed", s->input.name);
    return FILL_FAILED;
  }
  if (a.res == -ECANCELED && !cancelled && s->output.positioned && !polled)
    return read_at_once(L, s);
  if (a.res > 0 || a.res == -EAGAIN || loop_cut_short(a.res))
    return FILL_NOTHING;
  fail(L, -a.res, "read from %s", s->input.name);
  return FILL_FAILED;
}

static int stream_push_request (struct stream *s) {
  struct request q;
  struct op *op;
  int rc;
  if (s->poll_first) q = request_poll(&kind_poll_add, s->fd, POLLIN);
  else {
    if (s->memory && s->memory->size < s->size) {
      refblock_release(&s->memory->block);
      s->memory = NULL;
    }
    if (s->memory == NULL)
      s->memory = memory_to_fill(s->ring->account, s->size);
    if (s->memory == NULL)
      return -ENOMEM;
    if (s->output.positioned) s->at = lseek(s->fd, 0, SEEK_CUR);
    /* guard: what polls a socket that is not blocking, and has an error in its
       queue, is told of that, without end */
    q = request_of(s->output.sends ? &kind_recv : &kind_read, s->fd);
    q.sqe.off = s->output.sends ? 0 : UINT64_MAX;
    request_lend(&q, PLACE(addr), s->memory->bytes, &s->memory->block);
    q.sqe.len = s->size;
  }
  q.pin[OP_PIN_FD] = &s->d->block;
  rc = ring_push_one(s->ring, &q, OP_LOOPED, &op);
  if (rc < 0)
    return rc;
  object_waitq_serve(&s->in, op);
  s->token = op->token;
  return 0;
}

static int stream_input_start (lua_State *L, struct input *in,
                               int64_t deadline) {
  struct stream *s = stream_of_input(in);
  int rc = stream_op(s) == NULL ? stream_push_request(s) : 0;
  (void)deadline;
  return rc < 0 ? ring_push_failed(L, s->ring, rc) : 0;
}

/* Is there something to read? (A file's may have to come from a disk.) */
static bool stream_is_readable (const struct stream *s) {
  struct pollfd p = { s->fd, POLLIN, 0 };
  return !s->output.positioned && poll(&p, 1, 0) > 0;
}

/* Before Linux 6.4 a pipe is read by a thread of the kernel's: what is there
** comes a moment later. (The bound: a rival may have been quicker.) */
static bool stream_input_poll (struct input *in) {
  struct stream *s = stream_of_input(in);
  int64_t deadline;
  int rc = 0;
  if (stream_op(s) == NULL && stream_push_request(s) < 0)
    return true;  /* (start reports it) */
  ring_catch_up(s->ring);
  if (stream_ended(s) || !stream_is_readable(s))
    return stream_ended(s);
  deadline = clock_after(BY_THREAD);
  while (rc >= 0 && !stream_ended(s) && clock_left(deadline) > 0) {
    ring_enter(s->ring, 1, clock_left(deadline));
    rc = ring_reap(s->ring);
  }
  return stream_ended(s);
}

static void stream_input_end_turn (lua_State *L, struct input *in,
                                   struct wait_node *node) {
  struct stream *s = stream_of_input(in);
  turnq_end_turn(&s->in.q, node);
  if (s->in.q.waiting.last && s->in.q.turns == 0
      && (stream_ended(s) || store_size(&in->store) > 0))
    turnq_wake(state_of(L)->loop, &s->in.q);  /* guard: or it sleeps on */
}

static void stream_input_abandon (struct input *in) {
  struct stream *s = stream_of_input(in);
  struct op *op = stream_op(s);
  if (op && op->results.first == NULL && s->in.q.waiting.last == NULL)
    ring_cancel(s->ring, op);
}

static const struct input_ops stream_input_ops = {
  stream_input_check, stream_input_enter, stream_input_may_take,
  stream_input_fill, stream_input_start, stream_input_poll,
  stream_input_end_turn, stream_input_abandon
};

void stream_rewind (struct stream *s) {
  size_t ahead = store_size(&s->input.store);
  if (s->seekable && ahead > 0 && s->ring && stream_op(s) == NULL
      && lseek(s->fd, -(off_t)ahead, SEEK_CUR) >= 0)
    store_take(&s->input.store, ahead);
}


/* ---- output ------------------------------------------------------------ */

void stream_output_check (lua_State *L, int arg) {
  stream_check(L, arg);
}

bool stream_output_may_take (struct output *o, struct wait_node *node) {
  return turnq_may_take(&stream_of_output(o)->out.q, node, 1);
}

void stream_output_end_turn (lua_State *L, struct output *o,
                             struct wait_node *node) {
  struct stream *s = stream_of_output(o);
  turnq_end_turn(&s->out.q, node);
  if (s->out.q.turns == 0) turnq_wake(state_of(L)->loop, &s->out.q);
}

static const struct output_ops stream_output_ops = {
  stream_output_check, stream_output_may_take, stream_output_end_turn,
  NULL, NULL
};


/* ---- life -------------------------------------------------------------- */

struct stream *stream_check (lua_State *L, int arg) {
  struct stream *s = class_check(L, arg, CLASS_STREAM);
  if (s->d == NULL || handle_closed(s->d))
    luaL_argerror(L, arg, "attempt to use a closed stream");
  if (s->fork_id != fork_id())  /* guard: fork */
    luaL_argerror(L, arg, "this stream belongs to another process: it was "
                  "made before a fork");
  return s;
}

/* (The userdata exists before the descriptor, which therefore cannot leak.) */
struct stream *stream_push (lua_State *L, int uservalues) {
  struct stream *s;
  pressure_tell(L, 0, 1);
  s = class_new(L, CLASS_STREAM, sizeof(*s), uservalues);
  s->fork_id = fork_id();
  s->fd = s->in.fd = s->out.fd = -1;
  s->in.what = "to read from stream";
  s->out.what = "to write to stream";
  s->in.one_turn = s->out.one_turn = true;  /* guard: a read is one unit */
  s->size = FIRST_READ;
  s->input.ops = &stream_input_ops;
  s->input.name = s->output.name = "the stream";
  s->input.waitq = &s->in;
  s->input.limit = SIZE_MAX;
  s->input.line_limit = INPUT_LIMIT;
  s->output.ops = &stream_output_ops;
  s->output.waitq = &s->out;
  s->output.d = &s->d;
  s->d = handle_new();
  if (s->d == NULL)
    luaL_error(L, "not enough memory for a stream");
  pressure_hold(&state_of(L)->pressure, 0, 1);
  object_waitq_open(state_of(L), &s->in);
  object_waitq_open(state_of(L), &s->out);
  s->input.open = s->output.open = true;
  return s;
}

/* Cancel its request, and wake all that wait in its queues. (The loop of the
** state is NULL where that closes. What was only written has no s->ring.) */
static void stream_end_sides (struct loop *loop, struct stream *s) {
  if (s->fork_id == fork_id()) {
    struct op *op = stream_op(s);
    if (op) {
      op->waitq = NULL;  /* guard: the queue ends with the stream */
      ring_drop(s->ring, op);
      ring_cancel(s->ring, op);
    }
    s->token = 0;
    turnq_wake_all(loop, &s->in.q);
    turnq_wake_all(loop, &s->out.q);
  }
  object_waitq_close(&s->in);
  object_waitq_close(&s->out);
}

static void stream_free (struct stream *s) {
  store_free(&s->input.store);
  if (s->memory) refblock_release(&s->memory->block);
  s->memory = NULL;
}

/* How many bytes a read that was given up has moved the position by, if it has
** ended; or less than 0. */
static off_t stream_left (struct stream *s) {
  const struct op *op;
  if (stream_op(s) == NULL)
    return 0;
  stream_input_poll(&s->input);
  op = stream_op(s);
  if (op == NULL || op->results.first == NULL)
    return -1;
  return op->results.first->res > 0 && op->opcode != IORING_OP_POLL_ADD
         ? op->results.first->res : 0;
}

/* What was read ahead is for others that have the file: of a Lua file, of
** stdin. But where one of them has moved the position it is theirs. */
static void stream_give_back (lua_State *L, struct stream *s) {
  off_t left, ahead;
  if (s->fork_id != fork_id() || !s->output.positioned || endpoint_closed(s->d)
      || input_in_push(L, &s->input) || (left = stream_left(s)) < 0)
    return;
  ahead = left + (off_t)store_size(&s->input.store);
  if (ahead > 0 && lseek(s->fd, 0, SEEK_CUR) == s->at + left)
    lseek(s->fd, -ahead, SEEK_CUR);
}

/* (The collection of a stream does not end what others do with its
** descriptor; a close does.) */
static int stream_end (lua_State *L, struct stream *s, bool closed) {
  struct handle *d = s->d;
  int rc = 0;
  if (d == NULL)
    return 0;
  if (!closed) pressure_collected(&state_of(L)->pressure, 0, 1);
  pressure_drop(&state_of(L)->pressure, 0, 1);
  stream_give_back(L, s);
  state_of(L)->unflushed += output_end(&s->output, s->fork_id == fork_id());
  stream_end_sides(state_of(L)->loop, s);
  s->d = NULL;
  s->input.open = false;
  if (s->standard || s->finish)
    handle_release(d);  /* guard: the number stays open */
  else if (closed) rc = ring_close_handle(state_of(L)->rings, d);
  else {
    if (s->ring) ring_settle(s->ring, d);
    ring_reap_uses(state_of(L)->rings, d);
  }
  if (!input_in_push(L, &s->input)) stream_free(s);
  refblock_release(&d->block);
  return rc;
}

void stream_abandon (lua_State *L, struct stream *s) {
  stream_end(L, s, true);
}

static int stream_close_now (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  int n = output_close(L, &s->output);
  int rc = stream_end(L, s, true);
  if (s->finish)
    return s->finish(L, n);
  return n > 0 ? n : fd_closed(L, rc);
}

/* stream:close(): what was written goes first, for as long as it may linger */
static int stream_close (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  if (s->d == NULL || s->fork_id != fork_id()) {
    stream_end(L, s, true);
    lua_pushboolean(L, 1);
    return 1;
  }
  return output_linger(L, &s->output, stream_close_now);
}

static int stream_gc (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  if (s->drop && s->d) s->drop(L);
  stream_end(L, s, false);
  stream_free(s);
  free(s->name);
  s->name = NULL;
  /* guard: an event that a finalizer has kept says what is closed */
  s->input.name = s->output.name = "the stream";
  return 0;
}


/* ---- the class --------------------------------------------------------- */

static int stream_fileno (lua_State *L) {
  struct stream *s = stream_check(L, 1);
  if (s->finish)
    return luaL_argerror(L, 1, "a stream over functions has no descriptor");
  lua_pushinteger(L, handle_number(s->d));
  return 1;
}

static int stream_tostring (lua_State *L) {
  struct stream *s = class_check(L, 1, CLASS_STREAM);
  if (s->d == NULL) lua_pushliteral(L, "uring.Stream (closed)");
  else if (s->finish) lua_pushliteral(L, "uring.Stream (functions)");
  else if (s->name && s->name[0] == '\'')
    lua_pushfstring(L, "uring.Stream (%s, fd %d)", s->name, s->fd);
  else lua_pushfstring(L, "uring.Stream (fd %d)", s->fd);
  return 1;
}


static const luaL_Reg methods[] = {
  {"fileno", stream_fileno},
  {"close", stream_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", stream_gc},
  {"__close", stream_close},
  {"__tostring", stream_tostring},
  {NULL, NULL}
};

void stream_open (lua_State *L) {
  class_define(L, CLASS_STREAM, methods, meta, NULL);
}
