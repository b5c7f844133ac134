/*
** doorbell: the token, the armed flag and ringing. The sleeper and the sender
** must each store before they load what the other stores: without both fences
** a wakeup can be lost.
*/

#include "compat.h"
#include "ring/doorbell.h"

#include "base/nocancel.h"
#include "ring/op_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>


static void doorbell_end (struct refblock *b) {
  struct doorbell *doorbell = (struct doorbell *)b;
  int fd = atomic_load_explicit(&doorbell->eventfd, memory_order_relaxed);
  doorbell_serve(doorbell, NULL, DOORBELL_ALL);
  if (fd >= 0) nocancel_close(fd);
  refblock_release(&doorbell->ring->block);
  free(doorbell);
}

int doorbell_polled (struct doorbell *b) {
  int fd = atomic_load_explicit(&b->eventfd, memory_order_relaxed);
  if (fd < 0) {
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_store_explicit(&b->eventfd, fd, memory_order_release);
  }
  return fd;
}

static bool draw_token (uint64_t *token) {
  while (getrandom(token, sizeof(*token), 0) != (ssize_t)sizeof(*token))
    if (errno != EINTR)
      return false;
  *token |= OP_MAX;  /* a number that no slot has */
  return true;
}

static struct doorbell *make (struct handle *ring) {
  struct doorbell *b = malloc(sizeof(*b));
  if (b == NULL)
    return NULL;
  if (!draw_token(&b->token)) {
    free(b);
    return NULL;
  }
  refblock_init(&b->block, doorbell_end);
  refblock_retain(&ring->block);
  b->ring = ring;
  atomic_init(&b->eventfd, -1);
  atomic_init(&b->armed, false);
  atomic_init(&b->ready, NULL);
  b->rest = NULL;
  atomic_init(&b->signaled, 0);
  atomic_init(&b->written, 0);
  b->arrived = b->read = 0;
  return b;
}

struct doorbell *doorbell_new_polled (struct handle *ring) {
  struct doorbell *b = make(ring);
  if (b && doorbell_polled(b) < 0) {
    refblock_release(&b->block);
    return NULL;
  }
  return b;
}

struct doorbell *doorbell_new (struct handle *ring) {
  struct doorbell *b = make(ring);
  if (b == NULL)
    return NULL;
  /* Kernels before 6.13 answer EINVAL; on later ones this first ring is
     superfluous and harmless. */
  if (doorbell_ring(b) == -EINVAL && doorbell_polled(b) < 0) {
    refblock_release(&b->block);
    return NULL;
  }
  doorbell_disarm(b);
  return b;
}


/* ---- the loop ---------------------------------------------------------- */

/* guard: each side stores, then loads what the other side stores, so that at
   least one of the two sees the other. That needs both fences. */
void doorbell_arm (struct doorbell *b) {
  atomic_store_explicit(&b->armed, true, memory_order_relaxed);
  atomic_thread_fence(memory_order_seq_cst);
}

void doorbell_disarm (struct doorbell *b) {
  atomic_store_explicit(&b->armed, false, memory_order_relaxed);
}

/* Take the ready list, and turn it around. */
static void take_ready (struct doorbell *b) {
  struct ready_link *link = atomic_exchange_explicit(&b->ready, NULL,
                                                     memory_order_acquire);
  while (link) {
    struct ready_link *next = link->next;
    link->next = b->rest;
    b->rest = link;
    link = next;
  }
}

static unsigned serve_rest (struct doorbell *b, struct loop *loop,
                            unsigned most) {
  unsigned n = 0;
  for (; n < most && b->rest; n++) {
    struct ready_link *link = b->rest;
    b->rest = link->next;  /* (`ready` may free it, or it is linked again) */
    link->ready(link, loop);
  }
  return n;
}

unsigned doorbell_serve (struct doorbell *b, struct loop *loop,
                         unsigned most) {
  unsigned n = serve_rest(b, loop, most);
  if (n == most || !doorbell_has_ready(b))
    return n;
  take_ready(b);
  return n + serve_rest(b, loop, most - n);
}

bool doorbell_arrived (struct doorbell *b) {
  uint32_t signaled = atomic_load_explicit(&b->signaled, memory_order_acquire);
  if (signaled == b->arrived)
    return false;
  /* (one read of an eventfd stands for several rings) */
  b->arrived = atomic_load_explicit(&b->eventfd, memory_order_relaxed) >= 0
               ? signaled : b->arrived + 1;
  return true;
}


/* Counted before it is written: then the loop may find nothing to read yet,
** and reads again, but never thinks that it has read all. */
static int write_eventfd (struct doorbell *b, int fd) {
  uint64_t one = 1;
  ssize_t n;
  atomic_fetch_add_explicit(&b->written, 1, memory_order_release);
  do n = nocancel_write(fd, &one, sizeof(one));
  while (n < 0 && errno == EINTR);
  if (n >= 0)
    return 0;
  atomic_fetch_sub_explicit(&b->written, 1, memory_order_relaxed);
  return -errno;
}

void doorbell_notify (struct doorbell *b) {
  write_eventfd(b, atomic_load_explicit(&b->eventfd, memory_order_relaxed));
}

void doorbell_read (struct doorbell *b) {
  uint64_t n;
  uint32_t signaled = atomic_load_explicit(&b->signaled, memory_order_acquire);
  if (read(atomic_load_explicit(&b->eventfd, memory_order_relaxed), &n,
           sizeof(n)) == (ssize_t)sizeof(n)) {
    b->read += (uint32_t)n;
    b->arrived = signaled;
  }
}


/* ---- senders ----------------------------------------------------------- */

void doorbell_link (struct doorbell *b, struct ready_link *link) {
  struct ready_link *first = atomic_load_explicit(&b->ready,
                                                  memory_order_relaxed);
  do link->next = first;
  while (!atomic_compare_exchange_weak_explicit(&b->ready, &first, link,
                                                memory_order_release,
                                                memory_order_relaxed));
}

bool doorbell_wanted (struct doorbell *b) {
  atomic_thread_fence(memory_order_seq_cst);
  return atomic_load_explicit(&b->armed, memory_order_relaxed)
         && atomic_exchange_explicit(&b->armed, false, memory_order_relaxed);
}

void doorbell_failed (struct doorbell *b) {
  atomic_fetch_sub_explicit(&b->signaled, 1, memory_order_relaxed);
  doorbell_arm(b);  /* guard: the next sender must ring again */
}

/* (Counted before it is sent, because it may arrive at once.) */
void doorbell_prepare (struct doorbell *b, struct io_uring_sqe *sqe) {
  atomic_fetch_add_explicit(&b->signaled, 1, memory_order_release);
  memset(sqe, 0, sizeof(*sqe));
  io_uring_prep_msg_ring(sqe, handle_number(b->ring), 0, b->token, 0);
}

int doorbell_ring (struct doorbell *b) {
  struct io_uring_sqe sqe;
  int fd, rc;
  if (handle_use(b->ring) < 0)
    return -EPIPE;
  doorbell_prepare(b, &sqe);
  fd = atomic_load_explicit(&b->eventfd, memory_order_acquire);
  rc = fd >= 0 ? write_eventfd(b, fd)
       : sys_register(-1, IORING_REGISTER_SEND_MSG_RING, &sqe, 1);
  handle_done(b->ring);
  if (rc < 0) doorbell_failed(b);
  return rc < 0 ? rc : 0;
}
