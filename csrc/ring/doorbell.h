/*
** bell: how others wake a loop that sleeps on its ring. (No Lua in it.)
**
** A bell is a counted record, known to the ring and to whoever may ring it,
** in whatever thread or state: they count it too, and it outlives the ring. To
** ring it is to send the ring a message whose 64 bits are the bell's token.
** That is drawn at random and names no slot that a table can have, so no
** operation is ever taken for it.
**
** Who sleeps arms the bell, then looks once more whether there is anything to
** do, and only then sleeps. Who has put something there asks
** `doorbell_wanted`: one of the many who may ask is told to ring, and all of
** them only while somebody sleeps. So a message between two that are awake
** costs no call.
**
** A token that comes although nobody has signaled was forged, by somebody who
** has seen it. It wakes, which harms nobody, and is counted.
**
** What can never happen: who has put something there finds the bell quiet, and
** who sleeps has not seen it; a bell that could not be signaled stays
** unwanted.
*/

#ifndef uring_doorbell_h
#define uring_doorbell_h

#include "base/handle.h"
#include "ring/sys.h"

struct doorbell {
  struct refblock block;
  struct handle *ring;       /* counted: the one that it hangs at */
  uint64_t token;
  int eventfd;               /* signaled where the kernel knows no message from
                                outside a ring; else -1 */
  _Atomic bool armed;
  _Atomic uint32_t signaled;     /* how often, wrapping */
  uint32_t came;             /* how often that was heard: the sleeper's own */
};

/* A bell for the ring with this handle, counted once; NULL and errno. */
struct doorbell *doorbell_new (struct handle *ring);

/* The sleeper's: before it looks for the last time, and when it is awake. */
void doorbell_arm (struct doorbell *b);
void doorbell_rest (struct doorbell *b);

/* The token has come: true if somebody has signaled, false if it is forged. */
bool doorbell_came (struct doorbell *b);

/* Something is there for the sleeper: must the caller ring? */
bool doorbell_wanted (struct doorbell *b);

/* Ring, from anywhere: 0, or -errno and the bell is armed again; -EPIPE where
** its ring is closed, and nobody sleeps any more. */
int doorbell_ring (struct doorbell *b);

/* The same by a request of a ring of one's own, which says nothing if it goes
** well; and that it has failed. */
void doorbell_prepare (struct doorbell *b, struct io_uring_sqe *sqe);
void doorbell_failed (struct doorbell *b);

#endif
