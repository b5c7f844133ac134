#include "compat.h"
#include "ring/ring_buffers.h"
#include "ring/ring_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Memory that is the kernel's until the close, and the operation that has
** given it. */
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

static bool has_page (struct ring *r, unsigned bgid) {
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
  if (!has_page(r, g->bgid))
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

static void forget (struct ring *r, struct buf_group *g) {
  r->groups[g->bgid / PAGE][g->bgid % PAGE] = NULL;
  g->closed = true;
  if (g->wanting) {
    struct buf_group **at = &r->wanting;
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
  forget(r, g);
  refblock_release(&g->block);
  return 0;
}

/* (So the list is as short as what came since it was worked off.) */
void ring_buffers_noted (struct ring *r, struct buf_group *g) {
  if (!g->wanting) {
    g->wanting = true;
    g->next = r->wanting;
    r->wanting = g;
  }
}

bool ring_reserve_notes (struct ring *r) {
  while (r->wanting) {
    struct buf_group *g = r->wanting;
    if (!buf_group_reserve(g, RING_BATCH))
      return false;
    r->wanting = g->next;
    g->wanting = false;
  }
  return true;
}


/* ---- what requests have provided --------------------------------------- */

int ring_reserve_kept (struct ring *r, unsigned n) {
  unsigned room = r->reserve_kept_place ? r->reserve_kept_place : 16;
  struct kept *kept;
  if (r->reserve_kept_place - r->nkept >= n)
    return 0;
  while (room - r->nkept < n) room *= 2;
  kept = realloc(r->kept, room * sizeof(*kept));
  if (kept == NULL)
    return -ENOMEM;
  r->kept = kept;
  r->reserve_kept_place = room;
  return 0;
}

void ring_keep (struct ring *r, const struct op *op) {
  r->kept[r->nkept++] = (struct kept){ op->pin[OP_PIN_MEMORY], op->token };
  refblock_pin(op->pin[OP_PIN_MEMORY]);
}

/* (It was the last but for some: those that stay have succeeded.) */
void ring_unkeep (struct ring *r, uint64_t token) {
  for (unsigned i = r->nkept; i-- > 0; ) {
    if (r->kept[i].token == token) {
      refblock_unpin(r->kept[i].block);
      r->kept[i] = r->kept[--r->nkept];
      return;
    }
  }
}

void ring_let_go_of_provided (struct ring *r, bool bury) {
  for (unsigned i = 0; r->groups && i < PAGES; i++) {
    for (unsigned j = 0; r->groups[i] && j < PAGE; j++) {
      struct buf_group *g = r->groups[i][j];
      if (g) {
        forget(r, g);
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
  r->reserve_kept_place = 0;
}
