#include "compat.h"
#include "group.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>


static size_t ring_bytes (uint32_t entries) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (entries * sizeof(struct io_uring_buf) + page - 1) & ~(page - 1);
}

static size_t memory_bytes (const struct group *g) {
  return (size_t)g->entries * g->size;
}

static void group_end (struct block *b) {
  struct group *g = (struct group *)b;
  munmap(g->ring, ring_bytes(g->entries));
  munmap(g->memory, memory_bytes(g));
  free(g->slots);
  free(g);
}

/* Pages that nobody has touched cost nothing. */
static void *map (size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

static void go_home (struct group *g, uint16_t bid) {
  struct slot *s = &g->slots[bid];
  s->offset = 0;
  s->out = false;
  g->slots[g->last].behind = bid;
  g->last = bid;
  io_uring_buf_ring_add(g->ring, g->memory + (size_t)bid * g->size, g->size,
                        bid, (int)g->entries - 1, 0);
  io_uring_buf_ring_advance(g->ring, 1);
}

struct group *group_new (uint32_t entries, uint32_t size, uint16_t bgid,
                         bool inc) {
  struct group *g = calloc(1, sizeof(*g));
  if (g == NULL)
    return NULL;
  g->entries = entries;
  g->size = size;
  g->slots = calloc(entries, sizeof(*g->slots));
  g->ring = map(ring_bytes(entries));
  g->memory = map(memory_bytes(g));
  if (g->slots == NULL || g->ring == NULL || g->memory == NULL) {
    if (g->ring) munmap(g->ring, ring_bytes(entries));
    if (g->memory) munmap(g->memory, memory_bytes(g));
    free(g->slots);
    free(g);
    return NULL;
  }
  block_init(&g->block, group_end);
  g->bgid = bgid;
  g->inc = inc;
  io_uring_buf_ring_init(g->ring);
  for (uint32_t i = 0; i < entries; i++) go_home(g, (uint16_t)i);
  return g;
}

void group_describe (const struct group *g, struct io_uring_buf_reg *reg) {
  memset(reg, 0, sizeof(*reg));
  reg->ring_addr = (uint64_t)(uintptr_t)g->ring;
  reg->ring_entries = g->entries;
  reg->bgid = g->bgid;
  compat_set_buf_reg(reg, g->inc ? IOU_PBUF_RING_INC : 0, g->min_left);
}

void group_told (struct group *g, uint32_t flags, struct rooms rooms) {
  uint32_t bid = flags >> IORING_CQE_BUFFER_SHIFT;
  if ((flags & IORING_CQE_F_BUFFER) && bid < g->entries) {
    g->slots[bid].told++;
    g->slots[bid].rooms = rooms;
  }
}

/* Is it the first time that this is asked of a completion? */
static bool unasked (struct group *g, uint32_t flags) {
  uint32_t bid = flags >> IORING_CQE_BUFFER_SHIFT;
  if (!(flags & IORING_CQE_F_BUFFER) || bid >= g->entries)
    return false;
  if (g->slots[bid].told == 0)  /* guard: it may be at home by now */
    return false;
  g->slots[bid].told--;
  return true;
}

static bool take (struct group *g, uint16_t bid, uint32_t size, bool more,
                  struct piece *p) {
  struct slot *s;
  if (bid >= g->entries)
    return false;
  s = &g->slots[bid];
  if (s->out)  /* guard: exactly once */
    return false;
  if (size > g->size - s->offset) size = g->size - s->offset;
  p->data = g->memory + (size_t)bid * g->size + s->offset;
  p->size = size;
  p->bid = bid;
  p->rooms = s->rooms;
  s->offset += size;
  s->leases++;
  if (!more) {
    s->out = true;
    g->leased++;
  }
  return true;
}

bool group_take (struct group *g, int32_t res, uint32_t flags,
                 struct piece *p) {
  return unasked(g, flags)
         && take(g, (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT),
                 res > 0 ? (uint32_t)res : 0,
                 g->inc && (flags & IORING_CQE_F_BUF_MORE), p);
}

unsigned group_take_bundle (struct group *g, int32_t res, uint32_t flags,
                            struct piece *p, unsigned max) {
  uint32_t left = res > 0 ? (uint32_t)res : 0;
  uint16_t bid = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
  unsigned n = 0;
  if (!unasked(g, flags))
    return 0;
  while (n < max && bid < g->entries) {
    uint32_t room = g->size - g->slots[bid].offset;
    uint32_t size = left < room ? left : room;
    bool more = g->inc && left <= room && (flags & IORING_CQE_F_BUF_MORE);
    if (!take(g, bid, size, more, &p[n]))
      break;
    n++;
    left -= size;
    if (left == 0)
      break;
    bid = g->slots[bid].behind;
  }
  return n;
}

void group_share (struct group *g, uint16_t bid) {
  g->slots[bid].leases++;
}

void group_give (struct group *g, uint16_t bid) {
  struct slot *s = &g->slots[bid];
  if (--s->leases > 0 || !s->out)  /* guard: not while a part is out */
    return;
  g->leased--;
  if (g->closed)
    return;
  go_home(g, bid);
  if (g->gave) g->gave(g);
}

static void lease_end (struct block *b) {
  struct lease *l = (struct lease *)b;
  recvmsg_close(l->piece.data, l->piece.size, l->piece.rooms);
  group_give(l->group, l->piece.bid);
  block_release(&l->group->block);
  free(l);
}

struct lease *lease_new (struct group *g, const struct piece *p) {
  struct lease *l = malloc(sizeof(*l));
  if (l == NULL)
    return NULL;
  block_init(&l->block, lease_end);
  block_retain(&g->block);
  l->group = g;
  l->piece = *p;
  return l;
}

void group_dispose (struct group *g, int32_t res, uint32_t flags) {
  struct piece p[256];  /* the most that one completion can fill */
  unsigned n = group_take_bundle(g, res, flags, p, 256);
  while (n-- > 0) {
    recvmsg_close(p[n].data, p[n].size, p[n].rooms);  /* guard: or they leak */
    group_give(g, p[n].bid);
  }
}
