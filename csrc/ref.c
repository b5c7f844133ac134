#include "compat.h"
#include "ref.h"

#include "proc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_uint closings;


static void ref_end (struct block *b) {
  struct ref *ref = (struct ref *)b;
  /* guard: in a forked child the number may be another file's by now */
  if (ref->proc == proc_id()) close(ref->fd);
  free(ref);
}

struct ref *ref_new (int fd) {
  struct ref *ref = malloc(sizeof(*ref));
  if (ref == NULL)
    return NULL;
  block_init(&ref->block, ref_end);
  atomic_init(&ref->closed, false);
  ref->proc = proc_id();
  ref->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (ref->fd < 0) {
    free(ref);
    return NULL;
  }
  return ref;
}

void ref_close (struct ref *ref) {
  atomic_store_explicit(&ref->closed, true, memory_order_release);
  atomic_fetch_add(&closings, 1);
}

unsigned ref_closings (void) {
  return atomic_load(&closings);
}
