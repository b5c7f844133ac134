#include "compat.h"
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>


int descriptor_give_up (struct descriptor *d) {
  return atomic_exchange(&d->number, -1);  /* guard: closed once */
}

static int close_number (struct descriptor *d) {
  int n = descriptor_give_up(d);
  return n >= 0 && close(n) < 0 ? -errno : 0;
}

static void descriptor_end (struct block *b) {
  close_number((struct descriptor *)b);
  free(b);
}

static void descriptor_idle (struct block *b) {
  struct descriptor *d = (struct descriptor *)b;
  if (atomic_load(&d->closing))
    close_number(d);
}

struct descriptor *descriptor_new (int number) {
  struct descriptor *d = malloc(sizeof(*d));
  if (d == NULL)
    return NULL;
  block_init(&d->block, descriptor_end);
  d->block.idle = descriptor_idle;
  atomic_init(&d->number, number);
  atomic_init(&d->closing, false);
  d->next = NULL;
  return d;
}

struct descriptor *descriptor_dup (int number) {
  int own = fcntl(number, F_DUPFD_CLOEXEC, 0);
  struct descriptor *d = own >= 0 ? descriptor_new(own) : NULL;
  if (d == NULL && own >= 0) {
    close(own);
    errno = ENOMEM;
  }
  return d;
}

int descriptor_number (struct descriptor *d) {
  return atomic_load(&d->closing) ? -1 : atomic_load(&d->number);
}

int descriptor_close (struct descriptor *d) {
  atomic_store(&d->closing, true);
  return block_flying(&d->block) == 0 ? close_number(d) : 0;
}
