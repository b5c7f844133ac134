/*
** output: the write buffer of a socket or a stream.
**
** What is written is copied into a block of at most OUTPUT_SIZE bytes. The
** loop starts to write it when it next goes to the kernel
** (loop->before_enter), so that a flush that is forgotten delays nothing. One
** request is in flight at a time; meanwhile the next block is filled. A
** completion, which may run without a task, notes how much went, and puts the
** output back on the loop's list if there is more.
**
** An error drops what is buffered, and is reported once: by the next write,
** flush or close.
**
** Invariant: the bytes go in the order in which they were written, and are in
** memory that their request counts. While anything is buffered no other
** request of the object writes (send_busy), and while such a request is in
** flight nothing is buffered (`may_take`).
*/

#ifndef uring_output_h
#define uring_output_h

#include "base/refblock.h"
#include "task/wait.h"

#include <stdio.h>
#include <unistd.h>

#define OUTPUT_SIZE  65536u

struct output;

struct output_ops {
  /* Raise unless the object at `arg` is open and of this process. */
  void (*check) (lua_State *L, int arg);
  /* May this waiter write, or is it another's turn? */
  bool (*may_take) (struct output *o, struct wait_node *node);
  void (*end_turn) (lua_State *L, struct output *o, struct wait_node *node);
  /* Of a stream over functions, whose bytes go by calls (os/stream_calls.h);
     or NULL. Begin to make them, unless that is going on: 0, or 3 values were
     pushed. Push nil, message, errno of the error to be reported, or raise
     it. The stream is at stack index 1. */
  int (*start) (lua_State *L, struct output *o);
  int (*failed) (lua_State *L, struct output *o);
};

struct output {            /* of a socket or a stream */
  const struct output_ops *ops;
  struct object_waitq *waitq;
  struct handle **d;       /* of its object */
  const char *name;        /* for messages: "the socket", "'notes.txt'" */
  bool sends;              /* by send, and not by write */
  struct memory *block;    /* that is filled; NULL: it is empty */
  struct memory *going;    /* that is written; or NULL */
  size_t used;             /* of `block` */
  size_t from, upto;       /* of `going`: what is left to be written */
  struct ring *ring;
  uint64_t token;          /* of the request in flight, or 0 */
  struct output *next, **back;  /* on the loop's list; back is NULL: it is on
                                   none */
  off_t at;                /* positioned: where the request in flight began;
                              or -1 */
  size_t lost;             /* bytes that an error has dropped */
  int error;               /* that is yet to be reported; 0: none */
  FILE *standard;          /* C's stream of the same file, or NULL */
  bool by_write;           /* by write(2): print may write there meanwhile, and
                              a request on a file does not lock its position */
  bool positioned;         /* it goes to a file's position */
  bool appends;            /* or to its end, which moves the position there */
  bool lines;              /* a terminal: a line is written at once, if it can
                              be, and requests go to a thread */
  bool poll_first;         /* it is not blocking, and was full */
  bool nosignal;           /* its request has RWF_NOSIGNAL */
  bool plain;              /* ... and is made without it: one was refused */
  bool at_once;            /* its request was cancelled: what can be written
                              without waiting goes by write(2) */
  bool open;
};

/* A request at a file's position, which was at `before`, has moved n bytes.
** The kernel leaves the position where it was if it moves a part, tries the
** rest, and that fails: as when a disk becomes full. */
static inline void output_moved (int fd, off_t before, off_t n) {
  if (before >= 0 && lseek(fd, 0, SEEK_CUR) == before)
    lseek(fd, before + n, SEEK_SET);  /* guard: or the same place is next */
}

/* How many bytes are buffered. */
static inline size_t output_size (const struct output *o) {
  return o->used + (o->upto - o->from);
}

/* Before a write to a standard stream: if print has written since, what was
** written before goes out, and then what print has written. */
void output_begin (struct output *o);

/* fflush(3), without SIGPIPE. */
void output_flush_file (FILE *f);

/* Add bytes: how many, which is less than n if the buffer is full; -ENOMEM. */
ssize_t output_add (struct output *o, struct loop *loop, const char *at,
                    size_t n);

/* Start to write what is buffered, unless that is going on: 0 or -errno. */
int output_start (struct output *o, struct loop *loop);

/* The same, or begin to make calls: 0, or 3 values were pushed. The object is
** at stack index 1. */
int output_go (lua_State *L, struct output *o);

/* Of an output whose bytes go by calls: the bytes that go next, NULL: there
** are none; so many of them have gone; and no more can, by this errno. */
const unsigned char *output_next (struct output *o, size_t *n);
void output_went (struct output *o, size_t n);
void output_fail (struct output *o, int err);

/* The error that is to be reported, and is no longer; 0: there is none. */
static inline int output_take_error (struct output *o) {
  int err = o->error;
  o->error = 0;
  o->lost = 0;
  return err;
}

/* May all that is buffered, if it is at most `most` bytes, be sent by a call?
** Then these are its bytes. */
static inline bool output_may_send (const struct output *o, size_t most) {
  return o->token == 0 && !o->error && output_size(o) <= most
         && (o->going == NULL || o->used == 0);
}

static inline const unsigned char *output_bytes (const struct output *o) {
  return o->going ? o->going->bytes + o->from : o->block->bytes;
}

/* The first `n` bytes of it were. */
void output_drop_sent (struct output *o, size_t n);

/* Before its object is closed: cancel the request in flight, and take what it
** has done, unless that takes a thread of the kernel's longer. */
void output_settle (struct output *o);

/* The object ends: write what is possible without waiting and without the loop
** (in a forked child, which is not `in_owner`, nothing), and drop the rest:
** its size. */
size_t output_end (struct output *o, bool in_owner);

/* What is buffered, with no request in flight, and the error that is to be
** reported, of an object that goes to another state: move them to an output
** that has none, which may be a mere record; write them there by this loop, or
** with the next write if that is NULL, from memory of this account; or drop
** them, after what can be written to `fd` without waiting, if it is not -1. */
void output_move (struct output *from, struct output *to);
void output_resume (struct output *o, struct account *a, struct loop *loop);
void output_discard (struct output *o, int fd);

/* nil, message, errno of the error to be reported; 0: there is none. */
int output_failed (lua_State *L, struct output *o);

/* Call `finish` with the object, which is at 1, when all is written, an error
** is to be reported, or the time to linger is over. Where no task can wait it
** is called at once. Used as `return output_linger(...)`. */
int output_linger (lua_State *L, struct output *o, lua_CFunction finish);

/* For a close: end it, and push nil, message, errno and the number of bytes
** that did not go. 0: all went. */
int output_close (lua_State *L, struct output *o);

/* The wait until all is written: `flush`. */
extern const struct wait_kind output_flushing;

#endif
