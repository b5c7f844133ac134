#include "compat.h"
#include "api/buf_ring.h"

#include "ring/ring_buffers.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/buffer.h"
#include "api/probe.h"
#include "api/ring_object.h"

#include <stdlib.h>
#include <string.h>

struct buf_ring {          /* the userdata; its ring is its user value */
  struct buf_group *g;         /* NULL: closed */
  struct ring *ring;
};


/* ---- make and end ------------------------------------------------------ */

static unsigned unused (const struct ring *r) {
  unsigned bgid = 0;
  while (ring_group(r, bgid)) bgid++;
  return bgid;
}

static int buf_ring_refused (lua_State *L, const struct ring *r, unsigned bgid,
                    bool inc, int rc) {
  if (rc == -EEXIST)
    return fail(L, EEXIST, "buf_ring: ring (fd %d) has a group %u already",
                r->io.ring_fd, bgid);
  if (rc == -EINVAL && inc)
    return fail(L, EINVAL, "buf_ring with IOU_PBUF_RING_INC needs Linux 6.12");
  return fail(L, -rc, "buf_ring: register group %u with ring (fd %d)", bgid,
              r->io.ring_fd);
}

/* ring:buf_ring{ entries=, size=, bgid=, flags=, min_left= } */
static int ring_buf_ring (lua_State *L) {
  static const char *const names[] = {
    "entries", "size", "bgid", "flags", "min_left", NULL
  };
  struct ring *r = ring_check(L, 1);
  lua_Integer entries, size, bgid;
  struct buf_ring *b;
  unsigned flags;
  bool inc;
  int rc;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  options_open(L, 2, names);
  entries = options_integer(L, 2, "entries", 64, 1, GROUP_MAX);
  size = options_integer(L, 2, "size", 4096, 1, INT32_MAX);
  bgid = options_integer(L, 2, "bgid", unused(r), 0, UINT16_MAX);
  flags = (unsigned)options_integer(L, 2, "flags", 0, 0, UINT32_MAX);
  inc = flags & IOU_PBUF_RING_INC;
  if (entries & (entries - 1))
    return luaL_argerror(L, 2, "option 'entries' must be a power of two");
  if (flags & ~(unsigned)IOU_PBUF_RING_INC)
    return luaL_argerror(L, 2, "option 'flags' takes IOU_PBUF_RING_INC only: "
                         "the memory is the library's own");
  if (options_given(L, 2, "min_left") && !inc)
    return luaL_argerror(L, 2, "option 'min_left' is for groups with "
                         "IOU_PBUF_RING_INC");
  pressure_tell(L, (size_t)(entries * size), 0);
  b = class_new(L, CLASS_BUF_RING, sizeof(*b), 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  b->ring = r;
  b->g = buf_group_new((uint32_t)entries, (uint32_t)size, (uint16_t)bgid, inc);
  if (b->g == NULL)
    return fail(L, ENOMEM, "buf_ring: %d buffers of %d bytes", (int)entries,
                (int)size);
  pressure_hold(&state_of(L)->pressure, buf_group_bytes(b->g), 0);
  b->g->min_left = (uint32_t)options_integer(L, 2, "min_left", 0, 0,
                                             size);
  ring_check(L, 1);
  rc = ring_add_group(r, b->g);
  return rc < 0 ? buf_ring_refused(L, r, (unsigned)bgid, inc, rc) : 1;
}

static void buf_ring_let_go (lua_State *L, struct buf_ring *b) {
  struct buf_group *g = b->g;
  b->g = NULL;
  if (g) {
    pressure_drop(&state_of(L)->pressure, buf_group_bytes(g), 0);
    refblock_release(&g->block);
  }
}

static struct buf_ring *self (lua_State *L) {
  struct buf_ring *b = class_check(L, 1, CLASS_BUF_RING);
  if (b->g == NULL)
    luaL_argerror(L, 1, "attempt to use a closed buf_ring");
  return b;
}

/* Its leases stay what they are. */
static int buf_ring_close (lua_State *L) {
  struct buf_ring *b = class_check(L, 1, CLASS_BUF_RING);
  if (b->g) {
    int rc = 0;
    if (!b->g->closed) {
      lua_getiuservalue(L, 1, 1);
      ring_check(L, lua_gettop(L));
      rc = ring_remove_group(b->ring, b->g);
    }
    if (rc < 0)
      return fail(L, -rc, "unregister group %d of ring (fd %d)", b->g->bgid,
                  b->ring->io.ring_fd);
    buf_ring_let_go(L, b);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* A collected one is not closed: requests may pick from the group by its
** number. It ends with its ring. */
static int buf_ring_gc (lua_State *L) {
  struct buf_ring *b = class_check(L, 1, CLASS_BUF_RING);
  if (b->g) pressure_collected(&state_of(L)->pressure, buf_group_bytes(b->g),
                               0);
  buf_ring_let_go(L, b);
  return 0;
}


/* ---- take -------------------------------------------------------------- */

static int not_the_kernels (lua_State *L, const struct buf_group *g,
                            int32_t res,
                            uint32_t flags) {
  if (!(flags & IORING_CQE_F_BUFFER))
    return fail(L, EINVAL, "group %d: the flags name no buffer "
                "(IORING_CQE_F_BUFFER is not set)", g->bgid);
  if (buf_group_is_bundle(g, res, flags))
    return fail(L, EINVAL, "group %d: this completion is a bundle of several "
                "buffers: take them with bundle()", g->bgid);
  return fail(L, EINVAL, "group %d: buffer %u is not the kernel's: this "
              "completion was taken before, or is another group's, or its "
              "result is not %d", g->bgid, flags >> IORING_CQE_BUFFER_SHIFT,
              (int)res);
}

static int32_t arg_res (lua_State *L, int arg) {
  return (int32_t)arg_integer(L, arg, INT32_MIN, INT32_MAX);
}

struct lease **lease_push (lua_State *L) {
  pressure_tell(L, 0, 0);
  return class_new(L, CLASS_LEASE, sizeof(struct lease *), 0);
}

/* As long as it is out none of its buffer's bytes can be used for others. */
static size_t lease_weight (const struct lease *l) {
  return l->group->inc ? l->piece.size : l->group->size;
}

bool lease_set (lua_State *L, struct lease **own, struct lease *lease) {
  if (*own) pressure_drop(&state_of(L)->pressure, lease_weight(*own), 0);
  *own = lease;
  if (lease) pressure_hold(&state_of(L)->pressure, lease_weight(lease), 0);
  return lease != NULL;
}

static void free_layouts (struct lease **layout, unsigned n) {
  while (n > 0) free(layout[--n]);
}

/* Room for what will be taken: behind that nothing can fail. False: none. */
static bool make_leases (struct lease **layout, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    if ((layout[i] = lease_alloc()) == NULL) {
      free_layouts(layout, i);
      return false;
    }
  }
  return true;
}

/* buf_ring:lease(res, flags): what one completion has filled */
static int b_lease (lua_State *L) {
  struct buf_group *g = self(L)->g;
  int32_t res = arg_res(L, 2);
  uint32_t flags = arg_flags(L, 3);
  struct lease **l = lease_push(L), *room;
  struct piece p;
  self(L);  /* guard: a finalizer may have closed it */
  if (!make_leases(&room, 1))
    return fail(L, ENOMEM, "group %d: a lease", g->bgid);
  if (!buf_group_take(g, res, flags, &p)) {
    free(room);
    return not_the_kernels(L, g, res, flags);
  }
  lease_fill(room, g, &p);
  lease_set(L, l, room);
  return 1;
}

/* buf_ring:bundle(res, flags): an array of leases, in order */
static int b_bundle (lua_State *L) {
  struct buf_group *g = self(L)->g;
  int32_t res = arg_res(L, 2);
  uint32_t flags = arg_flags(L, 3);
  struct piece p[256];
  struct lease *layout[256];
  unsigned n = res > 0 ? (uint32_t)res / g->size + 2 : 1, taken;
  if (n > 256) n = 256;
  if (n > g->entries) n = g->entries;
  lua_createtable(L, (int)n, 0);
  for (unsigned i = 1; i <= n; i++) {
    lease_push(L);
    lua_rawseti(L, -2, i);
  }
  self(L);  /* guard: a finalizer may have closed it */
  if (!make_leases(layout, n))
    return fail(L, ENOMEM, "group %d: %u leases", g->bgid, n);
  taken = buf_group_take_bundle(g, res, flags, p, n);
  free_layouts(layout + taken, n - taken);
  if (taken == 0)
    return not_the_kernels(L, g, res, flags);
  for (unsigned i = 1; i <= n; i++) {
    if (i > taken) {
      lua_pushnil(L);
      lua_rawseti(L, -2, i);
      continue;
    }
    lease_fill(layout[i - 1], g, &p[i - 1]);
    lua_rawgeti(L, -1, i);
    lease_set(L, lua_touserdata(L, -1), layout[i - 1]);
    lua_pop(L, 1);
  }
  return 1;
}

static void release_lease (lua_State *L, struct lease **l) {
  struct lease *lease = *l;
  lease_set(L, l, NULL);
  if (lease) refblock_release(&lease->block);
}

/* buf_ring:string(res, flags): the bytes; the buffer goes home. (If the string
** fails, the lease gives it back.) */
static int buf_ring_string (lua_State *L) {
  int n = b_lease(L);
  struct lease **l;
  if (n != 1)
    return n;
  l = lua_touserdata(L, -1);
  lua_pushlstring(L, (const char *)(*l)->piece.data, (*l)->piece.size);
  release_lease(L, l);
  return 1;
}


/* ---- a look at it ------------------------------------------------------ */

/* How far the kernel is: the count of buffers it has picked, modulo 65536. */
static int head (const struct buf_ring *b, uint16_t *out) {
  struct compat_buf_status status;
  int rc;
  if (b->g->closed)
    return -EBADF;
  memset(&status, 0, sizeof(status));
  status.buf_group = b->g->bgid;
  rc = sys_register(b->ring->io.ring_fd, IORING_REGISTER_PBUF_STATUS, &status,
                    1);
  *out = (uint16_t)status.head;
  return rc < 0 ? rc : 0;
}

static int no_status (lua_State *L, const struct buf_ring *b, int rc) {
  if (rc == -EINVAL)
    return fail(L, EINVAL, "the state of group %d needs Linux 6.8",
                b->g->bgid);
  return fail(L, -rc, "the state of group %d", b->g->bgid);
}

static unsigned count_free (const struct buf_group *g, uint16_t h) {
  return (uint16_t)(g->ring->tail - h);
}

/* buf_ring:head(): how many it has picked so far, modulo 65536 (Linux 6.8) */
static int b_head (lua_State *L) {
  struct buf_ring *b = self(L);
  uint16_t h;
  int rc = head(b, &h);
  if (rc < 0) return no_status(L, b, rc);
  lua_pushinteger(L, h);
  return 1;
}

/* buf_ring:available(): how many are at home (Linux 6.8) */
static int b_available (lua_State *L) {
  struct buf_ring *b = self(L);
  uint16_t h;
  int rc = head(b, &h);
  if (rc < 0) return no_status(L, b, rc);
  lua_pushinteger(L, count_free(b->g, h));
  return 1;
}

static void set_field (lua_State *L, const char *name, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}

/* buf_ring:stats(): entries = available + kernel + leased; before Linux 6.8
** `kernel` counts the available ones too, and `available` is nil. */
static int b_stats (lua_State *L) {
  const struct buf_ring *b;
  lua_Integer bgid, entries, size, leased, home;
  bool known;
  uint16_t h;
  lua_createtable(L, 0, 6);
  b = self(L);  /* (behind this it may be closed) */
  bgid = b->g->bgid;
  entries = b->g->entries;
  size = b->g->size;
  leased = b->g->leased;
  known = head(b, &h) == 0;
  home = known ? count_free(b->g, h) : 0;
  set_field(L, "bgid", bgid);
  set_field(L, "entries", entries);
  set_field(L, "size", size);
  set_field(L, "leased", leased);
  set_field(L, "kernel", entries - leased - home);
  if (known) set_field(L, "available", home);
  return 1;
}

static int b_bgid (lua_State *L) {
  lua_pushinteger(L, self(L)->g->bgid);
  return 1;
}

static int buf_ring_tostring (lua_State *L) {
  struct buf_ring *b = class_check(L, 1, CLASS_BUF_RING);
  if (b->g == NULL)
    lua_pushliteral(L, "uring.BufRing (closed)");
  else
    lua_pushfstring(L, "uring.BufRing (group %d, %d buffers of %d bytes)",
                    (int)b->g->bgid, (int)b->g->entries, (int)b->g->size);
  return 1;
}


/* ---- leases ------------------------------------------------------------ */

static int l_release (lua_State *L) {
  release_lease(L, class_check(L, 1, CLASS_LEASE));
  return 0;
}

static int lease_gc (lua_State *L) {
  struct lease *const *l = class_check(L, 1, CLASS_LEASE);
  if (*l) pressure_collected(&state_of(L)->pressure, lease_weight(*l), 0);
  return l_release(L);
}

static int l_string (lua_State *L) {
  struct bytes b;
  class_check(L, 1, CLASS_LEASE);
  b = arg_bytes(L, 1, 1);
  push_part(L, b.at, b.size, 2);
  return 1;
}

static int l_len (lua_State *L) {
  class_check(L, 1, CLASS_LEASE);
  lua_pushinteger(L, (lua_Integer)arg_bytes(L, 1, 1).size);
  return 1;
}

static int lease_tostring (lua_State *L) {
  struct lease *const *l = class_check(L, 1, CLASS_LEASE);
  if (*l == NULL)
    lua_pushliteral(L, "uring.Lease (released)");
  else
    lua_pushfstring(L, "uring.Lease (buffer %d of group %d, %d bytes)",
                    (int)(*l)->piece.bid, (int)(*l)->group->bgid,
                    (int)(*l)->piece.size);
  return 1;
}


static const luaL_Reg ring_methods[] = {
  {"buf_ring", ring_buf_ring},
  {NULL, NULL}
};

static const luaL_Reg methods[] = {
  {"lease", b_lease},
  {"bundle", b_bundle},
  {"string", buf_ring_string},
  {"head", b_head},
  {"available", b_available},
  {"stats", b_stats},
  {"bgid", b_bgid},
  {"close", buf_ring_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", buf_ring_gc},
  {"__close", buf_ring_close},
  {"__tostring", buf_ring_tostring},
  {NULL, NULL}
};

static const luaL_Reg lease_methods[] = {
  {"string", l_string},
  {"release", l_release},
  {"close", l_release},
  {NULL, NULL}
};

static const luaL_Reg lease_meta[] = {
  {"__len", l_len},
  {"__gc", lease_gc},
  {"__close", l_release},
  {"__tostring", lease_tostring},
  {NULL, NULL}
};

void buf_ring_open (lua_State *L) {
  class_extend(L, CLASS_RING, ring_methods);
  class_define(L, CLASS_BUF_RING, methods, meta, NULL);
  class_define(L, CLASS_LEASE, lease_methods, lease_meta, NULL);
}
