/*
** inward: what comes in by a socket: the requests for it, their completions,
** and the line of those who want it. No waiting here: receive.c waits.
**
** First comes what is left of the last chunk, then what has completed, then a
** request of the right kind if none is under way, then the line. Who goes on
** without having taken all wakes the next in line; who leaves with nothing
** asks the request to end if nobody else waits for it, and what it brings all
** the same stays with the socket.
*/

#ifndef uring_recv_request_h
#define uring_recv_request_h

#include "net/socket.h"

enum { WANT_DATA, WANT_CONNECTION };

struct reader {            /* the userdata of an iterator */
  struct socket *s;        /* its user value */
  const struct state *state;
  uint32_t size;           /* of a buffer */
  uint16_t bound;
  uint8_t want;
  bool lease;
  bool headers;            /* recvmsg: who has sent it, and info */
  bool fds;                /* info with descriptors */
};

/* What the running call asks for. */
struct ask {
  struct socket *s;
  int socket;              /* where it is on the stack */
  const struct reader *reader;  /* NULL: a single one */
  lua_Integer max;
  int want;
  int results;             /* of payload, from, info */
};

/* Does it want the descriptors that come? A single receive gives them. */
static inline bool ask_wants_fds (const struct ask *a) {
  return a->reader == NULL || a->reader->fds;
}

#define MAX_DATAGRAM  65536u

/* Take what is there: how many values were pushed (which may be nil, message,
** errno); 0: nothing is. */
int recv_take (lua_State *L, const struct ask *a);

/* So many waiters can take something; and is what comes of the other kind,
** connections or data? */
size_t recv_items (const struct socket *s);
bool recv_mismatch (const struct socket *s, const struct ask *a);

/* Is there anything to take, or an error? */
bool recv_ready (const struct socket *s);

/* For who does not wait: enter the kernel if that would move anything, and
** look. False: nothing is there, and a request would bring nothing now. */
bool recv_poll (struct socket *s);

/* Make a request where none is under way. 0, or what was pushed. */
int recv_start (lua_State *L, const struct ask *a);

/* Who waits behind a single request with less room than it asks for ends that,
** to make another. */
void recv_widen (struct socket *s, const struct ask *a);

/* A wait that ends before anything has come: nobody reads on in vain. */
void recv_abandon (struct socket *s);

/* Who goes on wakes the next in line, if there is something for it to take
** or to start. */
void recv_wake_next (lua_State *L, struct socket *s);

int recv_closed (lua_State *L);

#endif
