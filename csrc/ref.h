/*
** ref: a ring as others know it. (No Lua in it.)
**
** A message goes to a descriptor's number, and a number is a poor name: once
** its ring is closed the next ring may get it, and with it the message. So a
** ring that can be a target has a record of its own: a private dup of its
** descriptor, which keeps the number taken for as long as anybody may use
** it, and a word that says whether the ring is closed. SQEs, operations and
** other states each count; any thread may.
**
** What can never happen: a message meant for one ring reaches another. That
** a ring is closed is seen when a message to it is queued and once more just
** before it is submitted.
*/

#ifndef uring_ref_h
#define uring_ref_h

#include "block.h"

struct ref {
  struct block block;
  int fd;               /* a dup of the ring's, close-on-exec */
  uint32_t proc;        /* whose number that is to close */
  _Atomic bool closed;
};

/* A record for the ring at `fd`, counted once; NULL and errno on failure. */
struct ref *ref_new (int fd);

void ref_close (struct ref *ref);

static inline bool ref_closed (struct ref *ref) {
  return atomic_load_explicit(&ref->closed, memory_order_acquire);
}

/* Grows whenever any ring of this process is closed: while it stands still
** there is no need to look at each queued message's target again. */
unsigned ref_closings (void);

#endif
