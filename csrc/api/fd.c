/*
** fd: the class uring.Fd, and descriptor arguments. SQEs that may name a
** number are submitted before the number is closed or given away.
*/

#include "api/fd.h"

#include "ring/ring_submit.h"
#include "ring/ring_uses.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "api/ring_check.h"

#include <fcntl.h>


struct fd *fd_push (lua_State *L) {
  struct fd *f;
  pressure_tell(L, 0, 1);
  f = class_new(L, CLASS_FD, sizeof(*f), 0);
  f->d = handle_new();
  if (f->d == NULL)
    luaL_error(L, "not enough memory");
  pressure_hold(&state_of(L)->pressure, 0, 1);
  return f;
}

struct handle *fd_take_handle (lua_State *L, struct fd *f) {
  struct handle *d = f->d;
  f->d = NULL;
  if (d) pressure_drop(&state_of(L)->pressure, 0, 1);
  return d;
}

/* (Owners of a ring are counted: see handle_close_inherited.) */
static struct handle *open_owner (lua_State *L, int index) {
  struct handle *h = lua_type(L, index) != LUA_TNUMBER ? NULL
    : handle_find(&state_of(L)->handles, (int)lua_tointeger(L, index));
  return h && !h->ring && !handle_closed(h) ? h : NULL;
}

void fd_share_owner (lua_State *L, int index) {
  struct handle *h;
  struct fd *f;
  if (open_owner(L, index) == NULL)
    return;
  f = fd_push(L);
  h = open_owner(L, index);
  if (h == NULL) {  /* guard: a finalizer has closed it */
    lua_pop(L, 1);
    return;
  }
  refblock_release(&f->d->block);
  f->d = h;
  refblock_retain(&h->block);
  lua_replace(L, index);
}

int fd_new (lua_State *L) {
  int n = (int)arg_integer(L, 1, 0, INT32_MAX);
  struct handles *all = &state_of(L)->handles;
  struct fd *f = fd_push(L);
  if (handle_owns(all, n)  /* guard: the second close would hit another file */
      && fcntl(n, F_GETFD) >= 0)
    return fail(L, EEXIST, "uring.fd(%d): a uring.fd, a socket, a ring or "
                "the loop owns this number: use that, or what its release() "
                "gives", n);
  handle_own(all, f->d, n);
  return 1;
}


/* ---- methods ----------------------------------------------------------- */

enum fd_away fd_where (const struct fd *f) {
  if (f->d == NULL)
    return f->away;
  return handle_lent(f->d) ? FD_LENT : f->d->sent ? FD_SENT : FD_HERE;
}

/* Raise why the descriptor, which is closed, cannot be used. */
static int raise_closed_fd (lua_State *L, int arg, const struct fd *f) {
  static const char *const why[] = {
    "attempt to use a closed descriptor",
    "this descriptor is on its way, in a message that waits to be sent",
    "this descriptor was sent away, in a message"
  };
  return luaL_argerror(L, arg, why[fd_where(f)]);
}

static struct fd *open_fd (lua_State *L) {
  struct fd *f = class_check(L, 1, CLASS_FD);
  if (f->d == NULL || handle_closed(f->d)) raise_closed_fd(L, 1, f);
  return f;
}

static int fd_fileno (lua_State *L) {
  lua_pushinteger(L, handle_number(open_fd(L)->d));
  return 1;
}

/* fd:release(): the number; the caller owns it from now on. */
static int fd_release (lua_State *L) {
  struct fd *f = open_fd(L);
  struct handle *d;
  ring_submit_all(state_of(L)->rings);
  d = fd_take_handle(L, f);
  lua_pushinteger(L, handle_release(d));
  refblock_release(&d->block);
  return 1;
}

int fd_closed (lua_State *L, int rc) {
  if (rc < 0)
    return fail(L, -rc, "close");
  lua_pushboolean(L, 1);
  return 1;
}

static int fd_close (lua_State *L) {
  struct fd *f = class_check(L, 1, CLASS_FD);
  struct handle *d;
  int rc = 0;
  if (f->d && handle_lent(f->d))
    return raise_closed_fd(L, 1, f);  /* guard: the message has the number */
  d = fd_take_handle(L, f);
  if (d != NULL) {
    rc = ring_close_handle(state_of(L)->rings, d);
    refblock_release(&d->block);
  }
  return fd_closed(L, rc);
}

/* Collection is not a close: SQEs and operations that count the handle keep
** the number open. */
static int fd_gc (lua_State *L) {
  struct fd *f = class_check(L, 1, CLASS_FD);
  struct handle *d;
  if (f->d) pressure_collected(&state_of(L)->pressure, 0, 1);
  d = fd_take_handle(L, f);
  if (d) {
    ring_reap_uses(state_of(L)->rings, d);
    refblock_release(&d->block);
  }
  return 0;
}

static int fd_tostring (lua_State *L) {
  static const char *const away[] = { "closed", "on its way", "sent away" };
  struct fd *f = class_check(L, 1, CLASS_FD);
  if (f->d && !handle_closed(f->d))
    lua_pushfstring(L, "uring.Fd (%d)", handle_number(f->d));
  else
    lua_pushfstring(L, "uring.Fd (%s)", away[fd_where(f)]);
  return 1;
}


/* ---- arguments --------------------------------------------------------- */

struct fd_arg arg_fd (lua_State *L, int arg) {
  return arg_fd_in(L, arg, arg);
}

struct fd *fd_at (lua_State *L, int index) {
  static const enum class classes[] = { CLASS_FD, CLASS_SOCKET, CLASS_STREAM,
                                        CLASS_CHILD };
  const struct state *s = state_of(L);
  const void *key = class_key(L, index);
  for (size_t i = 0; key && i < sizeof(classes) / sizeof(*classes); i++)
    if (key == s->meta[classes[i]])
      return class_raw(L, index, classes[i]);
  return NULL;
}

struct fd_arg arg_fd_in (lua_State *L, int index, int arg) {
  struct fd_arg a = { -1, NULL, 0 };
  const struct fd *f;
  void *p;
  if (lua_type(L, index) == LUA_TNUMBER) {
    int ok;
    lua_Integer n = lua_tointegerx(L, index, &ok);
    if (!ok || n < INT32_MIN || n > INT32_MAX)
      luaL_argerror(L, arg, "descriptor expected, got another number");
    a.number = (int)n;
  }
  else if ((f = fd_at(L, index)) != NULL) {
    if (f->d == NULL || handle_closed(f->d)) raise_closed_fd(L, arg, f);
    a.handle = f->d;
    a.number = handle_number(f->d);
    if (a.number < 0)
      luaL_argerror(L, arg, "a stream over functions has no descriptor");
  }
  else if (class_test(L, index, CLASS_RING) != NULL) {
    a.handle = ring_check_in(L, index, arg)->handle;
    a.number = handle_number(a.handle);
  }
  else if ((p = luaL_testudata(L, index, LUA_FILEHANDLE)) != NULL) {
    luaL_Stream *s = p;
    if (s->closef == NULL)
      luaL_argerror(L, arg, "attempt to use a closed file");
    a.number = fileno(s->f);
    a.anchor = index;
  }
  else
    luaL_argerror(L, arg, lua_pushfstring(L,
      "descriptor expected (an integer, a uring.fd, a socket, a stream, a "
      "ring or a file), got %s", arg_typename(L, index)));
  return a;
}


static const luaL_Reg methods[] = {
  {"fileno", fd_fileno},
  {"release", fd_release},
  {"close", fd_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", fd_gc},
  {"__close", fd_close},
  {"__tostring", fd_tostring},
  {NULL, NULL}
};

void fd_open (lua_State *L) {
  class_define(L, CLASS_FD, methods, meta, NULL);
}
