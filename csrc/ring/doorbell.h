/*
** doorbell: wake a loop that sleeps on its ring, from any thread. (No Lua in
** it.)
**
** A doorbell is a reference-counted record. Its ring and all its senders, in
** any thread or state, count it, so it may outlive the ring. To ring it is to
** send the ring a message whose 64 bits are the doorbell's token. The token is
** random, with a slot number that no operation table can have, so that it is
** never taken for an operation's.
**
** The loop arms the doorbell, then checks once more for work, and only then
** sleeps. A sender first queues its work and then asks `doorbell_wanted`,
** which tells one sender to ring, and that only while the doorbell is armed.
** So messages between threads that are awake cost no system call.
**
** A loop inside another program's loop sleeps where that program polls. Its
** doorbell is rung by an eventfd that the program polls as well. That eventfd
** counts what was written to it, and the doorbell counts the same in memory:
** so the loop knows without a system call that there is something to read, and
** one read of all that was written leaves the eventfd unreadable.
**
** What a sender has made ready (a mailbox with a message) it links into the
** doorbell's ready list, before it asks whether to ring. The loop takes the
** whole list, and knows what has changed; what it does not serve at once it
** keeps, in front of what is linked later. It checks for both once more after
** it has armed the doorbell.
**
** A token that arrives without a ring was forged by a sender that knows it. It
** only wakes the loop, and is counted.
**
** Invariant: either the sender sees the doorbell armed, or the loop sees the
** sender's work before it sleeps. A ring that failed arms the doorbell again.
*/

#ifndef uring_doorbell_h
#define uring_doorbell_h

#include "base/handle.h"
#include "ring/sys.h"

#include <limits.h>

struct loop;

/* In what threads make ready for a loop. The thread that links it gives the
** list a count of what it is in; `ready` gets that, on the loop's thread.
** Without a loop, which is closed, it only lets go of it, on any thread. */
struct ready_link {
  struct ready_link *next;
  void (*ready)(struct ready_link *link, struct loop *loop);
};

struct doorbell {
  struct refblock block;
  struct handle *ring;       /* the target's, counted */
  uint64_t token;
  _Atomic int eventfd;       /* rung instead if the kernel has no
                                SEND_MSG_RING (since 6.13), or if the loop is
                                polled; else -1 */
  struct ready_link *_Atomic ready;  /* the last one linked comes first */
  struct ready_link *rest;   /* what the loop, which owns this, has taken and
                                not served yet, in order */
  _Atomic bool armed;
  _Atomic uint32_t signaled;     /* times it was rung, wrapping */
  _Atomic uint32_t written;  /* times the eventfd was, or is about to be */
  uint32_t arrived;          /* times that the loop, which owns this, has seen
                                it rung */
  uint32_t read;             /* ... and what it has read from the eventfd */
};

/* A doorbell for the ring with this handle, counted once; NULL and errno. */
struct doorbell *doorbell_new (struct handle *ring);

/* The same for a loop that is polled: see doorbell_polled. */
struct doorbell *doorbell_new_polled (struct handle *ring);

/* Has it senders? */
static inline bool doorbell_is_shared (const struct doorbell *b) {
  return refblock_owners(&b->block) > 1;
}

/* For the loop: arm before the last check for work, disarm when awake. */
void doorbell_arm (struct doorbell *b);
void doorbell_disarm (struct doorbell *b);

/* For a loop that is polled: from now on it is rung by its eventfd, which is
** returned; or -1 and errno. */
int doorbell_polled (struct doorbell *b);

/* Make the eventfd readable; was it made so since it was read last; read it.
** Only for such a loop. */
void doorbell_notify (struct doorbell *b);
static inline bool doorbell_notified (const struct doorbell *b) {
  return atomic_load_explicit(&b->written, memory_order_acquire) != b->read;
}
void doorbell_read (struct doorbell *b);

/* The token has arrived: true if the doorbell was rung, false if forged. */
bool doorbell_arrived (struct doorbell *b);

/* For the loop: call `ready` of up to `most` of what is ready, in the order in
** which it was linked. Returns how many. */
#define DOORBELL_ALL UINT_MAX
unsigned doorbell_serve (struct doorbell *b, struct loop *loop, unsigned most);

/* For the loop: is anything ready? For the last check before a sleep. */
static inline bool doorbell_has_ready (struct doorbell *b) {
  if (b->rest) return true;  /* guard: a step has left it */
  return atomic_load_explicit(&b->ready, memory_order_relaxed) != NULL;
}

/* For a sender: what it has queued is ready. It must not be linked yet. */
void doorbell_link (struct doorbell *b, struct ready_link *link);

/* For a sender that has queued work: must it ring? */
bool doorbell_wanted (struct doorbell *b);

/* Ring, from any thread: 0, or -errno and the doorbell is armed again; -EPIPE
** if its ring is closed, so that no loop sleeps on it. */
int doorbell_ring (struct doorbell *b);

/* Ring by a request of the caller's own ring, which need only report errors:
** fill the SQE, and undo that if the request fails. */
void doorbell_prepare (struct doorbell *b, struct io_uring_sqe *sqe);
void doorbell_failed (struct doorbell *b);

#endif
