/*
** pressure: tell the collector of resources that it cannot see.
**
** To Lua an object of this library is a few bytes. The resources that it owns
** are in C or in the kernel: a buffer's bytes, a ring, a descriptor. A program
** that drops such objects could run out of these long before Lua's own bytes
** start a collection. So each object counts here what it owns, and growth of
** the sum drives the collector as an allocation of the same size would.
**
** In generational mode that is not enough: old objects are collected only when
** Lua's own bytes have grown. So there is also a bound: a full collection runs
** when the sum exceeds a small multiple of what was alive after the last one.
** Descriptors have a bound of their own, derived from the process's limit.
**
** Objects that are closed as fast as they are made cost nothing: a close
** lowers the sum, and the next object only restores it.
*/

#ifndef uring_pressure_h
#define uring_pressure_h

#include <lua.h>

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#define PRESSURE_FD      16384u   /* bytes that a descriptor counts as */
#define PRESSURE_CREDIT  ((size_t)16 << 20)

struct pressure {          /* of one state; sizes in bytes */
  size_t held;             /* by objects that are open, or garbage */
  size_t applied;          /* of these, already made known to the collector */
  size_t alive;            /* at most what the last full collection left */
  unsigned fds;            /* held descriptors */
  unsigned most_fds;       /* more start a full collection; 0: not set yet */
  size_t left;             /* in the account after the last one */
};

/* Must be the first statement of a constructor whose object is to hold this
** much: it may run finalizers, and they may close anything. Does not raise. */
void pressure_tell (lua_State *L, size_t bytes, unsigned fds);

/* If the account's limit is near, and there may be garbage, run a full
** collection. For objects whose size is not given to pressure_tell. */
void pressure_make_room (lua_State *L, size_t bytes);

/* Resources are exhausted and garbage may hold some: run a full collection, or
** one step. */
void pressure_search (lua_State *L, bool all);

/* An object acquires, and releases, resources. */
static inline void pressure_hold (struct pressure *p, size_t bytes,
                                  unsigned fds) {
  p->held += bytes + (size_t)fds * PRESSURE_FD;
  p->fds += fds;
}

static inline void pressure_drop (struct pressure *p, size_t bytes,
                                  unsigned fds) {
  bytes += (size_t)fds * PRESSURE_FD;
  assert(p->held >= bytes && p->fds >= fds);
  p->held -= bytes;
  p->fds -= fds;
  if (p->alive > p->held) p->alive = p->held;
  if (p->applied > p->held + PRESSURE_CREDIT)
    p->applied = p->held + PRESSURE_CREDIT;
}

/* A finalizer calls this first: unlike an explicit close, the release of
** garbage does not leave credit for the next object. */
static inline void pressure_collected (struct pressure *p, size_t bytes,
                                       unsigned fds) {
  bytes += (size_t)fds * PRESSURE_FD;
  p->applied -= p->applied < bytes ? p->applied : bytes;
}

#endif
