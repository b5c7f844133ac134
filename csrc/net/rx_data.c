#include "compat.h"
#include "net/rx_data.h"

#include "ring/recvmsg_out.h"
#include "api/buf_ring.h"
#include "api/cmsg.h"

#include <poll.h>
#include <string.h>

#define LAST_SIZE  65536u   /* what a receive from a stream takes at most */


void rx_data_drop (struct socket *s) {
  struct rx_data *c = &s->rx;
  if (c->at == NULL)
    return;
  if (c->control_size > 0) cmsg_close(c->control, c->control_size);
  if (c->group) buf_group_give(c->group, c->bid);
  memset(c, 0, sizeof(*c));
}

void rx_data_free (struct socket *s) {
  rx_data_drop(s);
  if (s->memory) refblock_release(&s->memory->block);
  if (s->msg) refblock_release(&s->msg->block);
  if (s->group) refblock_release(&s->group->block);
  s->memory = NULL;
  s->msg = NULL;
  s->group = NULL;
}

void rx_data_from_memory (struct socket *s, const struct pending_cqe *a,
                        bool headers) {
  struct rx_data *c = &s->rx;
  c->at = s->memory->bytes;
  c->size = c->full = (uint32_t)a->res;
  if (headers) {
    const struct msghdr *h = &s->msg->hdr;
    c->name = s->msg->place;
    c->name_size = h->msg_namelen;
    size_t size = h->msg_controllen;
    c->control = s->msg->control;
    if (c->control)  /* guard: or the sender is said to be root */
      c->control += cmsg_of_last_try(c->control, s->msg->control_capacity,
                                     &size);
    c->control_size = (uint32_t)size;
    c->flags = (uint32_t)h->msg_flags;
    s->msg->unread = false;  /* (the chunk closes what nobody reads) */
  }
  if (c->size == s->room && s->room < LAST_SIZE)
    s->room *= 2;
}

void rx_data_from_group (struct socket *s, const struct pending_cqe *a,
                       bool headers) {
  struct rx_data *c = &s->rx;
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
  c->group = g;
  c->bid = p.bid;
  c->at = p.data;
  if (!headers)
    c->size = c->full = p.size;
  else if (recvmsg_parse(p.data, p.size, s->msg->name_capacity,
                         s->msg->control_capacity, &r)) {
    c->at = r.payload;
    c->size = r.payload_size;
    c->full = r.payload_full;
    c->name = r.name;
    c->name_size = r.name_size;
    c->control = r.control;
    c->control_size = r.control_size;
    c->flags = r.flags;
  }
}


/* ---- to Lua ------------------------------------------------------------ */

/* Who has sent it. Mostly it is who has sent the last one too. */
static void push_from (lua_State *L, struct socket *s, int socket) {
  const struct rx_data *c = &s->rx;
  struct address a;
  const struct address *last = s->from;
  if (c->name_size == 0)
    lua_pushnil(L);
  else if (last && last->len == c->name_size
           && memcmp(last->bytes, c->name, c->name_size) == 0)
    lua_getiuservalue(L, socket, SOCKET_FROM);
  else {
    address_set(&a, c->name, c->name_size, sizeof(a.bytes));
    sockaddr_push(L, &a);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, socket, SOCKET_FROM);
    s->from = lua_touserdata(L, -1);
  }
}

static void push_info (lua_State *L, struct rx_data *c, bool cut, int socket) {
  uint32_t flags = c->flags & ~(uint32_t)MSG_CMSG_CLOEXEC;
  bool plain = flags == 0 && c->control_size == 0 && !cut;
  if (plain && lua_getiuservalue(L, socket, SOCKET_INFO) == LUA_TTABLE)
    return;
  if (plain) lua_pop(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, flags);
  lua_setfield(L, -2, "flags");
  lua_pushboolean(L, cut || (flags & MSG_TRUNC));
  lua_setfield(L, -2, "truncated");
  lua_pushboolean(L, (flags & MSG_CTRUNC) != 0);
  lua_setfield(L, -2, "control_truncated");
  control_push(L, c->control, c->control_size);
  lua_setfield(L, -2, "control");
  c->control_size = 0;
  if (plain) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, socket, SOCKET_INFO);
  }
}

/* Has the peer of a socket of packets gone, and nothing is left of it? What
** came from it without a byte may have been a packet. */
static bool rx_data_has_gone (const struct socket *s) {
  struct pollfd p = { s->in.waitq.fd, POLLRDHUP, 0 };
  char byte;
  return recv(p.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0
         && poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP));
}

/* Is this nothing that anybody has sent? */
static bool is_end (const struct socket *s, const struct rx_data *c) {
  if (c->size > 0 || c->full > 0)
    return false;
  return socket_streams(s)
         || (s->type == SOCK_SEQPACKET && c->control_size == 0
             && !(c->flags & MSG_CTRUNC) && rx_data_has_gone(s))
         || (s->rx_shutdown && c->at == (const unsigned char *)s);
}

/* A lease of what lies in the socket's own memory: of a copy, in a group of
** one buffer that no kernel knows. */
static struct lease *lease_copy (const struct rx_data *c, uint32_t size) {
  uint32_t flags = IORING_CQE_F_BUFFER;
  struct buf_group *g = buf_group_new(1, size > 0 ? size : 1, 0, false);
  struct lease *lease = NULL;
  struct piece p;
  if (g == NULL)
    return NULL;
  g->closed = true;
  if (buf_group_reserve(g, 1))
    buf_group_note(g, (int32_t)size, flags, (struct recvmsg_layout){ 0, 0 },
                   false);
  if (buf_group_take(g, (int32_t)size, flags, &p)) {
    memcpy(p.data, c->at, size);
    lease = lease_new(g, &p);
  }
  refblock_release(&g->block);  /* the lease has it */
  return lease;
}

/* A lease of the chunk's first bytes. The chunk has its buffer too for as long
** as it is there: whoever goes last gives it back. */
static void push_lease (lua_State *L, struct socket *s, uint32_t size) {
  const struct rx_data *c = &s->rx;
  struct piece p = { c->at, size, c->bid, { 0, 0 } };
  struct lease **lease = lease_push(L);
  if (!lease_set(L, lease, c->group ? lease_new(c->group, &p)
                                    : lease_copy(c, size)))
    luaL_error(L, "not enough memory for a lease");
  if (c->group) {
    buf_group_share(c->group, c->bid);  /* guard: both give it back */
    s->pool->given++;
  }
}

/* The chunk's values. Until all of them are there it stays what it is, so
** that nothing is lost for want of memory. */
static int push_values (lua_State *L, struct socket *s, lua_Integer max,
                        int results, bool leases, bool fds, int socket) {
  struct rx_data *c = &s->rx;
  bool stream = socket_streams(s);
  uint32_t n = (lua_Integer)c->size < max ? c->size : (uint32_t)max;
  if (is_end(s, c)) {
    rx_data_drop(s);
    lua_pushnil(L);
    return 1;
  }
  if (!fds) cmsg_close_rights(c->control, c->control_size);
  if (leases) push_lease(L, s, n);
  else lua_pushlstring(L, (const char *)c->at, n);
  if (results > 1) push_from(L, s, socket);
  if (results > 2) push_info(L, c, !stream && n < c->full, socket);
  if (stream && n < c->size) {
    c->at += n;
    c->size -= n;
  }
  else
    rx_data_drop(s);
  return results;
}

int rx_data_push (lua_State *L, struct socket *s, lua_Integer max, int results,
                bool leases, bool fds, int socket) {
  int n;
  s->in_push = true;  /* guard: finalizers may close it meanwhile */
  n = push_values(L, s, max, results, leases, fds, socket);
  s->in_push = false;
  if (s->d == NULL) rx_data_free(s);
  return n;
}
