/* The doorbell of a loop that is polled, for tests of what rings it. */

#ifndef check_polled_h
#define check_polled_h

#include "check.h"
#include "ring/doorbell.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A loop's end: rung by an eventfd, whatever the kernel has. */
static inline struct doorbell *new_doorbell (void) {
  struct handle *h = handle_dup(STDOUT_FILENO);
  struct doorbell *b;
  if (!CHECK(h != NULL)) exit(1);
  b = doorbell_new(h);
  if (!CHECK(b != NULL)) exit(1);
  refblock_release(&h->block);
  if (b->eventfd < 0) b->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return b;
}

/* Sleep as a loop does: arm, look once more, sleep, serve what is ready.
 * False: it was not woken for too long. */
static inline bool sleep_on (struct doorbell *b) {
  struct pollfd p = { .fd = b->eventfd, .events = POLLIN };
  uint64_t n;
  bool woken = true;
  doorbell_arm(b);
  if (!doorbell_has_ready(b)) woken = poll(&p, 1, 20000) > 0;
  doorbell_disarm(b);
  if (read(b->eventfd, &n, sizeof(n)) < 0) {}
  /* (a loop that is not NULL, and never used) */
  doorbell_serve(b, (struct loop *)b, DOORBELL_ALL);
  return woken;
}

#endif
