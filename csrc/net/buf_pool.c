/*
** buf_pool: see the header. It makes, finds and drops pools. What must not
** break: a pool's group stays registered and counted while a lease, a receive
** in flight or an rx_data uses a buffer of it.
*/

#include "compat.h"
#include "net/buf_pool.h"

#include "ring/ring_buffers.h"
#include "task/ring_watch.h"
#include "net/socket.h"

#include <errno.h>
#include <string.h>

#define BUFFERS   256u
#define MAX_BGID  65535u   /* bgids are given from here down */
#define MIN_SIZE  2048u
#define STAGGER   192u     /* or all would begin at the same cache sets */


static void buf_pool_on_recycled (struct buf_group *g) {
  struct buf_pool *p = g->owner;
  if (p->state->loop) turnq_wake(p->state->loop, &p->waitq.q);
}

/* Push a pool of buffers of `size` bytes; NULL and an errno. */
static struct buf_pool *buf_pool_make (lua_State *L, uint32_t size, int *err) {
  struct state *s = state_of(L);
  struct buf_pool *p = lua_newuserdatauv(L, sizeof(*p), 0);
  unsigned bgid = MAX_BGID;
  int rc;
  memset(p, 0, sizeof(*p));
  p->state = s;
  p->ring = s->loop->ring;
  p->waitq.what = "for a buffer of ring";
  p->waitq.fd = p->ring->io.ring_fd;
  do {
    while (bgid > 0 && ring_group(p->ring, bgid)) bgid--;
    p->group = buf_group_new(s->account, BUFFERS, size, (uint16_t)bgid, false);
    if (p->group == NULL) {
      *err = ENOMEM;
      return NULL;
    }
    rc = ring_add_group(p->ring, p->group);
    refblock_release(&p->group->block);  /* the ring has it */
  } while (rc == -EEXIST && bgid-- > 0);
  if (rc < 0) {
    *err = -rc;
    return NULL;
  }
  p->group->owner = p;
  p->group->recycled = buf_pool_on_recycled;
  object_waitq_open(s, &p->waitq);
  return p;
}

void buf_pool_touch (struct buf_pool *p) {
  if (p->touched < p->group->entries) {
    p->touched++;
    pressure_hold(&p->state->pressure, p->group->size, 0);
  }
}

void buf_pool_drop (struct buf_pool *p, bool in_owner) {
  struct buf_group *g = p->group;
  pressure_drop(&p->state->pressure, buf_pool_weight(p), 0);
  p->touched = 0;
  if (p->ring->watch)
    turnq_wake_all(loop_of_ring(p->ring), &p->waitq.q);
  object_waitq_close(&p->waitq);
  g->recycled = NULL;  /* guard: the pool is freed before the last lease */
  if (p->ring->open && in_owner)  /* guard: not the parent's */
    ring_remove_group(p->ring, g);
  refblock_release(&g->block);
}

static struct buf_pool *buf_pool_find_own (lua_State *L, int socket,
                                           uint32_t size, int *err) {
  struct socket *s = class_raw(L, socket, CLASS_SOCKET);
  struct buf_pool *p = s->own_pool;
  if (p && p->group->size >= size)
    return p;
  p = buf_pool_make(L, size, err);
  if (p == NULL)
    return NULL;
  refblock_retain(&p->group->block);  /* guard: the ring may go first */
  if (s->d == NULL) {  /* guard: finalizers may have closed it */
    buf_pool_drop(p, true);
    *err = EBADF;
    return NULL;
  }
  if (s->own_pool) buf_pool_drop(s->own_pool, true);
  s->own_pool = p;
  class_keep(L, socket);
  return p;
}

static struct buf_pool *buf_pool_find_shared (lua_State *L, uint32_t size,
                                              int *err) {
  struct buf_pool *p;
  int pools = lua_gettop(L) + 1;
  state_shared(L, SHARED_POOLS);
  if (lua_rawgeti(L, pools, size) == LUA_TUSERDATA)
    p = lua_touserdata(L, -1);
  else {
    lua_pushboolean(L, 0);
    lua_rawseti(L, pools, size);  /* guard: its slot, or p is lost */
    p = buf_pool_make(L, size, err);
    if (p) lua_rawseti(L, pools, size);
  }
  lua_settop(L, pools - 1);
  return p;
}

/* The class of this size: there are few, and so few pools. */
static uint32_t size_class (uint32_t size, uint32_t before) {
  uint32_t capacity = MIN_SIZE;
  while (capacity < size) capacity *= 2;
  return before > 0 ? (capacity + before + STAGGER + 63) & ~63u : capacity;
}

struct buf_pool *buf_pool_find (lua_State *L, int socket, uint32_t size,
                                uint32_t before, bool own, int *err) {
  size = size_class(size, before);
  return own ? buf_pool_find_own(L, socket, size, err)
             : buf_pool_find_shared(L, size, err);
}
