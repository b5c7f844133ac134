/*
** ring_buffers: the table of a ring's buffer groups, its registered buffers,
** and the memory given to the kernel by PROVIDE_BUFFERS. A group leaves the
** table only after the kernel has unregistered it.
*/

#include "compat.h"
#include "ring/ring_buffers.h"
#include "ring/ring_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Memory that is the kernel's until the close, and the token of the operation
** that has provided it. */
struct kept {
  struct refblock *block;
  uint64_t token;
};


/* ---- groups ------------------------------------------------------------ */

#define PAGES 256u
#define PAGE  256u

struct buf_group *ring_group (const struct ring *r, unsigned bgid) {
  struct buf_group **page = r->groups && bgid < PAGES * PAGE
                        ? r->groups[bgid / PAGE] : NULL;
  return page ? page[bgid % PAGE] : NULL;
}

static bool make_page (struct ring *r, unsigned bgid) {
  struct buf_group ***page;
  if (r->groups == NULL)
    r->groups = calloc(PAGES, sizeof(*r->groups));
  if (r->groups == NULL)
    return false;
  page = &r->groups[bgid / PAGE];
  if (*page == NULL) *page = calloc(PAGE, sizeof(**page));
  return *page != NULL;
}

int ring_add_group (struct ring *r, struct buf_group *g) {
  struct io_uring_buf_reg reg;
  int rc;
  if (!make_page(r, g->bgid))
    return -ENOMEM;
  buf_group_describe(g, &reg);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
  if (rc < 0)
    return rc;
  refblock_retain(&g->block);
  r->groups[g->bgid / PAGE][g->bgid % PAGE] = g;
  ring_buffers_noted(r, g);
  return 0;
}

static void remove_group (struct ring *r, struct buf_group *g) {
  r->groups[g->bgid / PAGE][g->bgid % PAGE] = NULL;
  g->closed = true;
  if (g->listed) {
    struct buf_group **at = &r->short_of_notes;
    while (*at != g) at = &(*at)->next;
    *at = g->next;
  }
}

int ring_remove_group (struct ring *r, struct buf_group *g) {
  struct io_uring_buf_reg reg;
  int rc;
  memset(&reg, 0, sizeof(reg));
  reg.bgid = g->bgid;
  rc = sys_register(r->io.ring_fd, IORING_UNREGISTER_PBUF_RING, &reg, 1);
  if (rc < 0)
    return rc;
  remove_group(r, g);
  refblock_release(&g->block);
  return 0;
}

void ring_buffers_noted (struct ring *r, struct buf_group *g) {
  if (!g->listed) {
    g->listed = true;
    g->next = r->short_of_notes;
    r->short_of_notes = g;
  }
}

bool ring_reserve_notes (struct ring *r) {
  while (r->short_of_notes) {
    struct buf_group *g = r->short_of_notes;
    if (!buf_group_reserve(g, RING_BATCH))
      return false;
    r->short_of_notes = g->next;
    g->listed = false;
  }
  return true;
}


/* ---- registered buffers ------------------------------------------------ */

/* Make place for `n` blocks. (The table does not shrink.) */
static bool reserve_registered (struct ring *r, unsigned n) {
  struct refblock **all;
  if (n <= r->nregistered)
    return true;
  all = realloc(r->registered, n * sizeof(*all));
  if (all == NULL)
    return false;
  memset(all + r->nregistered, 0, (n - r->nregistered) * sizeof(*all));
  r->registered = all;
  r->nregistered = n;
  return true;
}

static void put_registered (struct ring *r, unsigned at, struct refblock *b) {
  struct refblock *old = r->registered[at];
  r->registered[at] = b;
  if (b) refblock_retain(b);
  if (old) refblock_release(old);
}

static void drop_registered (struct ring *r) {
  for (unsigned i = 0; i < r->nregistered; i++) put_registered(r, i, NULL);
  free(r->registered);
  r->registered = NULL;
  r->nregistered = 0;
}

int ring_register_buffers (struct ring *r, const struct registered *b) {
  struct io_uring_rsrc_register reg;
  int rc;
  if (!reserve_registered(r, b->n))
    return -ENOMEM;
  memset(&reg, 0, sizeof(reg));
  reg.nr = b->n;
  if (b->blocks == NULL) reg.flags = IORING_RSRC_REGISTER_SPARSE;
  reg.data = (uint64_t)(uintptr_t)b->iov;
  reg.tags = (uint64_t)(uintptr_t)b->tags;
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_BUFFERS2, &reg,
                    sizeof(reg));
  if (rc < 0)
    return rc;
  for (unsigned i = 0; b->blocks && i < b->n; i++)
    put_registered(r, i, b->blocks[i]);
  return 0;
}

int ring_update_buffers (struct ring *r, unsigned offset,
                         const struct registered *b) {
  struct io_uring_rsrc_update2 up;
  int rc;
  memset(&up, 0, sizeof(up));
  up.offset = offset;
  up.nr = b->n;
  up.data = (uint64_t)(uintptr_t)b->iov;
  up.tags = (uint64_t)(uintptr_t)b->tags;
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_BUFFERS_UPDATE, &up,
                    sizeof(up));
  for (int i = 0; i < rc; i++)  /* (so many are in the table, and so here) */
    put_registered(r, offset + (unsigned)i, b->blocks[i]);
  return rc;
}

int ring_clone_buffers (struct ring *r, const struct ring *from,
                        unsigned dst_off, unsigned src_off, unsigned nr,
                        unsigned flags) {
  struct compat_clone_buffers c = {0};
  unsigned n = nr;
  int rc;
  if (n == 0 && src_off < from->nregistered) n = from->nregistered - src_off;
  if (n > COMPAT_MAX_BUFFERS || dst_off > COMPAT_MAX_BUFFERS)
    return -EINVAL;
  if (!reserve_registered(r, dst_off + n))
    return -ENOMEM;
  c.src_fd = (uint32_t)from->io.ring_fd;
  c.flags = flags;
  c.src_off = src_off;
  c.dst_off = dst_off;
  c.nr = nr;
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_CLONE_BUFFERS, &c, 1);
  if (rc < 0)
    return rc;
  for (unsigned i = 0; i < n && src_off + i < from->nregistered; i++)
    put_registered(r, dst_off + i, from->registered[src_off + i]);
  return 0;
}

int ring_unregister (const struct ring *r, unsigned opcode) {
  sigset_t all, before;
  int rc;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  do rc = sys_register(r->io.ring_fd, opcode, NULL, 0);
  while (rc == -EINTR);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

int ring_unregister_buffers (struct ring *r) {
  int rc = ring_unregister(r, IORING_UNREGISTER_BUFFERS);
  if (rc >= 0) drop_registered(r);
  return rc;
}

bool ring_has_registered (const struct ring *r, const struct refblock *b) {
  for (unsigned i = 0; i < r->nregistered; i++)
    if (r->registered[i] == b)
      return true;
  return false;
}


/* ---- memory from PROVIDE_BUFFERS --------------------------------------- */

int ring_reserve_kept (struct ring *r, unsigned n) {
  unsigned capacity = r->kept_capacity ? r->kept_capacity : 16;
  struct kept *kept;
  if (r->kept_capacity - r->nkept >= n)
    return 0;
  while (capacity - r->nkept < n) capacity *= 2;
  kept = realloc(r->kept, capacity * sizeof(*kept));
  if (kept == NULL)
    return -ENOMEM;
  r->kept = kept;
  r->kept_capacity = capacity;
  return 0;
}

void ring_keep (struct ring *r, const struct op *op) {
  r->kept[r->nkept++] = (struct kept){ op->pin[OP_PIN_MEMORY], op->token };
  refblock_pin(op->pin[OP_PIN_MEMORY]);
}

/* (Searched from the end: it was added lately, and those after it stay only if
** their requests succeeded.) */
void ring_unkeep (struct ring *r, uint64_t token) {
  for (unsigned i = r->nkept; i-- > 0; ) {
    if (r->kept[i].token == token) {
      refblock_unpin(r->kept[i].block);
      r->kept[i] = r->kept[--r->nkept];
      return;
    }
  }
}

void ring_release_buffers (struct ring *r, bool bury) {
  drop_registered(r);  /* (the kernel holds the pages, not the addresses) */
  for (unsigned i = 0; r->groups && i < PAGES; i++) {
    for (unsigned j = 0; r->groups[i] && j < PAGE; j++) {
      struct buf_group *g = r->groups[i][j];
      if (g) {
        remove_group(r, g);
        if (bury) refblock_bury(&g->block);
        else refblock_release(&g->block);
      }
    }
    free(r->groups[i]);
  }
  free(r->groups);
  r->groups = NULL;
  while (r->nkept > 0) {
    struct refblock *b = r->kept[--r->nkept].block;
    if (bury) refblock_bury(b);
    else refblock_unpin(b);
  }
  free(r->kept);
  r->kept = NULL;
  r->kept_capacity = 0;
}
