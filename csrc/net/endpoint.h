/*
** endpoint: what sockets and streams have in common: a descriptor, an input
** and an output. The userdata of both classes begins with these three, as that
** of a uring.fd begins with its handle, so that reads and writes are written
** once. (The first two are those of struct fd.)
*/

#ifndef uring_endpoint_h
#define uring_endpoint_h

#include "base/handle.h"
#include "net/input.h"
#include "net/output.h"

struct endpoint {
  struct handle *d;        /* NULL: closed, or away */
  uint8_t away;            /* enum fd_away */
  struct input input;
  struct output output;
};

/* Is it closed? A request (prep_close), or another object that owned it, may
** have closed its number without it. */
static inline bool endpoint_closed (const struct handle *d) {
  return d == NULL || handle_closed(d);
}

/* The socket or stream at `arg`; raises for any other value. */
static inline struct endpoint *endpoint_at (lua_State *L, int arg) {
  const void *key = class_key(L, arg);
  return key == state_of(L)->meta[CLASS_SOCKET]
         ? class_raw(L, arg, CLASS_SOCKET) : class_check(L, arg, CLASS_STREAM);
}

#endif
