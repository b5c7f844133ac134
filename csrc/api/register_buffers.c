/*
** register_buffers: the buffers that a ring has registered, which requests
** name by their index: see io_uring_register_buffers(3). The kernel pins their
** pages once, and not for each request.
**
** What must not break: no Lua runs between the first look at a buffer and the
** end of the call, for it could close one.
*/

#include "compat.h"
#include "api/register.h"

#include "base/names.h"
#include "ring/ring_buffers.h"
#include "lua/args.h"
#include "api/buffer.h"
#include "api/register_internal.h"
#include "api/ring_check.h"

/* An array of buffers (false is an empty place) at `arg`, and with `tagged`
** their tags at the next argument. Its memory is a userdata on the stack. */
static struct registered arg_buffers (lua_State *L, int arg, bool tagged) {
  struct registered b = { NULL, NULL, NULL, 0 };
  lua_Unsigned n = 0;
  char *at;
  if (lua_istable(L, arg)) n = lua_rawlen(L, arg);
  if (n < 1 || n > COMPAT_MAX_BUFFERS)
    luaL_argerror(L, arg, "array of 1 to 16384 buffers expected");
  b.n = (unsigned)n;
  at = lua_newuserdatauv(L, n * (sizeof(*b.iov) + sizeof(*b.tags)
                                 + sizeof(*b.blocks)), 0);
  b.iov = (struct iovec *)(void *)at;
  b.blocks = (struct refblock **)(void *)(b.iov + n);
  if (tagged) {
    b.tags = (uint64_t *)(void *)(b.blocks + n);
    register_tags(L, arg + 1, b.tags, b.n);
  }
  /* (from here on no Lua runs) */
  for (unsigned i = 0; i < b.n; i++) {
    b.blocks[i] = NULL;
    b.iov[i] = (struct iovec){ NULL, 0 };
    if (lua_rawgeti(L, arg, (lua_Integer)i + 1) != LUA_TBOOLEAN
        || lua_toboolean(L, -1)) {
      struct buffer *own = class_test(L, -1, CLASS_BUFFER);
      if (own == NULL || own->m == NULL)
        luaL_argerror(L, arg, lua_pushfstring(L, "value %d of the array is no "
          "open buffer: buffers, or false, expected", (int)i + 1));
      b.blocks[i] = &own->m->block;
      b.iov[i] = (struct iovec){ own->m->bytes, own->m->size };
    }
    lua_pop(L, 1);
  }
  return b;
}

static int buffers_result (lua_State *L, struct ring *r, int rc,
                           const char *what) {
  if (rc == -ENOMEM)
    return fail(L, ENOMEM, "%s on ring (fd %d): the kernel locks their pages "
                "(ulimit -l)", what, r->io.ring_fd);
  return register_result(L, r, rc, what);
}

static int register_them (lua_State *L, bool tagged, const char *what) {
  struct ring *r = ring_check(L, 1);
  struct registered b = arg_buffers(L, 2, tagged);
  ring_check(L, 1);  /* (a finalizer may have closed it) */
  return buffers_result(L, r, ring_register_buffers(r, &b), what);
}

/* ring:register_buffers{ buffer, … } */
static int register_buffers (lua_State *L) {
  return register_them(L, false, "register_buffers");
}

/* ring:register_buffers_tags({ buffer, … }, { tag, … }) */
static int register_buffers_tags (lua_State *L) {
  return register_them(L, true, "register_buffers_tags");
}

/* ring:register_buffers_sparse(n) */
static int register_buffers_sparse (lua_State *L) {
  struct registered b = { NULL, NULL, NULL, 0 };
  struct ring *r = ring_check(L, 1);
  b.n = (unsigned)arg_integer(L, 2, 1, COMPAT_MAX_BUFFERS);
  return buffers_result(L, r, ring_register_buffers(r, &b),
                        "register_buffers_sparse");
}

/* ring:register_buffers_update_tag(offset, { buffer, … }, { tag, … }): the
** number of places that were set */
static int register_buffers_update_tag (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  unsigned offset = (unsigned)arg_integer(L, 2, 0, COMPAT_MAX_BUFFERS);
  struct registered b = arg_buffers(L, 3, true);
  int rc;
  ring_check(L, 1);
  rc = ring_update_buffers(r, offset, &b);
  if (rc < 0)
    return buffers_result(L, r, rc, "register_buffers_update_tag");
  lua_pushinteger(L, rc);
  return 1;
}

/* ring:unregister_buffers() */
static int unregister_buffers (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  return register_result(L, r, ring_unregister_buffers(r),
                         "unregister_buffers");
}

static int clone_them (lua_State *L, struct ring *r, const unsigned n[4],
                       unsigned since, const char *what) {
  struct ring *from = ring_check(L, 2);
  int rc = ring_clone_buffers(r, from, n[0], n[1], n[2], n[3]);
  if (rc == -EINVAL && name_kernel() < since)
    return fail(L, EINVAL, "%s needs Linux %u.%u", what, NAMES_MAJOR(since),
                NAMES_MINOR(since));
  return buffers_result(L, r, rc, what);
}

/* ring:clone_buffers(source) */
static int clone_buffers (lua_State *L) {
  static const unsigned all[4] = {0};
  return clone_them(L, ring_check(L, 1), all, NAMES_VERSION(6, 12),
                    "clone_buffers");
}

/* ring:clone_buffers_offset(source, dst_off, src_off, nr [, flags]) */
static int clone_buffers_offset (lua_State *L) {
  struct ring *r = ring_check(L, 1);
  unsigned n[4];
  ring_check(L, 2);
  for (int i = 0; i < 3; i++)
    n[i] = (unsigned)arg_integer(L, 3 + i, 0, COMPAT_MAX_BUFFERS);
  n[3] = (unsigned)arg_optional(L, 6, 0, 0, UINT32_MAX);
  return clone_them(L, r, n, NAMES_VERSION(6, 13), "clone_buffers_offset");
}


static const luaL_Reg methods[] = {
  {"register_buffers", register_buffers},
  {"register_buffers_tags", register_buffers_tags},
  {"register_buffers_sparse", register_buffers_sparse},
  {"register_buffers_update_tag", register_buffers_update_tag},
  {"unregister_buffers", unregister_buffers},
  {"clone_buffers", clone_buffers},
  {"clone_buffers_offset", clone_buffers_offset},
  {NULL, NULL}
};

void register_buffers_open (lua_State *L) {
  class_extend(L, CLASS_RING, methods);
}
