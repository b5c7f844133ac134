#include "compat.h"
#include "ring_private.h"
#include "ring_provided.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Memory that is the kernel's until the close, and the operation that has
** given it. */
struct kept {
  struct block *block;
  uint64_t token;
};


/* ---- groups ------------------------------------------------------------ */

struct group *ring_group (const struct ring *r, unsigned bgid) {
  struct group *g = r->groups;
  while (g && g->bgid != bgid) g = g->next;
  return g;
}

int ring_add_group (struct ring *r, struct group *g) {
  struct io_uring_buf_reg reg;
  int rc;
  group_describe(g, &reg);
  rc = sys_register(r->io.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
  if (rc < 0)
    return rc;
  block_retain(&g->block);
  g->next = r->groups;
  r->groups = g;
  return 0;
}

int ring_remove_group (struct ring *r, struct group *g) {
  struct io_uring_buf_reg reg;
  struct group **at = &r->groups;
  int rc;
  memset(&reg, 0, sizeof(reg));
  reg.bgid = g->bgid;
  rc = sys_register(r->io.ring_fd, IORING_UNREGISTER_PBUF_RING, &reg, 1);
  if (rc < 0)
    return rc;
  while (*at != g) at = &(*at)->next;
  *at = g->next;
  g->closed = true;
  block_release(&g->block);
  return 0;
}


/* ---- what requests have provided --------------------------------------- */

int ring_reserve_kept (struct ring *r, unsigned n) {
  struct kept *kept = realloc(r->kept, (r->nkept + n) * sizeof(*kept));
  if (kept == NULL)
    return -ENOMEM;
  r->kept = kept;
  return 0;
}

void ring_keep (struct ring *r, const struct op *op) {
  r->kept[r->nkept++] = (struct kept){ op->pin[OP_PIN_MEMORY], op->token };
  block_pin(op->pin[OP_PIN_MEMORY]);
}

void ring_unkeep (struct ring *r, uint64_t token) {
  for (unsigned i = 0; i < r->nkept; i++) {
    if (r->kept[i].token == token) {
      block_unpin(r->kept[i].block);
      r->kept[i] = r->kept[--r->nkept];
      return;
    }
  }
}

void ring_let_go_of_provided (struct ring *r, bool bury) {
  while (r->groups) {
    struct group *g = r->groups;
    r->groups = g->next;
    g->closed = true;
    if (bury) block_bury(&g->block);
    else block_release(&g->block);
  }
  while (r->nkept > 0) {
    struct block *b = r->kept[--r->nkept].block;
    if (bury) block_bury(b);
    else block_unpin(b);
  }
  free(r->kept);
  r->kept = NULL;
}
