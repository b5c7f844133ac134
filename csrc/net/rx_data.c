/*
** rx_data: see the header. It reads a completion's buffer and pushes its
** values to Lua. What must not break: the rx_data stays as it is until all its
** values have been pushed, and each buffer is given back exactly once.
*/

#include "compat.h"
#include "net/rx_data.h"

#include "ring/recvmsg_out.h"
#include "ring/ring_reap.h"
#include "api/buf_ring.h"
#include "api/cmsg.h"
#include "net/arrived.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define LAST_SIZE  65536u   /* the largest receive from a stream */


/* Drop what is left of it. */
static void rx_data_drop (struct socket *s) {
  struct rx_data *rx = &s->rx;
  if (rx->at == NULL)
    return;
  if (rx->control_size > 0) cmsg_close(rx->control, rx->control_size);
  if (rx->group) buf_group_give(rx->group, rx->bid);
  free(rx->arrived);
  memset(rx, 0, sizeof(*rx));
}

void rx_data_free (struct socket *s) {
  rx_data_drop(s);
  arrived_free(&s->arrived);
  store_free(&s->input.store);
  if (s->memory) refblock_release(&s->memory->block);
  if (s->msg) refblock_release(&s->msg->block);
  if (s->group) refblock_release(&s->group->block);
  s->memory = NULL;
  s->msg = NULL;
  s->group = NULL;
}

void rx_data_from_memory (struct socket *s, const struct pending_cqe *a,
                          bool headers) {
  struct rx_data *rx = &s->rx;
  rx->at = s->memory->bytes;
  rx->size = rx->full = (uint32_t)a->res;
  if (headers) {
    const struct msghdr *h = &s->msg->hdr;
    rx->name = s->msg->place;
    rx->name_size = h->msg_namelen;
    size_t size = h->msg_controllen;
    rx->control = s->msg->control;
    if (rx->control)  /* guard: or the sender seems to be root */
      rx->control += cmsg_of_last_try(rx->control, s->msg->control_capacity,
                                      &size);
    rx->control_size = (uint32_t)size;
    rx->flags = (uint32_t)h->msg_flags;
    s->msg->unread = false;  /* (the rx_data closes unread descriptors) */
  }
  if (rx->size == s->rx_size && s->rx_size < LAST_SIZE)
    s->rx_size *= 2;
}

void rx_data_from_group (struct socket *s, const struct pending_cqe *a,
                         bool headers) {
  struct rx_data *rx = &s->rx;
  struct buf_group *g = s->pool->group;
  struct piece p;
  struct received r;
  if (!buf_group_take(g, a->res, a->flags, &p))
    return;
  if (s->pool == s->own_pool) buf_pool_touch(s->pool);
  if (g != s->group) {
    refblock_retain(&g->block);
    if (s->group) refblock_release(&s->group->block);
    s->group = g;
  }
  rx->group = g;
  rx->bid = p.bid;
  rx->at = p.data;
  if (!headers)
    rx->size = rx->full = p.size;
  else if (recvmsg_parse(p.data, p.size, s->msg->name_capacity,
                         s->msg->control_capacity, &r)) {
    rx->at = r.payload;
    rx->size = r.payload_size;
    rx->full = r.payload_full;
    rx->name = r.name;
    rx->name_size = r.name_size;
    rx->control = r.control;
    rx->control_size = r.control_size;
    rx->flags = r.flags;
  }
}

/* The end of data that no bytes tell. */
static void rx_data_end (struct socket *s) {
  s->rx.at = (unsigned char *)s;
}

static bool is_bare_end (const struct socket *s) {
  return s->rx.at == (const unsigned char *)s;
}

int rx_data_complete (struct socket *s, struct op *op) {
  bool headers = op->opcode == IORING_OP_RECVMSG;
  bool multi = op->op_flags & OP_MULTI;
  struct pending_cqe a;
  ring_take_op(s->ring, op, &a);
  s->rx_empty = s->family != AF_UNIX  /* (which does not always tell) */
                && a.res > 0 && !(a.flags & IORING_CQE_F_SOCK_NONEMPTY);
  if (a.res >= 0) {
    if (a.flags & IORING_CQE_F_BUFFER) rx_data_from_group(s, &a, headers);
    else if (multi) rx_data_end(s);
    else rx_data_from_memory(s, &a, headers);
    return 0;
  }
  if (a.flags & IORING_CQE_F_BUFFER)
    buf_group_dispose(s->pool->group, a.res, a.flags);
  if (a.res == -EAGAIN && s->rx_shutdown) {
    rx_data_end(s);
    return 0;
  }
  return a.res;
}


/* ---- what has arrived -------------------------------------------------- */

void rx_data_from_arrived (struct socket *s) {
  struct arrived *a = arrived_take(&s->arrived);
  s->rx = a->rx;
  s->rx.arrived = a;
  if (a->end) rx_data_end(s);
}

/* Move the rx_data to `a`, which has space for it. */
static void move_to_arrived (struct socket *s, struct arrived *a) {
  arrived_fill(a, &s->rx, is_bare_end(s));
  s->rx.control_size = 0;  /* guard: its descriptors have one owner */
  rx_data_drop(s);
}

bool rx_data_to_arrived (struct socket *s) {
  const struct rx_data *rx = &s->rx;
  struct arrived *a = arrived_new(is_bare_end(s) ? 0
    : rx->size + rx->control_size + ARRIVED_NAME);
  if (a == NULL)
    return false;
  move_to_arrived(s, a);
  arrived_add_first(&s->arrived, a);
  return true;
}

/* Is this error no news: the request was cancelled, or found no buffer? */
static bool is_no_news (const struct op *op, int res) {
  return res == -ECANCELED || (res == -ENOBUFS && op->op_flags & OP_MULTI);
}

bool rx_data_complete_to_arrived (struct socket *s, struct op *op) {
  int res = op->results.first->res;
  size_t control = op->opcode == IORING_OP_RECVMSG ? s->msg->control_capacity
                                                   : 0;
  struct arrived *a = arrived_new((res > 0 ? (size_t)res : 0) + control
                                  + ARRIVED_NAME);
  bool news = !is_no_news(op, res);
  if (a == NULL)
    return false;  /* guard: before it is taken */
  a->res = rx_data_complete(s, op);
  if (s->rx.at) move_to_arrived(s, a);
  else if (a->res == 0 || !news) {
    free(a);
    return true;
  }
  arrived_add(&s->arrived, a);
  return true;
}


/* ---- to Lua ------------------------------------------------------------ */

/* The sender, which mostly is that of the last one too. */
static void rx_data_push_from (lua_State *L, struct socket *s,
                               const struct rx_data *rx, int socket) {
  struct address a;
  const struct address *last = s->from;
  if (rx->name_size == 0)
    lua_pushnil(L);
  else if (last && last->len == rx->name_size
           && memcmp(last->bytes, rx->name, rx->name_size) == 0)
    lua_getiuservalue(L, socket, SOCKET_FROM);
  else {
    address_set(&a, rx->name, rx->name_size, sizeof(a.bytes));
    sockaddr_push(L, &a);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, socket, SOCKET_FROM);
    s->from = lua_touserdata(L, -1);
  }
}

static void rx_data_push_info (lua_State *L, struct rx_data *rx,
                               bool truncated, int socket) {
  uint32_t flags = (rx->flags & ~(uint32_t)MSG_CMSG_CLOEXEC)
                   | (truncated ? MSG_TRUNC : 0);
  bool plain = flags == 0 && rx->control_size == 0;
  if (plain && lua_getiuservalue(L, socket, SOCKET_INFO) == LUA_TTABLE)
    return;
  if (plain) lua_pop(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, flags);
  lua_setfield(L, -2, "flags");
  lua_pushboolean(L, (flags & MSG_TRUNC) != 0);
  lua_setfield(L, -2, "truncated");
  lua_pushboolean(L, (flags & MSG_CTRUNC) != 0);
  lua_setfield(L, -2, "control_truncated");
  control_push(L, rx->control, rx->control_size);
  lua_setfield(L, -2, "control");
  rx->control_size = 0;
  if (plain) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, socket, SOCKET_INFO);
  }
}

/* Has the peer of a SOCK_SEQPACKET socket hung up, with nothing left to
** receive? Else a payload without bytes was a packet. */
static bool peer_hung_up (const struct socket *s) {
  struct pollfd p = { s->in.waitq.fd, POLLRDHUP, 0 };
  char byte;
  return recv(p.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0
         && poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP));
}

/* Is it the end of data, and not an empty message? */
static bool rx_data_is_end (const struct socket *s, const struct rx_data *rx) {
  if (rx->size > 0 || rx->full > 0)
    return false;
  return socket_is_stream(s)
         || (s->type == SOCK_SEQPACKET && rx->control_size == 0
             && !(rx->flags & MSG_CTRUNC) && peer_hung_up(s))
         || (s->rx_shutdown && is_bare_end(s));
}

/* A lease of a payload in the socket's own memory: of a copy, in a group of
** one buffer that is registered with no ring. */
static struct lease *rx_data_lease_copy (struct account *a,
                                         const struct rx_data *rx,
                                         uint32_t size) {
  uint32_t flags = IORING_CQE_F_BUFFER;
  struct buf_group *g = buf_group_new(a, 1, size > 0 ? size : 1, 0, false);
  struct lease *lease = NULL;
  struct piece p;
  if (g == NULL)
    return NULL;
  g->closed = true;
  if (buf_group_reserve(g, 1))
    buf_group_note(g, (int32_t)size, flags, (struct recvmsg_layout){ 0, 0 },
                   false);
  if (buf_group_take(g, (int32_t)size, flags, &p)) {
    memcpy(p.data, rx->at, size);
    lease = lease_new(g, &p);
  }
  refblock_release(&g->block);  /* the lease has it */
  return lease;
}

/* Push a lease of its first bytes. Lease and rx_data share the buffer: the one
** that ends last recycles it. */
static void rx_data_push_lease (lua_State *L, struct socket *s,
                                const struct rx_data *rx, uint32_t size) {
  struct piece p = { rx->at, size, rx->bid, { 0, 0 } };
  struct lease **lease = lease_push(L);
  if (!lease_set(L, lease, rx->group ? lease_new(rx->group, &p)
                                     : rx_data_lease_copy(s->ring->account,
                                                          rx, size)))
    luaL_error(L, "not enough memory for a lease");
  if (rx->group) {
    buf_group_share(rx->group, rx->bid);  /* guard: both give it back */
    s->pool->leases_given++;
  }
}

/* What formatted reads have left in the store comes before the rx_data. */
static struct rx_data rx_data_in_store (const struct store *store) {
  struct rx_data rx = {0};
  size_t size = store_size(store);
  if (size > 0) {
    rx.at = store->bytes + store->from;
    rx.size = rx.full = size < INT32_MAX ? (uint32_t)size : INT32_MAX;
  }
  return rx;
}

int rx_data_store (struct socket *s) {
  const struct rx_data *rx = &s->rx;
  bool end = rx_data_is_end(s, rx);
  if (!end
      && !store_add(&s->input.store, s->ring->account, rx->at, rx->size))
    return -ENOMEM;
  rx_data_drop(s);
  return !end;
}

/* Push its values. It is dropped, or its payload reduced, only after the last
** push, so that a push that raises for want of memory loses nothing. */
static int rx_data_push_values (lua_State *L, struct socket *s,
                                lua_Integer max, int results, bool leases,
                                bool fds, int socket) {
  struct rx_data stored = rx_data_in_store(&s->input.store);
  struct rx_data *rx = stored.at ? &stored : &s->rx;
  bool stream = socket_is_stream(s);
  uint32_t n = (lua_Integer)rx->size < max ? rx->size : (uint32_t)max;
  if (rx_data_is_end(s, rx)) {
    rx_data_drop(s);
    lua_pushnil(L);
    return 1;
  }
  if (!fds) cmsg_close_rights(rx->control, rx->control_size);
  if (leases) rx_data_push_lease(L, s, rx, n);
  else lua_pushlstring(L, (const char *)rx->at, n);
  if (results > 1) rx_data_push_from(L, s, rx, socket);
  if (results > 2) rx_data_push_info(L, rx, !stream && n < rx->full, socket);
  if (stored.at) store_take(&s->input.store, n);
  else if (stream && n < rx->size) {
    rx->at += n;
    rx->size -= n;
  }
  else
    rx_data_drop(s);
  return results;
}

int rx_data_push (lua_State *L, struct socket *s, lua_Integer max, int results,
                  bool leases, bool fds, int socket) {
  int n;
  s->input.in_push = true;  /* guard: finalizers may close it meanwhile */
  n = rx_data_push_values(L, s, max, results, leases, fds, socket);
  s->input.in_push = false;
  if (s->d == NULL) rx_data_free(s);
  return n;
}
