/*
** input: what formatted reads (os/stream_read.h) need of an object that has
** bytes: a socket, or a stream. Both have a `struct input`, with the store of
** what has arrived and the functions that get more.
**
** The request that gets more belongs to the object, and not to a task. So
** a read that ends early leaves nothing behind that could be lost: what its
** request brings is there for the next read.
**
** A read is one unit. The object's queue has at most one waiter with a turn
** (`one_turn`), and one that needs more joins it again at the front: so no
** other reads between its pieces.
**
** Invariant: the store is not touched while bytes of it are being pushed:
** `in_push` is set, and finalizers, which alone can run then, see that.
*/

#ifndef uring_input_h
#define uring_input_h

#include "base/store.h"
#include "task/wait.h"

/* Index 4 of the stack of a formatted read is at least this: that of a receive
** is less. */
#define INPUT_READ  64

/* What `fill` gives. */
enum fill {
  FILL_NOTHING,            /* nothing has arrived yet */
  FILL_MORE,               /* there is more in the store */
  FILL_END,                /* the end of data */
  FILL_NO_MEMORY,          /* the store cannot have it: it is still to be
                              taken */
  FILL_FAILED              /* nil, message, errno were pushed */
};

struct input;

struct input_ops {
  /* Raise unless the object at `arg` is open and of this process. */
  void (*check) (lua_State *L, int arg);
  /* Before it is used in the running task. */
  void (*enter) (lua_State *L, struct input *s);
  /* May this waiter take from it, or is it another's turn? */
  bool (*may_take) (struct input *s, struct wait_node *node);
  /* Move what has arrived into the store. */
  enum fill (*fill) (lua_State *L, struct input *s);
  /* Ask for more, unless that is in flight: 0, or 3 values were pushed. The
     object is at stack index 1. `deadline` is that of the first that waits for
     it, or 0 for a call that does not wait. */
  int (*start) (lua_State *L, struct input *s, int64_t deadline);
  /* For a call that does not wait. False: nothing more is there. */
  bool (*poll) (struct input *s);
  /* The turn of this waiter is over; it leaves with nothing: the request is
     cancelled if no other waits. */
  void (*end_turn) (lua_State *L, struct input *s, struct wait_node *node);
  void (*abandon) (struct input *s);
};

struct input {
  struct store store;
  const struct input_ops *ops;
  struct object_waitq *waitq;
  const char *name;        /* for messages: "the socket", "'notes.txt'" */
  size_t limit;            /* of a read of all or a count; SIZE_MAX: none */
  size_t line_limit;       /* the same of a line, or up to a delimiter */
  bool open;
  bool in_push;            /* its bytes are being pushed */
};

/* What is not a file is read in lines of at most this size, unless its limit
** is another. All and counts have none then: the program asked for them. */
#define INPUT_LIMIT  ((size_t)1 << 20)

/* Is this a finalizer that runs while bytes are being pushed? (`in_push` alone
** does not say so: it stays set if the push raised.) */
static inline bool input_in_push (lua_State *L, const struct input *s) {
  return s->in_push && !loop_may_wait(L, state_of(L)->loop);
}

#endif
