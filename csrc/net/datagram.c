/*
** datagram: see the header. It chooses the socket to poll. What must not
** break: a datagram that finds no space is not lost; a socket that was made
** for a poll is closed when the poll has ended.
*/

#include "compat.h"
#include "net/datagram.h"

#include "net/socket_poll.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>


/* A socket that is connected to this address, or -errno. */
static int connect_to (const struct address *to) {
  int n = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (n < 0)
    return -errno;
  if (connect(n, &to->any, to->len) < 0) {
    int err = errno;
    close(n);
    return -err;
  }
  return n;
}

static bool datagram_is_writable (int n) {
  struct pollfd p = { n, POLLOUT, 0 };
  return poll(&p, 1, 0) == 1;
}

static bool is_connected (const struct socket *s) {
  struct sockaddr_storage peer;
  socklen_t len = sizeof(peer);
  return getpeername(s->out.waitq.fd, (struct sockaddr *)&peer, &len) == 0;
}

/* The handle of a socket that is writable when the receiver's queue has space.
** NULL and 0: that queue is not what lacks space; or -errno. */
static struct handle *receiver_watcher (lua_State *L, const struct socket *s,
                                        const struct address *to, int *rc) {
  int n = connect_to(to);
  struct handle *h = NULL;
  *rc = 0;
  if (n >= 0 && !datagram_is_writable(n)) {
    h = handle_new();
    if (h) handle_own(&state_of(L)->handles, h, n);
    else *rc = -ENOMEM;
  }
  else if (n < 0 && n != -EPERM)  /* (EPERM: a receiver that is connected to
                                     the sender takes all of its datagrams) */
    *rc = -EAGAIN;
  else if (is_connected(s))  /* its own poll is about another receiver */
    *rc = -EAGAIN;
  if (n >= 0 && h == NULL) close(n);
  return h;
}

/* (Internet datagrams have a length of 16 bits; a unix datagram has to fit
** into the send buffer. Of other families nothing is known.) */
bool datagram_too_long (const struct socket *s, size_t size) {
  int most = 65535;
  socklen_t len = sizeof(most);
  if (socket_is_stream(s) || s->type == SOCK_SEQPACKET)
    return false;
  if (s->family == AF_UNIX)
    return getsockopt(s->out.waitq.fd, SOL_SOCKET, SO_SNDBUF, &most, &len) == 0
           && size > (size_t)most;
  return (s->family == AF_INET || s->family == AF_INET6)
         && size > (size_t)most;
}

int datagram_poll (lua_State *L, struct socket *s, const struct address *to,
                   struct op **op) {
  struct handle *h = NULL;
  int rc = 0;
  if (to) h = receiver_watcher(L, s, to, &rc);
  if (rc < 0)
    return rc;
  rc = socket_poll(s, POLLOUT, h, op);
  if (h) refblock_release(&h->block);  /* the poll has it */
  return rc;
}
