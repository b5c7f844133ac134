/*
** handle: the table of a state's handles, and closing. Each place that takes
** the number out of a handle does so by an atomic exchange with -1, so that of
** an explicit close, a collection and the end of the last request only one
** closes it.
*/

#include "compat.h"
#include "base/handle.h"

#include "base/fork_id.h"
#include "base/nocancel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_uint marked_count;


/* ---- the handles of a state -------------------------------------------- */

static struct handle **bucket_of (const struct handles *all, int number) {
  return all->at ? &all->at[(uint32_t)number & (all->size - 1)]
                 : (struct handle **)(uintptr_t)&all->first;
}

static void add_to_bucket (struct handles *all, struct handle *h) {
  struct handle **b = bucket_of(all, atomic_load(&h->number));
  h->next = *b;
  *b = h;
}

/* (If there is no memory the buckets only stay longer.) */
static void grow_buckets (struct handles *all) {
  struct handles more = { NULL, NULL, all->at ? all->size * 2 : 16,
                          all->count };
  more.at = calloc(more.size, sizeof(struct handle *));
  if (more.at == NULL)
    return;
  for (uint32_t i = 0; i < (all->at ? all->size : 1); i++) {
    struct handle *h = all->at ? all->at[i] : all->first, *next;
    for (; h; h = next) {
      next = h->next;
      add_to_bucket(&more, h);
    }
  }
  free(all->at);
  *all = more;
}

static void handle_add (struct handles *all, struct handle *h) {
  if (all->count >= (all->at ? all->size : 4)) grow_buckets(all);
  add_to_bucket(all, h);
  h->owner = all;
  all->count++;
}

static void remove_from_table (struct handle *h) {
  struct handles *all = h->owner;
  struct handle **b;
  if (all == NULL)
    return;
  b = bucket_of(all, atomic_load(&h->number));
  while (*b != h) b = &(*b)->next;
  *b = h->next;
  h->next = NULL;
  h->owner = NULL;
  if (--all->count == 0) {
    free(all->at);
    *all = (struct handles){0};
  }
}

struct handle *handle_find (const struct handles *all, int number) {
  struct handle *h = *bucket_of(all, number);
  while (h && atomic_load(&h->number) != number) h = h->next;
  return h;
}

bool handle_owns (const struct handles *all, int number) {
  const struct handle *h = handle_find(all, number);
  return h && !(handle_lent(h) && h->loan && atomic_load(h->loan));
}

void handle_number_reused (struct handles *all, int number) {
  struct handle *h = handle_find(all, number);
  if (h) handle_release(h);  /* guard: its close would be another's */
}

void handles_end (struct handles *all) {
  for (uint32_t i = 0; i < (all->at ? all->size : 1); i++) {
    struct handle *h = all->at ? all->at[i] : all->first, *next;
    for (; h; h = next) {
      next = h->next;
      h->next = NULL;
      h->owner = NULL;  /* guard: the table's memory ends with the state */
    }
  }
  free(all->at);
  *all = (struct handles){0};
}


/* ---- close and release ------------------------------------------------- */

int handle_release (struct handle *h) {
  remove_from_table(h);
  handle_mark_closed(h);  /* guard: SQEs that could not be submitted */
  return atomic_exchange(&h->number, -1);  /* guard: closed once */
}

void handle_send (struct handle *h) {
  handle_release(h);  /* guard: its number is the reader's */
  h->loan = NULL;
  h->sent = true;
}

static void close_number (struct handle *h) {
  int n = atomic_exchange(&h->number, -1);  /* guard: closed once */
  if (n >= 0) nocancel_close(n);
}

/* The file of its number, by which it is known in a forked child, too. */
static bool file_of (const struct handle *h, uint64_t *device,
                     uint64_t *inode) {
  struct stat st;
  if (fstat(atomic_load(&h->number), &st) != 0)
    return false;
  *device = st.st_dev;
  *inode = st.st_ino;
  return true;
}

static void close_same_file (struct handle *h) {
  uint64_t device, inode;
  /* guard: a host that becomes a daemon closes all and opens others */
  if (file_of(h, &device, &inode) && device == h->device
      && inode == h->inode) {
    remove_from_table(h);  /* guard: which finds it by its number */
    close_number(h);
  }
}

static void handle_end (struct refblock *b) {
  struct handle *h = (struct handle *)b;
  remove_from_table(h);
  if (h->ring && h->fork_id != fork_id()) close_same_file(h);
  else close_number(h);
  free(h);
}

void handle_close_inherited (struct handle *h, uint32_t owners) {
  if (refblock_owners(&h->block) == owners) close_same_file(h);
}

/* No request in flight needs the number any more. */
static void handle_idle (struct refblock *b) {
  struct handle *h = (struct handle *)b;
  if (atomic_load(&h->close_when_idle)) close_number(h);
}

struct handle *handle_new (void) {
  struct handle *h = calloc(1, sizeof(*h));
  if (h == NULL)
    return NULL;
  refblock_init(&h->block, handle_end);
  h->block.idle = handle_idle;
  atomic_init(&h->number, -1);
  atomic_init(&h->closed, false);
  h->fork_id = fork_id();
  return h;
}

void handle_own (struct handles *all, struct handle *h, int number) {
  handle_number_reused(all, number);
  atomic_store(&h->number, number);
  if (h->ring) file_of(h, &h->device, &h->inode);
  handle_add(all, h);
}

struct handle *handle_dup (int number) {
  int own = fcntl(number, F_DUPFD_CLOEXEC, 0);
  struct handle *h = own >= 0 ? handle_new() : NULL;
  if (h)
    atomic_store(&h->number, own);
  else if (own >= 0) {
    close(own);
    errno = ENOMEM;
  }
  return h;
}

int handle_use (struct handle *h) {
  int n;
  refblock_fly(&h->block);  /* guard: first, or it may be closed in between */
  n = handle_number(h);
  if (n < 0) refblock_land(&h->block);
  return n;
}

void handle_mark_closed (struct handle *h) {
  atomic_store(&h->closed, true);
  atomic_fetch_add(&marked_count, 1);
}

unsigned handle_marked_count (void) {
  return atomic_load(&marked_count);
}

/* Close the file but keep the number: it becomes an O_PATH descriptor, which
** requests refuse with EBADF, or with ENOTDIR as a directory. (If no further
** descriptor can be opened the file stays open until no request is in
** flight.) */
static void reserve_number (int number) {
  int none = open("/dev/null", O_PATH | O_CLOEXEC);
  if (none >= 0) {
    dup3(none, number, O_CLOEXEC);
    close(none);
  }
}

int handle_detach (struct handle *h) {
  int n = -1;
  remove_from_table(h);
  atomic_store(&h->closed, true);
  refblock_fly(&h->block);  /* guard: a use that ends now must not close it */
  atomic_store(&h->close_when_idle, true);
  if (refblock_flying(&h->block) > 1 && h->fork_id == fork_id())
    /* guard: or the number becomes another file's */
    reserve_number(atomic_load(&h->number));
  else
    n = atomic_exchange(&h->number, -1);  /* guard: closed once */
  refblock_land(&h->block);
  return n;
}

int handle_close (struct handle *h) {
  int n = handle_detach(h);
  return n >= 0 && close(n) < 0 ? -errno : 0;
}
