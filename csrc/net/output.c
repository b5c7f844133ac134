/*
** output: see the header. It fills blocks, makes requests of them, and takes
** their results. What must not break: what runs at a completion allocates
** nothing and does not enter the kernel; no SIGPIPE is raised.
*/

#include "compat.h"
#include "net/output.h"

#include "ring/ring_cancel.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "api/prep_build.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The sizes of smaller blocks. The allocator has the first of them at hand. */
#define SMALL_SIZE  896u
#define MIDDLE_SIZE  4096u

/* Does this kernel lack RWF_NOSIGNAL? Found out by the first write that it
** refuses with the flag, and does without. */
static atomic_bool no_nosignal;


/* ---- blocks ------------------------------------------------------------- */

static void output_drop (struct output *o) {
  if (o->going) refblock_release(&o->going->block);
  if (o->block) refblock_release(&o->block->block);
  o->going = o->block = NULL;
  o->used = o->from = o->upto = 0;
}

/* The block that was filled is the next to be written. */
static void output_turn (struct output *o) {
  if (o->going || o->used == 0)
    return;
  o->going = o->block;
  o->upto = o->used;
  o->block = NULL;
  o->from = o->used = 0;
}

const unsigned char *output_next (struct output *o, size_t *n) {
  output_turn(o);
  *n = o->upto - o->from;
  return o->going ? o->going->bytes + o->from : NULL;
}

void output_went (struct output *o, size_t n) {
  o->from += n;
  if (o->going && o->from == o->upto) {
    refblock_release(&o->going->block);
    o->going = NULL;
    o->from = o->upto = 0;
  }
}

void output_fail (struct output *o, int err) {
  o->error = err;
  o->lost = output_size(o);
  output_drop(o);
}


/* ---- without the loop --------------------------------------------------- */

/* What this thread writes between these two raises no SIGPIPE. `failed`: with
** EPIPE. A signal that was pending before stays so. */
struct no_sigpipe { sigset_t before; bool pending; };

static void no_sigpipe_begin (struct no_sigpipe *n) {
  sigset_t pipe, pending;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &n->before);
  sigpending(&pending);
  n->pending = sigismember(&pending, SIGPIPE);
}

static void no_sigpipe_end (const struct no_sigpipe *n, bool failed) {
  const struct timespec now = { 0, 0 };
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  if (failed && !n->pending) sigtimedwait(&pipe, NULL, &now);
  pthread_sigmask(SIG_SETMASK, &n->before, NULL);
}

/* write(2) of a little, which neither waits nor raises SIGPIPE. EAGAIN: there
** is no room. */
static ssize_t write_at_once (int fd, const void *at, size_t n, int timeout) {
  struct pollfd p = { fd, POLLOUT, 0 };
  struct no_sigpipe quiet;
  ssize_t done;
  int err, ready = poll(&p, 1, timeout);
  if (ready < 0)
    return -1;
  if (ready == 0 || !(p.revents & (POLLOUT | POLLERR))) {
    errno = EAGAIN;
    return -1;
  }
  no_sigpipe_begin(&quiet);
  done = write(fd, at, n < PIPE_BUF ? n : PIPE_BUF);  /* (more may wait) */
  err = errno;
  no_sigpipe_end(&quiet, done < 0 && err == EPIPE);
  errno = err;
  return done;
}

void output_flush_file (FILE *f) {
  struct no_sigpipe quiet;
  no_sigpipe_begin(&quiet);
  no_sigpipe_end(&quiet, fflush(f) != 0 && errno == EPIPE);
}

/* Write what is buffered, without the loop. `timeout`: 0, or -1 to wait. */
static void write_rest (struct output *o, int fd, int timeout) {
  output_turn(o);
  while (o->going) {
    const unsigned char *at = o->going->bytes + o->from;
    size_t left = o->upto - o->from;
    ssize_t n = o->sends
                ? send(fd, at, left, MSG_DONTWAIT | MSG_NOSIGNAL)
                : write_at_once(fd, at, left, timeout);
    if (n < 0 && errno == EINTR)
      continue;  /* guard: a signal that the host handles loses nothing */
    if (n <= 0)
      return;
    output_went(o, (size_t)n);
    output_turn(o);
  }
}

/* The terminal once more, with an O_NONBLOCK that others who have it do not
** get; or -1. It is opened for each use: kept open, it would be used where the
** number is another file's by then, and outlive the terminal's last close. */
static int open_again (int fd) {
  char path[40];
  int unused, again;
  unsigned device, other;
  /* The other side's name makes a new one; and a serial line that is opened
     raises its DTR. */
  if (ioctl(fd, TIOCGDEV, &device) < 0 || ioctl(fd, TIOCGPTN, &unused) == 0
      || ioctl(fd, TIOCMGET, &unused) == 0)
    return -1;
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  again = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  /* (/dev/tty and its like may be another one by now) */
  if (again >= 0 && (ioctl(again, TIOCGDEV, &other) < 0 || other != device)) {
    close(again);
    return -1;
  }
  return again;
}

/* Write of what is buffered what there is room for, at once. False: it might
** wait. (A write to a terminal waits for room, whatever a poll says.) */
static bool write_at_hand (struct output *o) {
  int fd = handle_number(*o->d), again;
  if (!o->lines) {
    write_rest(o, fd, 0);
    return true;
  }
  if (output_size(o) == 0)
    return true;
  again = open_again(fd);
  if (again < 0)
    return false;
  write_rest(o, again, 0);
  close(again);
  return true;
}


/* ---- the loop's list --------------------------------------------------- */

static void output_unlist (struct output *o) {
  if (o->back) {
    *o->back = o->next;
    if (o->next) o->next->back = o->back;
    o->back = NULL;
  }
}

static void output_start_all (struct loop *loop) {
  struct output *all = loop->outputs;
  loop->outputs = NULL;
  if (all) all->back = &all;
  while (all) {
    struct output *o = all;
    output_unlist(o);
    if (output_start(o, loop) == -ENOMEM) loop->retry = true;
  }
}

void output_begin (struct output *o) {
  if (o->standard && __fpending(o->standard) > 0) {
    if (o->token == 0) write_rest(o, handle_number(*o->d), -1);
    output_flush_file(o->standard);
  }
}

/* The run has ended: what was written to a standard stream is out by then, as
** what print has written is when the program ends. */
static void output_write_standard (struct loop *loop) {
  for (struct output *o = loop->outputs, *next; o; o = next) {
    next = o->next;
    if (!o->standard || o->token != 0) continue;
    write_rest(o, handle_number(*o->d), -1);
    if (output_size(o) == 0) output_unlist(o);
  }
}

static void output_list (struct output *o, struct loop *loop) {
  if (o->back)
    return;
  o->next = loop->outputs;
  o->back = &loop->outputs;
  if (o->next) o->next->back = &o->next;
  loop->outputs = o;
  loop->before_enter = output_start_all;
  loop->after_run = output_write_standard;
}


/* ---- requests ---------------------------------------------------------- */

static struct request output_request (const struct output *o) {
  int fd = handle_number(*o->d);
  struct request q;
  if (o->poll_first)
    return request_poll(&kind_poll_add, fd, POLLOUT);
  q = request_of(o->sends ? &kind_send : &kind_write, fd);
  if (o->sends) q.sqe.msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  else {
    q.sqe.off = UINT64_MAX;
    /* guard: a write to a pipe without a reader kills the process; a worker of
       the kernel's does not take the signal. And a write to a terminal is
       made in the submit, and waits there for room. */
    if (o->plain || o->lines || atomic_load(&no_nosignal))
      q.sqe.flags |= IOSQE_ASYNC;
    else q.sqe.rw_flags = RWF_NOSIGNAL;
  }
  request_lend(&q, PLACE(addr), o->going->bytes + o->from, &o->going->block);
  q.sqe.len = (uint32_t)(o->upto - o->from);
  return q;
}

/* The request that has ended was refused as such: make another one. */
static bool output_refused (struct output *o, const struct op *op,
                            int32_t res) {
  if (op->opcode == IORING_OP_POLL_ADD) {
    o->poll_first = false;
    return true;
  }
  o->poll_first = res == -EAGAIN;
  if (res == -EAGAIN || res == -EINTR)
    return true;
  /* (the error may be the file's own: then it comes again) */
  o->plain = res == -EOPNOTSUPP && o->nosignal;
  return o->plain;
}

/* The `completed` of its queue. */
static void output_completed (struct loop *loop, struct object_waitq *waitq,
                              const struct op *op, int32_t res) {
  struct output *o = waitq->output;
  if (op->token != o->token)
    return;
  o->token = 0;
  if (res > 0 && op->opcode != IORING_OP_POLL_ADD) {
    if (o->plain) atomic_store(&no_nosignal, true);
    if (o->positioned) output_moved(handle_number(*o->d), o->at, res);
    output_went(o, (size_t)res);
  }
  else if (loop_cut_short(res) && handle_closed(*o->d))
    output_fail(o, EBADF);  /* guard: or it is made for ever */
  else if (loop_cut_short(res) && res != -EINTR)
    /* (the loop has ended, and the rest stays for the next one; or the kernel
       can start no thread, as at RLIMIT_NPROC, and will cancel the next, too)
       */
    o->at_once = !o->sends && !(op->op_flags & OP_CANCEL);
  else if (!output_refused(o, op, res))
    output_fail(o, res < 0 ? -res : EIO);
  if (output_size(o) > 0) output_list(o, loop);
}

static void output_serve (struct output *o, struct op *op) {
  o->waitq->output = o;
  o->waitq->completed = output_completed;
  o->waitq->one_turn = true;  /* guard: a write of pieces is one unit */
  object_waitq_serve(o->waitq, op);
  o->token = op->token;
}

void output_drop_sent (struct output *o, size_t n) {
  output_turn(o);
  output_went(o, n);
  if (output_size(o) == 0) output_unlist(o);
}

int output_start (struct output *o, struct loop *loop) {
  struct request q;
  struct op *op;
  int rc;
  if (!o->open || o->token != 0)
    return 0;
  output_turn(o);
  if (o->going == NULL)
    return 0;
  if (o->by_write) {  /* guard: or print's text and ours overlap */
    write_rest(o, handle_number(*o->d), -1);
    if (o->going) output_fail(o, errno);
    return 0;
  }
  if (o->at_once) {
    o->at_once = false;
    if (!write_at_hand(o)) write_rest(o, handle_number(*o->d), 0);
    if (o->going && errno != EAGAIN) output_fail(o, errno);
    o->poll_first = true;  /* (that needs no thread, and wakes what waits) */
  }
  o->ring = loop->ring;
  if (o->positioned)
    o->at = o->appends ? -1 : lseek(handle_number(*o->d), 0, SEEK_CUR);
  q = output_request(o);
  o->nosignal = q.sqe.opcode == IORING_OP_WRITE && q.sqe.rw_flags != 0;
  q.pin[OP_PIN_FD] = &(*o->d)->block;
  rc = ring_push_one(o->ring, &q, OP_LOOPED, &op);
  if (rc < 0) {
    output_list(o, loop);
    return rc;
  }
  output_serve(o, op);
  ring_drop(o->ring, op);  /* (its result is for output_completed) */
  return 0;
}


/* ---- filling ----------------------------------------------------------- */

/* A block with room for n more bytes, or as large as one may be. One of a few
** bytes is small, for there may be many of them. */
static bool output_make_room (struct output *o, struct account *a, size_t n) {
  size_t size = n > OUTPUT_SIZE - o->used ? OUTPUT_SIZE : o->used + n;
  struct memory *m;
  if (o->block && size <= o->block->size)
    return true;
  m = memory_to_fill(a, size <= SMALL_SIZE ? SMALL_SIZE
                        : size <= MIDDLE_SIZE ? MIDDLE_SIZE : OUTPUT_SIZE);
  if (m == NULL)
    return false;
  if (o->block) {
    memcpy(m->bytes, o->block->bytes, o->used);
    refblock_release(&o->block->block);
  }
  o->block = m;
  return true;
}

ssize_t output_add (struct output *o, struct loop *loop, const char *at,
                    size_t n) {
  size_t done = 0;
  while (done < n) {
    size_t room;
    if (o->used == OUTPUT_SIZE) output_turn(o);
    if (o->used == OUTPUT_SIZE && o->by_write) output_start(o, loop);
    if (!output_make_room(o, loop ? loop->state->account : NULL, n - done)) {
      if (done > 0) break;
      return -ENOMEM;
    }
    room = o->block->size - o->used;
    if (room > n - done) room = n - done;
    if (room == 0)
      break;
    memcpy(o->block->bytes + o->used, at + done, room);
    o->used += room;
    done += room;
  }
  if (o->ops->start == NULL) output_list(o, loop);
  if (o->lines && o->token == 0 && memrchr(at, '\n', done))
    write_at_hand(o);
  return (ssize_t)done;
}


/* ---- the end ----------------------------------------------------------- */

/* (Its result is not known, so nothing may be written after it.) */
static void abandon_request (struct output *o) {
  struct op *op = o->ring->open ? op_find(&o->ring->ops, o->token) : NULL;
  if (op) {
    op->waitq = NULL;  /* guard: the queue ends with the object */
    ring_cancel(o->ring, op);
  }
}

void output_settle (struct output *o) {
  struct op *op = o->token != 0 && o->ring->open
                  ? op_find(&o->ring->ops, o->token) : NULL;
  if (op == NULL)
    return;
  ring_cancel(o->ring, op);
  ring_settle(o->ring, *o->d);
}

size_t output_end (struct output *o, bool in_owner) {
  size_t left;
  if (in_owner) {  /* guard: a child would write its parent's bytes again */
    output_unlist(o);
    if (o->token != 0) abandon_request(o);
    else if (o->open && *o->d && handle_number(*o->d) >= 0
             && !write_at_hand(o) && o->standard)
      write_rest(o, handle_number(*o->d), 0);  /* (as print's text is) */
  }
  o->token = 0;
  o->open = false;
  left = output_size(o);
  output_drop(o);
  return left;
}


/* ---- to another state -------------------------------------------------- */

void output_move (struct output *from, struct output *to) {
  output_unlist(from);
  to->block = from->block;
  to->going = from->going;
  to->used = from->used;
  to->from = from->from;
  to->upto = from->upto;
  to->lost = from->lost;
  to->error = output_take_error(from);
  from->block = from->going = NULL;
  from->used = from->from = from->upto = 0;
}

void output_resume (struct output *o, struct account *a, struct loop *loop) {
  if (output_size(o) == 0)
    return;
  if (o->block) memory_adopt(o->block, a);
  if (o->going) memory_adopt(o->going, a);
  if (loop) output_list(o, loop);
}

void output_discard (struct output *o, int fd) {
  if (fd >= 0) write_rest(o, fd, 0);
  output_drop(o);
}
