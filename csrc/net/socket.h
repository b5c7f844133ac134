/*
** socket: sockets of the tasks: `uring.socket(…)` and what never waits.
**
** A socket owns its descriptor and has two halves. Inwards at most one request
** is under way (a receive or accept, or a multishot of either), and it is the
** socket's, not a task's: a task that waits stands in the half's line, takes
** the next completion, and passes the wake on. So what comes too late for
** whoever asked stays with the request, and the next to ask finds it first.
** Outwards each request is a task's own, one after another: who finds one
** under way stands in the line.
**
** How much may be waiting inwards is bounded: at the bound the multishot is
** cancelled, and armed again when all has been taken.
**
** What can never happen: bytes, a datagram, a connection or a descriptor that
** arrived is lost because a task went away; two requests write into the same
** memory; a closed socket's line keeps a task asleep.
**
** The exception outwards: requests with datagrams, which cannot mix, are under
** way together; the half's token is then of the last, and of no use.
*/

#ifndef uring_socket_h
#define uring_socket_h

#include "compat.h"
#include "base/handle.h"
#include "lua/state.h"
#include "api/msghdr.h"
#include "task/wait.h"
#include "net/buf_pool.h"

struct half {
  struct socket_waitq waitq;
  uint64_t token;          /* of its request; 0: none yet */
};

/* What one completion has brought, or what is left of it. It lies in the
** socket's own memory, or in a buffer of `group`, which the socket counts. */
struct rx_data {
  unsigned char *at;       /* NULL: none is there */
  uint32_t size, full;     /* payload left; all that the datagram had */
  const unsigned char *name;
  unsigned char *control;
  uint32_t name_size, control_size, flags;
  struct buf_group *group;
  uint16_t bid;
};

struct socket {
  struct handle *d;        /* NULL: closed; first, as in struct fd */
  struct ring *ring;       /* the loop's, when it has been used */
  uint32_t fork_id;
  int family, type;
  struct half in, out;
  uint64_t space;          /* tokens of two polls: is there room to send? */
  uint64_t sight;          /* has anything come? */
  struct memory *memory;   /* what a single receive fills */
  struct msg *msg;         /* header of its recvmsg requests */
  struct buf_pool *pool;       /* what its multishot picks from */
  struct buf_pool *own_pool;   /* nobody else's; its user value */
  struct buf_group *group;     /* counted: where the last chunk lay, or lies */
  const struct address *from;  /* who sent last: its user value */
  struct rx_data rx;      /* taken from the request, and not yet read */
  unsigned control_capacity;   /* for what setsockopt has switched on */
  unsigned room;           /* of the next receive from a stream */
  unsigned whole;          /* of the last single receive of a datagram */
  uint32_t failed;         /* accepts that there was no descriptor for */
  bool rx_exhausted;            /* there was no buffer at home */
  bool rx_shutdown;               /* shut down: no more will come */
  bool zero_copy;          /* large sends go without a copy */
  bool in_push;            /* Lua is being given its chunk */
};

/* User values. */
#define SOCKET_FROM  1     /* who sent last */
#define SOCKET_INFO  2     /* the info of a datagram that has nothing to say */
#define SOCKET_POOL  3     /* its own pool, if it has one */
#define SOCKET_VALUES 3

/* A new socket on top, still without a number, and give it one: the userdata
** is there before the descriptor, which so cannot leak. */
struct socket *socket_push (lua_State *L, int family, int type);
void socket_own (lua_State *L, struct socket *s, int number);

/* The name that getsockname or getpeername tells; or false and errno. */
typedef int (*socket_asker)(int, struct sockaddr *, socklen_t *);
bool socket_name (const struct socket *s, socket_asker ask,
                  struct address *a);

/* The open socket at `arg`, of this process. */
struct socket *socket_check (lua_State *L, int arg);

/* The request of a half, or NULL. */
struct op *socket_op (const struct socket *s, const struct half *h);

/* The poll that `space` or `sight` names, if it is under way; or NULL. It
** wakes its line. */
struct op *socket_polls (const struct socket *s, uint64_t token);

/* How much room for control messages a request has that is to bring `*fds`, or
** not. A unix socket's has none for them then, and the kernel closes them; but
** where something else is asked for that comes behind them they do come, and
** `*fds` becomes true. Of other sockets none come. */
unsigned socket_control_capacity (const struct socket *s, bool *fds);

/* Let go of everything: what is under way is cancelled, who waits is woken. */
int socket_end (lua_State *L, struct socket *s);

/* Does data come as a stream, without bounds? */
static inline bool socket_streams (const struct socket *s) {
  return s->type == SOCK_STREAM;
}

/* Must what is sent go one after another, to arrive as it was sent? */
static inline bool socket_mixes (const struct socket *s) {
  return s->type != SOCK_DGRAM && s->type != SOCK_RAW;
}

int socket_new (lua_State *L);      /* uring.socket(family, type, protocol) */
int socket_pair (lua_State *L);     /* uring.socketpair([type]) */
void socket_open (lua_State *L);    /* the class */

/* Is this a finalizer that runs while Lua is being given the chunk? (Where
** that has raised nobody has said its end.) */
bool socket_pushes (lua_State *L, const struct socket *s);

/* What waits: receiving and accepting, sending and connecting. */
void recv_open (lua_State *L);
void send_open (lua_State *L);
void send_event_open (lua_State *L);

#endif
