#include "fd.h"

#include "args.h"
#include "errors.h"
#include "proc.h"
#include "ring.h"

#include <stdlib.h>
#include <unistd.h>


static int close_number (struct descriptor *d) {
  int n = atomic_exchange(&d->number, -1);  /* guard: closed once */
  return n >= 0 ? close(n) : 0;
}

static void descriptor_end (struct block *b) {
  close_number((struct descriptor *)b);
  free(b);
}

static void descriptor_idle (struct block *b) {
  struct descriptor *d = (struct descriptor *)b;
  if (atomic_load(&d->closing))
    close_number(d);
}

int descriptor_number (struct block *b) {
  struct descriptor *d = (struct descriptor *)b;
  return atomic_load(&d->closing) ? -1 : atomic_load(&d->number);
}

void fd_push (lua_State *L, int number) {
  struct fd *f = class_new(L, CLASS_FD, sizeof(*f), 0);
  struct descriptor *d = malloc(sizeof(*d));
  if (d == NULL)
    luaL_error(L, "not enough memory");
  block_init(&d->block, descriptor_end);
  d->block.idle = descriptor_idle;
  atomic_init(&d->number, number);
  atomic_init(&d->closing, false);
  f->d = d;
}

int fd_new (lua_State *L) {
  int n = (int)arg_integer(L, 1, 0, INT32_MAX);
  fd_push(L, n);
  return 1;
}


/* ---- methods ----------------------------------------------------------- */

static struct fd *tofd (lua_State *L) {
  struct fd *f = class_check(L, 1, CLASS_FD);
  if (f->d == NULL)
    luaL_argerror(L, 1, "attempt to use a closed descriptor");
  return f;
}

static int f_fileno (lua_State *L) {
  lua_pushinteger(L, atomic_load(&tofd(L)->d->number));
  return 1;
}

/* The number becomes the caller's, who must close it. */
static int f_release (lua_State *L) {
  struct fd *f = tofd(L);
  struct descriptor *d = f->d;
  ring_submit_all(state_of(L)->rings);
  f->d = NULL;
  lua_pushinteger(L, atomic_exchange(&d->number, -1));
  block_release(&d->block);
  return 1;
}

static int f_close (lua_State *L) {
  struct fd *f = class_check(L, 1, CLASS_FD);
  struct descriptor *d = f->d;
  int rc = 0, en = 0;
  if (d != NULL) {
    f->d = NULL;
    ring_submit_all(state_of(L)->rings);  /* guard: SQEs that name it */
    atomic_store(&d->closing, true);
    if (block_flying(&d->block) == 0) {
      rc = close_number(d);
      en = errno;
    }
    block_release(&d->block);
  }
  if (rc < 0)
    return fail(L, en, "close");
  lua_pushboolean(L, 1);
  return 1;
}

/* A collected one was not closed: SQEs that name it may still be queued, and
** its number is closed when the last of them has gone. */
static int f_gc (lua_State *L) {
  struct fd *f = class_check(L, 1, CLASS_FD);
  struct descriptor *d = f->d;
  f->d = NULL;
  if (d) {
    ring_submit_all(state_of(L)->rings);
    block_release(&d->block);
  }
  return 0;
}

static int f_tostring (lua_State *L) {
  struct fd *f = class_check(L, 1, CLASS_FD);
  if (f->d)
    lua_pushfstring(L, "uring.Fd (%d)", atomic_load(&f->d->number));
  else
    lua_pushliteral(L, "uring.Fd (closed)");
  return 1;
}


static const luaL_Reg methods[] = {
  {"fileno", f_fileno},
  {"release", f_release},
  {"close", f_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", f_gc},
  {"__close", f_close},
  {"__tostring", f_tostring},
  {NULL, NULL}
};

void fd_open (lua_State *L) {
  class_define(L, CLASS_FD, methods, meta, NULL);
}
