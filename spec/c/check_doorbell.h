/* A ring and its doorbell, for tests of what rings it. */

#ifndef check_doorbell_h
#define check_doorbell_h

#include "check_ring.h"
#include "ring/doorbell.h"

#include <stdlib.h>

static struct io_uring ring;
static struct handles all;
static struct handle *handle;
static struct doorbell *doorbell;

static void open_doorbell (unsigned flags,
                           struct doorbell *(*make)(struct handle *)) {
  struct io_uring_params p = {0};
  p.flags = flags;
  if (!CHECK(sys_setup(8, &ring, &p) == 0)) exit(1);
  handle = handle_new();
  if (!CHECK(handle != NULL)) exit(1);
  handle_own(&all, handle, ring.ring_fd);
  doorbell = make(handle);
  if (!CHECK(doorbell != NULL)) exit(1);
}

static void close_all (void) {
  refblock_release(&doorbell->block);
  sys_exit(&ring);
  handle_close(handle);
  refblock_release(&handle->block);
}

#endif
