/*
** socket: the sockets of tasks, from `socket_push` to their close. What they
** do is elsewhere: socket_calls.c and socket_option.c have the system calls
** that never wait, recv.c and send.c those that do.
**
** A socket owns its descriptor, and has a receive side and a send side, each
** with a wait queue. On the receive side at most one request is in flight (a
** receive or accept, or a multishot of either). It belongs to the socket and
** not to a task: a task waits in the side's queue, takes the next completion,
** and wakes the next waiter. So what completes after its waiter has left stays
** with the request, and the next task that receives takes it first. On the
** send side each request belongs to a task. They go one after another, and
** tasks wait in the side's queue for their turn.
**
** How many completions may be pending on the receive side is bounded: at the
** bound the multishot is cancelled, and it is armed again when all were taken.
**
** What can never happen: bytes, a datagram, a connection or a descriptor that
** arrived is lost because a task left; two requests write to the same memory;
** a task sleeps on in the queue of a closed socket.
**
** The exception on the send side: requests of datagrams, which cannot mix, are
** in flight together. The side's token is then that of the last, and unused.
*/

#ifndef uring_socket_h
#define uring_socket_h

#include "compat.h"
#include "base/handle.h"
#include "lua/state.h"
#include "api/msghdr.h"
#include "task/wait.h"
#include "net/buf_pool.h"
#include "net/endpoint.h"

struct socket_side {
  struct object_waitq waitq;
  uint64_t token;          /* of its request; 0: there was none yet */
};

struct arrived;

struct arrived_list {      /* net/arrived.h; zeroed: empty */
  struct arrived *first, *last;
  size_t count;
};

/* The payload of one completion, or what is left of it. It is in the socket's
** own memory, or in a buffer of `group`, of which the socket has a count, or
** in what has `arrived`. */
struct rx_data {
  unsigned char *at;       /* NULL: there is none; the end, of a multishot or
                              by shutdown, is the socket itself */
  uint32_t size, full;     /* what is left; the length of the datagram */
  const unsigned char *name;
  unsigned char *control;
  uint32_t name_size, control_size, flags;
  struct buf_group *group;
  struct arrived *arrived;
  uint16_t bid;
};

/* The record of a loan (net/socket_move.h), which lies in what lends. The
** socket clears `socket` when it is collected. */
struct socket_lent {
  struct socket *socket;
  struct handle *d;        /* counted */
};

struct socket {            /* the userdata; begins as struct endpoint does */
  struct handle *d;        /* NULL: closed, or away */
  uint8_t away;            /* enum fd_away */
  struct input input;      /* what was taken from rx_data to be read by format,
                              and not read yet; it comes before `rx` */
  struct output output;    /* what was written and has not gone yet */
  struct ring *ring;       /* the loop's; NULL: not used with one yet */
  uint32_t fork_id;
  int family, type;
  struct socket_side in, out;
  uint64_t poll_in, poll_out;  /* tokens of its polls: is it readable, is it
                                  writable? */
  struct memory *memory;   /* that a single receive fills */
  struct msg *msg;         /* header of its recvmsg requests */
  struct buf_pool *pool;       /* that its multishot picks from */
  struct buf_pool *own_pool;   /* its own, which it keeps; NULL: none */
  struct buf_group *group;     /* counted: of the last rx_data in a buffer */
  const struct address *from;  /* the last sender, a user value */
  struct rx_data rx;       /* taken from the request, and not read yet */
  struct arrived_list arrived;  /* the same of earlier requests; it comes after
                                   `rx`, and before what completes */
  struct socket_lent *lent;  /* the record of the loan; NULL: it is not lent */
  unsigned control_capacity;   /* of a request for control messages */
  unsigned rx_size;        /* of the next receive from a stream */
  unsigned rx_datagram_size;   /* of the last single receive of a datagram */
  uint32_t failed_accepts; /* for want of a descriptor or memory */
  bool rx_exhausted;       /* no buffer was free, or no descriptor */
  bool rx_empty;           /* the last receive has left nothing: poll first */
  bool rx_shutdown;        /* for reading: no more will arrive */
  bool zero_copy;          /* large sends go without a copy */
};

/* User values. */
#define SOCKET_FROM  1     /* the last sender */
#define SOCKET_INFO  2     /* the info of a datagram without flags or
                              control messages */
#define SOCKET_VALUES 2

/* Push a new socket, which has no descriptor yet; and give it one. The
** userdata exists before the descriptor, which therefore cannot leak. */
struct socket *socket_push (lua_State *L, int family, int type);
void socket_own (lua_State *L, struct socket *s, int number);

/* The open socket at `arg`, of this process. */
struct socket *socket_check (lua_State *L, int arg);

/* The request in flight of a side, or with completions to take; or NULL. */
struct op *socket_op (const struct socket *s, const struct socket_side *side);

/* The operation with this token, as in `poll_in` and `poll_out`; NULL: it has
** ended. */
struct op *socket_find_op (const struct socket *s, uint64_t token);

/* The capacity for control messages that no option of ours has enabled:
** descriptors, and credentials, for SO_PASSCRED may be set by other processes
** that share the socket. */
unsigned socket_default_control (int family);

/* Is what it receives a stream, without message boundaries? */
static inline bool socket_is_stream (const struct socket *s) {
  return s->type == SOCK_STREAM;
}

/* Would sends of two tasks mix, so that they have to go one after another? */
static inline bool socket_is_ordered (const struct socket *s) {
  return s->type != SOCK_DGRAM && s->type != SOCK_RAW;
}

void socket_open (lua_State *L);  /* the class */

/* The methods that wait: they receive and accept, send and connect. */
void recv_open (lua_State *L);
void recv_input_open (lua_State *L);
void send_open (lua_State *L);
void send_event_open (lua_State *L);
void sendfile_open (lua_State *L);
void socket_try_open (lua_State *L);

#endif
