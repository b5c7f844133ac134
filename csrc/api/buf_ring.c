/*
** buf_ring: the classes uring.BufRing and uring.Lease. Whatever can fail comes
** before a completion is taken: a piece that was taken must reach a lease, or
** its buffer is lost.
*/

#include "compat.h"
#include "api/buf_ring.h"

#include "base/names.h"
#include "ring/ring_buffers.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "api/buffer.h"
#include "api/ring_check.h"

#include <stdlib.h>
#include <string.h>

struct buf_ring {          /* the userdata; its user value is the ring */
  struct buf_group *g;     /* NULL: closed */
  struct ring *ring;
};


/* ---- make and close ---------------------------------------------------- */

static unsigned unused_bgid (const struct ring *r) {
  unsigned bgid = 0;
  while (ring_group(r, bgid)) bgid++;
  return bgid;
}

static int buf_ring_refused (lua_State *L, const struct ring *r,
                             const struct buf_group *g, int rc) {
  unsigned bgid = g->bgid;
  if (rc == -EEXIST)
    return fail(L, EEXIST, "buf_ring: ring (fd %d) has a group %u already",
                r->io.ring_fd, bgid);
  if (rc == -EINVAL && g->min_left > 0
      && name_kernel() >= NAMES_VERSION(6, 12))
    return fail(L, EINVAL, "buf_ring: this kernel takes no min_left");
  if (rc == -EINVAL && g->inc)
    return fail(L, EINVAL, "buf_ring with IOU_PBUF_RING_INC needs Linux 6.12");
  if (rc == -ENOMEM)
    return fail(L, ENOMEM, "buf_ring: register group %u on ring (fd %d): the "
                "kernel locks the pages of its list (ulimit -l)", bgid,
                r->io.ring_fd);
  return fail_on_ring(L, -rc, r->io.ring_fd,
                      lua_pushfstring(L, "buf_ring: register group %d",
                                      (int)bgid));
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
  bgid = options_integer(L, 2, "bgid", unused_bgid(r), 0, UINT16_MAX);
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
  b->g = buf_group_new(state_of(L)->account, (uint32_t)entries, (uint32_t)size,
                       (uint16_t)bgid, inc);
  if (b->g == NULL)
    return fail(L, ENOMEM, "buf_ring: %d buffers of %d bytes%s", (int)entries,
                (int)size, state_memory_note(L));
  pressure_hold(&state_of(L)->pressure, buf_group_bytes(b->g), 0);
  b->g->min_left = (uint32_t)options_integer(L, 2, "min_left", 0, 0,
                                             size);
  ring_check(L, 1);
  rc = ring_add_group(r, b->g);
  return rc < 0 ? buf_ring_refused(L, r, b->g, rc) : 1;
}

static void buf_ring_release_group (lua_State *L, struct buf_ring *b) {
  struct buf_group *g = b->g;
  b->g = NULL;
  if (g) {
    pressure_drop(&state_of(L)->pressure, buf_group_bytes(g), 0);
    refblock_release(&g->block);
  }
}

static struct buf_ring *buf_ring_self (lua_State *L) {
  struct buf_ring *b = class_check(L, 1, CLASS_BUF_RING);
  if (b->g == NULL)
    luaL_argerror(L, 1, "attempt to use a closed buf_ring");
  return b;
}

/* buf_ring:close(): unregister the group. Its leases stay valid. */
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
    buf_ring_release_group(L, b);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* Collection is not a close: requests may name the group by its id. The ring
** keeps it until it is closed. */
static int buf_ring_gc (lua_State *L) {
  struct buf_ring *b = class_check(L, 1, CLASS_BUF_RING);
  if (b->g) pressure_collected(&state_of(L)->pressure, buf_group_bytes(b->g),
                               0);
  buf_ring_release_group(L, b);
  return 0;
}


/* ---- take -------------------------------------------------------------- */

static int fail_not_taken (lua_State *L, const struct buf_group *g,
                           int32_t res, uint32_t flags) {
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

/* Its size for the collector: it keeps a whole buffer from being recycled. */
static size_t lease_weight (const struct lease *l) {
  return l->group == NULL || l->group->inc ? l->piece.size : l->group->size;
}

bool lease_set (lua_State *L, struct lease **own, struct lease *lease) {
  if (*own) pressure_drop(&state_of(L)->pressure, lease_weight(*own), 0);
  *own = lease;
  if (lease) pressure_hold(&state_of(L)->pressure, lease_weight(lease), 0);
  return lease != NULL;
}

static void free_leases (struct lease **leases, unsigned n) {
  while (n > 0) free(leases[--n]);
}

/* Allocate leases before pieces are taken; false if out of memory. */
static bool alloc_leases (struct lease **leases, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    if ((leases[i] = lease_alloc()) == NULL) {
      free_leases(leases, i);
      return false;
    }
  }
  return true;
}

/* buf_ring:lease(res, flags): a lease of the part that a completion filled */
static int buf_ring_lease (lua_State *L) {
  struct buf_group *g = buf_ring_self(L)->g;
  int32_t res = arg_res(L, 2);
  uint32_t flags = arg_flags(L, 3);
  struct lease **l = lease_push(L), *lease;
  struct piece p;
  buf_ring_self(L);  /* guard: a finalizer may have closed it */
  if (!alloc_leases(&lease, 1))
    return fail(L, ENOMEM, "group %d: a lease", g->bgid);
  if (!buf_group_take(g, res, flags, &p)) {
    free(lease);
    return fail_not_taken(L, g, res, flags);
  }
  lease_fill(lease, g, &p);
  lease_set(L, l, lease);
  return 1;
}

/* buf_ring:bundle(res, flags): an array of leases, in order */
static int buf_ring_bundle (lua_State *L) {
  struct buf_group *g = buf_ring_self(L)->g;
  int32_t res = arg_res(L, 2);
  uint32_t flags = arg_flags(L, 3);
  struct piece p[256];
  struct lease *leases[256];
  unsigned n = res > 0 ? (uint32_t)res / g->size + 2 : 1, taken;
  if (n > 256) n = 256;
  if (n > g->entries) n = g->entries;
  lua_createtable(L, (int)n, 0);
  for (unsigned i = 1; i <= n; i++) {
    lease_push(L);
    lua_rawseti(L, -2, i);
  }
  buf_ring_self(L);  /* guard: a finalizer may have closed it */
  if (!alloc_leases(leases, n))
    return fail(L, ENOMEM, "group %d: %u leases", g->bgid, n);
  taken = buf_group_take_bundle(g, res, flags, p, n);
  free_leases(leases + taken, n - taken);
  if (taken == 0)
    return fail_not_taken(L, g, res, flags);
  for (unsigned i = 1; i <= n; i++) {
    if (i > taken) {
      lua_pushnil(L);
      lua_rawseti(L, -2, i);
      continue;
    }
    lease_fill(leases[i - 1], g, &p[i - 1]);
    lua_rawgeti(L, -1, i);
    lease_set(L, lua_touserdata(L, -1), leases[i - 1]);
    lua_pop(L, 1);
  }
  return 1;
}

static void release_lease (lua_State *L, struct lease **l) {
  struct lease *lease = *l;
  lease_set(L, l, NULL);
  if (lease) refblock_release(&lease->block);
}

/* buf_ring:string(res, flags): the bytes; the buffer is recycled. (If making
** the string raises, collection of the lease recycles it.) */
static int buf_ring_string (lua_State *L) {
  int n = buf_ring_lease(L);
  struct lease **l;
  if (n != 1)
    return n;
  l = lua_touserdata(L, -1);
  lua_pushlstring(L, (const char *)(*l)->piece.data, (*l)->piece.size);
  release_lease(L, l);
  return 1;
}


/* ---- inspect ----------------------------------------------------------- */

/* The number of buffers that the kernel has picked so far, modulo 65536. */
static int read_head (const struct buf_ring *b, uint16_t *out) {
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

static int fail_status (lua_State *L, const struct buf_ring *b, int rc) {
  if (rc == -EINVAL)
    return fail(L, EINVAL, "the state of group %d needs Linux 6.8",
                b->g->bgid);
  return fail(L, -rc, "the state of group %d", b->g->bgid);
}

static unsigned count_free (const struct buf_group *g, uint16_t h) {
  return (uint16_t)(g->ring->tail - h);
}

/* buf_ring:head(): buffers picked so far, modulo 65536 (since Linux 6.8) */
static int buf_ring_head (lua_State *L) {
  struct buf_ring *b = buf_ring_self(L);
  uint16_t h;
  int rc = read_head(b, &h);
  if (rc < 0) return fail_status(L, b, rc);
  lua_pushinteger(L, h);
  return 1;
}

/* buf_ring:available(): the number of free buffers (since Linux 6.8) */
static int buf_ring_available (lua_State *L) {
  struct buf_ring *b = buf_ring_self(L);
  uint16_t h;
  int rc = read_head(b, &h);
  if (rc < 0) return fail_status(L, b, rc);
  lua_pushinteger(L, count_free(b->g, h));
  return 1;
}

static void set_field (lua_State *L, const char *name, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}

/* buf_ring:stats(): entries = available + kernel + leased; before Linux 6.8
** `kernel` counts the available ones too, and `available` is nil. */
static int buf_ring_stats (lua_State *L) {
  const struct buf_ring *b;
  lua_Integer bgid, entries, size, leased, available;
  bool known;
  uint16_t h;
  lua_createtable(L, 0, 6);
  b = buf_ring_self(L);  /* (after this a finalizer may close it) */
  bgid = b->g->bgid;
  entries = b->g->entries;
  size = b->g->size;
  leased = b->g->leased;
  known = read_head(b, &h) == 0;
  available = known ? count_free(b->g, h) : 0;
  set_field(L, "bgid", bgid);
  set_field(L, "entries", entries);
  set_field(L, "size", size);
  set_field(L, "leased", leased);
  set_field(L, "kernel", entries - leased - available);
  if (known) set_field(L, "available", available);
  return 1;
}

static int buf_ring_bgid (lua_State *L) {
  lua_pushinteger(L, buf_ring_self(L)->g->bgid);
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

static int lease_release (lua_State *L) {
  release_lease(L, class_check(L, 1, CLASS_LEASE));
  return 0;
}

static int lease_gc (lua_State *L) {
  struct lease *const *l = class_check(L, 1, CLASS_LEASE);
  if (*l) pressure_collected(&state_of(L)->pressure, lease_weight(*l), 0);
  return lease_release(L);
}

static int lease_string (lua_State *L) {
  struct bytes b;
  class_check(L, 1, CLASS_LEASE);
  b = arg_bytes(L, 1, 1);
  push_part(L, b.at, b.size, 2);
  return 1;
}

static int lease_len (lua_State *L) {
  class_check(L, 1, CLASS_LEASE);
  lua_pushinteger(L, (lua_Integer)arg_bytes(L, 1, 1).size);
  return 1;
}

static int lease_tostring (lua_State *L) {
  struct lease *const *l = class_check(L, 1, CLASS_LEASE);
  if (*l == NULL)
    lua_pushliteral(L, "uring.Lease (released)");
  else if ((*l)->group == NULL)
    lua_pushfstring(L, "uring.Lease (a block, %d bytes)",
                    (int)(*l)->piece.size);
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
  {"lease", buf_ring_lease},
  {"bundle", buf_ring_bundle},
  {"string", buf_ring_string},
  {"head", buf_ring_head},
  {"available", buf_ring_available},
  {"stats", buf_ring_stats},
  {"bgid", buf_ring_bgid},
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
  {"string", lease_string},
  {"release", lease_release},
  {"close", lease_release},
  {NULL, NULL}
};

static const luaL_Reg lease_meta[] = {
  {"__len", lease_len},
  {"__gc", lease_gc},
  {"__close", lease_release},
  {"__tostring", lease_tostring},
  {NULL, NULL}
};

void buf_ring_open (lua_State *L) {
  class_extend(L, CLASS_RING, ring_methods);
  class_define(L, CLASS_BUF_RING, methods, meta, NULL);
  class_define(L, CLASS_LEASE, lease_methods, lease_meta, NULL);
}
