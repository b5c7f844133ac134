/*
** recv_request: the receive side of a socket: its requests, and taking their
** completions. Nothing here waits; recv.c and recv_input.c do, and only they
** and socket_try.c call this.
**
** A task that receives tries in this order: the store of formatted reads; what
** is left of the last payload; what has completed; a new request of the right
** kind, if none is in flight; the wait queue. A task that leaves data or
** completions wakes the next waiter. A task that leaves without having
** received cancels the request, if no other task waits for it. What that
** delivers all the same stays with the socket.
**
** What can never happen: two requests fill the same memory; a request is made
** while completions of the last are to be taken.
*/

#ifndef uring_recv_request_h
#define uring_recv_request_h

#include "net/socket.h"

enum { WANT_DATA, WANT_CONNECTION };

struct reader {            /* the userdata of an iterator */
  struct socket *s;        /* its user value */
  const struct state *state;
  int64_t ns;              /* the timeout of each step, or CLOCK_NEVER */
  uint32_t size;           /* of a buffer */
  uint16_t bound;
  uint8_t want;
  bool lease;
  bool headers;            /* by recvmsg: with from and info */
  bool fds;                /* with descriptors in info */
};

/* The arguments of the running call. */
struct recv_args {
  struct socket *s;
  int socket;              /* its index on the stack */
  const struct reader *reader;  /* NULL: a single receive */
  lua_Integer max;
  int want;
  int results;             /* of payload, from, info; 0: it reads by format */
};

/* Does the call return descriptors that arrive? A single receive does. */
static inline bool recv_wants_fds (const struct recv_args *a) {
  return a->reader ? a->reader->fds : a->results > 0;
}

#define MAX_DATAGRAM  65536u

/* Take what is there: how many values were pushed (which may be nil, message,
** errno); 0: there is nothing. */
int recv_take (lua_State *L, const struct recv_args *a);

/* The same of the kernel's, by recvmsg(2), where nothing is in flight. */
int recv_now (lua_State *L, const struct recv_args *a);

/* Move what has completed to the store of the socket, for a formatted read. */
enum fill recv_fill (lua_State *L, const struct recv_args *a);

/* Has nothing completed, and is nothing in flight? */
bool recv_idle (const struct socket *s);

/* The `describe` of the receive side's queue (struct object_waitq). */
void recv_describe (lua_State *L, const struct object_waitq *waitq,
                    lua_State *co);

/* How many waiters can take something; and is the request of the other kind,
** for connections or for data? */
size_t recv_items (const struct socket *s);
bool recv_mismatch (const struct socket *s, const struct recv_args *a);

/* Is there anything to take, or an error? */
bool recv_ready (const struct socket *s);

/* For a call that does not wait: enter the kernel if that may complete
** anything, and reap. False: there is nothing, and a request made now would
** not complete at once. */
bool recv_poll (struct socket *s);

/* Make a request, if none is in flight. 0, or how many values were pushed. */
int recv_start (lua_State *L, const struct recv_args *a);

/* If the receive in flight has a smaller buffer than this call needs, for a
** datagram, cancel it, so that a larger one follows. */
void recv_widen (struct socket *s, const struct recv_args *a);

/* A wait ends with nothing: cancel the request if no other task waits. */
void recv_abandon (struct socket *s);

/* Wake the next waiter, if there is something to take or to start. */
void recv_wake_next (lua_State *L, struct socket *s);

int recv_closed (lua_State *L);

#endif
