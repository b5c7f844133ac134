/*
** stream: the class uring.Stream: a descriptor that is read and written as
** a file of Lua's io is: of a pipe, a terminal, a device, a file.
**
** A stream owns its descriptor, and has a queue for those that read and one
** for those that write. At most one request to read is in flight. It belongs
** to the stream, and fills a block of the stream's own. What it brings is
** moved to the store (net/input.h) when a task reads.
**
** What can never happen: bytes that arrived are lost because a task left; two
** requests read at once; a task sleeps on in the queue of a closed stream.
*/

#ifndef uring_stream_h
#define uring_stream_h

#include "base/handle.h"
#include "net/endpoint.h"

#include <stddef.h>

/* Of a stream over functions (stream_calls.h): its call that reads. */
enum call_state { CALL_NONE, CALL_RUNS, CALL_RETURNED, CALL_RAISED };

struct stream {            /* the userdata; begins as struct endpoint does */
  struct handle *d;        /* NULL: closed */
  uint8_t away;            /* (it never is) */
  struct input input;
  struct output output;
  struct ring *ring;       /* the loop's; NULL: not used with one yet */
  uint32_t fork_id;
  int fd;                  /* for messages */
  char *name;              /* for them, or NULL; input and output have it */
  struct object_waitq in, out;
  uint64_t token;          /* of the request that reads; 0: none yet */
  struct memory *memory;   /* that it fills */
  unsigned size;           /* of the next one */
  off_t at;                /* positioned: where it began, or has ended */
  bool seekable;
  bool standard;           /* its close leaves the number open */
  bool poll_first;         /* it is not blocking: poll it before a read */
  /* A stream over functions: it is closed, after `n` values were pushed; or
     collected. NULL: it is none. */
  int (*finish) (lua_State *L, int n);
  void (*drop) (lua_State *L);
  enum call_state call_state;
  bool writes;             /* the task of its calls that write has not ended */
};

static inline struct stream *stream_of_input (struct input *in) {
  return (struct stream *)((char *)in - offsetof(struct stream, input));
}

static inline struct stream *stream_of_output (struct output *o) {
  return (struct stream *)((char *)o - offsetof(struct stream, output));
}

/* Push a new stream, which has no descriptor yet. */
struct stream *stream_push (lua_State *L, int uservalues);

/* A new one that gets no descriptor ends now, and not when it is collected. */
void stream_abandon (lua_State *L, struct stream *s);

/* The open stream at `arg`, of this process. */
struct stream *stream_check (lua_State *L, int arg);

/* Is a request to read in flight, or has it something to take? */
bool stream_reads (const struct stream *s);

/* Before a write to a file: the bytes that were read ahead are to be read
** again, and the position is that after those that were read. */
void stream_rewind (struct stream *s);

/* Parts of `struct input_ops` and `struct output_ops` for streams. */
void stream_input_check (lua_State *L, int arg);
void stream_input_enter (lua_State *L, struct input *in);
void stream_output_check (lua_State *L, int arg);
bool stream_output_may_take (struct output *o, struct wait_node *node);
void stream_output_end_turn (lua_State *L, struct output *o,
                             struct wait_node *node);

int stream_pipe (lua_State *L);   /* uring.pipe() */
int stream_new (lua_State *L);    /* uring.stream(x) */

/* The functions for lua/uring/file.lua, into the table on top. */
void stream_functions (lua_State *L);

void stream_open (lua_State *L);  /* the class; and methods of sockets */

#endif
