#include "compat.h"
#include "ring/bell.h"

#include "ring/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>


static void bell_end (struct block *b) {
  struct bell *bell = (struct bell *)b;
  if (bell->eventfd >= 0) close(bell->eventfd);
  block_release(&bell->ring->block);
  free(bell);
}

static bool draw (uint64_t *token) {
  while (getrandom(token, sizeof(*token), 0) != (ssize_t)sizeof(*token))
    if (errno != EINTR)
      return false;
  *token |= OP_MAX;  /* the number of no slot */
  return true;
}

struct bell *bell_new (struct handle *ring) {
  struct bell *b = malloc(sizeof(*b));
  if (b == NULL)
    return NULL;
  if (!draw(&b->token)) {
    free(b);
    return NULL;
  }
  block_init(&b->block, bell_end);
  block_retain(&ring->block);
  b->ring = ring;
  b->eventfd = -1;
  atomic_init(&b->armed, false);
  atomic_init(&b->rung, 0);
  b->came = 0;
  /* Kernels that cannot, say so; the others' first message is for nothing. */
  if (bell_ring(b) == -EINVAL) {
    b->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->eventfd < 0) {
      block_release(&b->block);
      return NULL;
    }
  }
  bell_rest(b);
  return b;
}


/* ---- who sleeps -------------------------------------------------------- */

/* guard: each writes, and then looks at what the other writes, so that one of
   the two sees it. Both fences are needed for that. */
void bell_arm (struct bell *b) {
  atomic_store_explicit(&b->armed, true, memory_order_relaxed);
  atomic_thread_fence(memory_order_seq_cst);
}

void bell_rest (struct bell *b) {
  atomic_store_explicit(&b->armed, false, memory_order_relaxed);
}

bool bell_came (struct bell *b) {
  uint32_t rung = atomic_load_explicit(&b->rung, memory_order_acquire);
  if (rung == b->came)
    return false;
  b->came = b->eventfd >= 0 ? rung : b->came + 1;  /* (that one adds up) */
  return true;
}


/* ---- who rings --------------------------------------------------------- */

bool bell_wanted (struct bell *b) {
  atomic_thread_fence(memory_order_seq_cst);
  return atomic_load_explicit(&b->armed, memory_order_relaxed)
         && atomic_exchange_explicit(&b->armed, false, memory_order_relaxed);
}

void bell_failed (struct bell *b) {
  atomic_fetch_sub_explicit(&b->rung, 1, memory_order_relaxed);
  bell_arm(b);  /* guard: whoever is next must try again */
}

/* (counted first, for it may be heard before this returns) */
void bell_prepare (struct bell *b, struct io_uring_sqe *sqe) {
  atomic_fetch_add_explicit(&b->rung, 1, memory_order_release);
  memset(sqe, 0, sizeof(*sqe));
  io_uring_prep_msg_ring(sqe, handle_number(b->ring), 0, b->token, 0);
}

int bell_ring (struct bell *b) {
  struct io_uring_sqe sqe;
  int rc = 0;
  if (handle_use(b->ring) < 0)
    return -EPIPE;
  bell_prepare(b, &sqe);
  if (b->eventfd >= 0) {
    uint64_t one = 1;
    if (write(b->eventfd, &one, sizeof(one)) < 0) rc = -errno;
  }
  else {
    rc = sys_register(-1, IORING_REGISTER_SEND_MSG_RING, &sqe, 1);
  }
  handle_done(b->ring);
  if (rc < 0) bell_failed(b);
  return rc < 0 ? rc : 0;
}
