#include "compat.h"
#include "net/pool.h"

#include "ring/ring_provided.h"
#include "net/socket.h"
#include "task/watch.h"

#include <errno.h>
#include <string.h>

#define BUFFERS   256u
#define TOP       65535u   /* groups are numbered from here down */
#define SMALLEST  2048u
#define STAGGER   192u     /* or all would lie in the same cache lines */


static void came_home (struct group *g) {
  struct pool *p = g->owner;
  if (p->state->loop) loop_wake_line(p->state->loop, &p->line);
}

/* Push a pool of buffers of `size` bytes; NULL and an errno. */
static struct pool *make (lua_State *L, uint32_t size, int *err) {
  struct state *s = state_of(L);
  struct pool *p = lua_newuserdatauv(L, sizeof(*p), 0);
  unsigned bgid = TOP;
  int rc;
  memset(p, 0, sizeof(*p));
  p->state = s;
  p->ring = s->loop->ring;
  p->line.what = "for a buffer of ring";
  p->line.fd = p->ring->io.ring_fd;
  do {
    while (bgid > 0 && ring_group(p->ring, bgid)) bgid--;
    p->group = group_new(BUFFERS, size, (uint16_t)bgid, false);
    if (p->group == NULL) {
      *err = ENOMEM;
      return NULL;
    }
    rc = ring_add_group(p->ring, p->group);
    block_release(&p->group->block);  /* the ring has it */
  } while (rc == -EEXIST && bgid-- > 0);
  if (rc < 0) {
    *err = -rc;
    return NULL;
  }
  p->group->owner = p;
  p->group->gave = came_home;
  line_open(s, &p->line);
  return p;
}

void pool_touch (struct pool *p) {
  if (p->touched < p->group->entries) {
    p->touched++;
    pressure_hold(&p->state->pressure, p->group->size, 0);
  }
}

void pool_drop (struct pool *p, bool ours) {
  struct group *g = p->group;
  pressure_drop(&p->state->pressure, pool_weight(p), 0);
  p->touched = 0;
  if (p->ring->watch)
    loop_wake_all(loop_of_ring(p->ring), &p->line);
  line_close(&p->line);
  g->gave = NULL;  /* guard: the pool goes before the last of its leases */
  if (p->ring->open && ours)  /* guard: not the parent's */
    ring_remove_group(p->ring, g);
  block_release(&g->block);
}

static struct pool *find_own (lua_State *L, int socket, uint32_t size,
                              int *err) {
  struct socket *s = lua_touserdata(L, socket);
  struct pool *p = s->own_pool;
  if (p && p->group->size >= size)
    return p;
  p = make(L, size, err);
  if (p == NULL)
    return NULL;
  block_retain(&p->group->block);  /* guard: the ring may go first */
  if (s->d == NULL) {  /* guard: finalizers may have closed it */
    pool_drop(p, true);
    *err = EBADF;
    return NULL;
  }
  if (s->own_pool) pool_drop(s->own_pool, true);
  s->own_pool = p;
  lua_setiuservalue(L, socket, SOCKET_POOL);
  return p;
}

static struct pool *find_shared (lua_State *L, uint32_t size, int *err) {
  struct pool *p;
  int pools = lua_gettop(L) + 1;
  state_shared(L, SHARED_POOLS);
  if (lua_rawgeti(L, pools, size) == LUA_TUSERDATA)
    p = lua_touserdata(L, -1);
  else {
    lua_pushboolean(L, 0);
    lua_rawseti(L, pools, size);  /* guard: its place, or it would be lost */
    p = make(L, size, err);
    if (p) lua_rawseti(L, pools, size);
  }
  lua_settop(L, pools - 1);
  return p;
}

/* Whatever sizes are asked for, there are but a few of them. */
static uint32_t class_of (uint32_t size, uint32_t before) {
  uint32_t room = SMALLEST;
  while (room < size) room *= 2;
  return before > 0 ? (room + before + STAGGER + 63) & ~63u : room;
}

struct pool *pool_find (lua_State *L, int socket, uint32_t size,
                        uint32_t before, bool own, int *err) {
  size = class_of(size, before);
  return own ? find_own(L, socket, size, err) : find_shared(L, size, err);
}
