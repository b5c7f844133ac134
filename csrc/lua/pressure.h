/*
** pressure: the collector is told of what it cannot see.
**
** To Lua an object of this library is a few bytes. What hangs on it lies in C
** or in the kernel: a buffer's bytes, a ring, a descriptor. Were it not told,
** a program that drops such objects would hold all of it long before its few
** bytes were worth a collection. So each object that owns something counts it
** here while it does, and what more there is than the collector was told of
** counts for it as an allocation of that size would.
**
** In generational mode that is not enough, for what is old is searched at only
** when Lua's own bytes have grown. So there is a bound as well: everything is
** collected when there is more than a small multiple of what was alive the
** last time. Descriptors have one of their own, which the process's limit
** decides.
**
** What is closed as fast as it is made costs nothing: it counts no more, and
** the next one has its place, of which the collector was told before.
*/

#ifndef uring_pressure_h
#define uring_pressure_h

#include <lua.h>

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#define PRESSURE_FD      16384u   /* bytes that a descriptor counts as */
#define PRESSURE_CREDIT  ((size_t)16 << 20)

struct pressure {          /* of one state */
  size_t held;             /* by objects that are open, or garbage */
  size_t applied;             /* up to so many the collector knows */
  size_t alive;            /* held after the last full collection, or less */
  unsigned fds;            /* of these */
  unsigned most_fds;       /* so many and no more; 0: not yet decided */
};

/* The first statement of a constructor whose object is to hold this much: it
** may run finalizers, and they may close anything. It does not raise. */
void pressure_tell (lua_State *L, size_t bytes, unsigned fds);

/* What garbage holds is wanted: look through all of it, or through a part. */
void pressure_search (lua_State *L, bool all);

/* An object holds it now; and has let go of it. */
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

/* A finalizer says so first: what was garbage leaves no place. */
static inline void pressure_collected (struct pressure *p, size_t bytes,
                                       unsigned fds) {
  bytes += (size_t)fds * PRESSURE_FD;
  p->applied -= p->applied < bytes ? p->applied : bytes;
}

#endif
