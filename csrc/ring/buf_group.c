/*
** buf_group: notes of completions, and recycling. A buffer goes back to the
** kernel in buf_group_give alone, once its last part is given back and no note
** of it is left.
*/

#include "compat.h"
#include "ring/buf_group.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>


static size_t ring_bytes (uint32_t entries) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (entries * sizeof(struct io_uring_buf) + page - 1) & ~(page - 1);
}

static size_t group_charge (uint32_t entries, uint32_t size) {
  return sizeof(struct buf_group) + ring_bytes(entries)
         + entries * (sizeof(struct slot) + size);
}

static void put_spare (struct buf_group *g, struct note *note) {
  note->next = g->spare;
  g->spare = note;
  g->nspare++;
}

static void free_notes (struct note *note) {
  while (note) {
    struct note *next = note->next;
    free(note);
    note = next;
  }
}

static void buf_group_end (struct refblock *b) {
  struct buf_group *g = (struct buf_group *)b;
  for (uint32_t i = 0; i < g->entries; i++) free_notes(g->slots[i].notes);
  free_notes(g->spare);
  munmap(g->ring, ring_bytes(g->entries));
  munmap(g->memory, buf_group_bytes(g));
  free(g->slots);
  account_refund(g->account, group_charge(g->entries, g->size));
  free(g);
}

/* (Pages cost no memory before they are touched.) */
static void *map_pages (size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? NULL : p;
}

static void recycle_buffer (struct buf_group *g, uint16_t bid) {
  struct slot *s = &g->slots[bid];
  s->offset = 0;
  s->kernel_done = false;
  g->slots[g->last].behind = bid;
  g->last = bid;
  io_uring_buf_ring_add(g->ring, g->memory + (size_t)bid * g->size, g->size,
                        bid, (int)g->entries - 1, 0);
  io_uring_buf_ring_advance(g->ring, 1);
}

struct buf_group *buf_group_new (struct account *a, uint32_t entries,
                                 uint32_t size, uint16_t bgid, bool inc) {
  size_t total = group_charge(entries, size);
  struct buf_group *g;
  if (!account_charge(a, total))
    return NULL;
  g = calloc(1, sizeof(*g));
  if (g == NULL) {
    account_refund(a, total);
    return NULL;
  }
  g->entries = entries;
  g->size = size;
  g->slots = calloc(entries, sizeof(*g->slots));
  g->ring = map_pages(ring_bytes(entries));
  g->memory = map_pages(buf_group_bytes(g));
  if (g->slots == NULL || g->ring == NULL || g->memory == NULL) {
    if (g->ring) munmap(g->ring, ring_bytes(entries));
    if (g->memory) munmap(g->memory, buf_group_bytes(g));
    free(g->slots);
    free(g);
    account_refund(a, total);
    return NULL;
  }
  refblock_init(&g->block, buf_group_end);
  g->account = a;
  g->bgid = bgid;
  g->inc = inc;
  io_uring_buf_ring_init(g->ring);
  for (uint32_t i = 0; i < entries; i++) {
    g->slots[i].notes_end = &g->slots[i].notes;
    recycle_buffer(g, (uint16_t)i);
  }
  return g;
}

void buf_group_describe (const struct buf_group *g,
                         struct io_uring_buf_reg *reg) {
  memset(reg, 0, sizeof(*reg));
  reg->ring_addr = (uint64_t)(uintptr_t)g->ring;
  reg->ring_entries = g->entries;
  reg->bgid = g->bgid;
  compat_set_buf_reg(reg, g->inc ? IOU_PBUF_RING_INC : 0, g->min_left);
}

bool buf_group_reserve (struct buf_group *g, unsigned n) {
  while (g->nspare < n) {
    struct note *note = malloc(sizeof(*note));
    if (note == NULL)
      return false;
    put_spare(g, note);
  }
  return true;
}

static uint32_t bytes_of (int32_t res) {
  return res > 0 ? (uint32_t)res : 0;
}

/* The buffer that a completion names, or NULL. */
static struct slot *slot_named (const struct buf_group *g, uint32_t flags) {
  uint32_t bid = flags >> IORING_CQE_BUFFER_SHIFT;
  return (flags & IORING_CQE_F_BUFFER) && bid < g->entries ? &g->slots[bid]
                                                           : NULL;
}

/* The kernel has filled the buffers from this one on with `left` bytes. */
static void mark_filled (struct buf_group *g, struct slot *s, uint32_t left) {
  for (uint32_t n = 0; n < g->entries && !s->kernel_done; n++) {
    uint32_t space = g->size - s->offset;
    uint32_t size = left < space ? left : space;
    s->untaken++;
    if (g->inc) s->offset += size;
    left -= size;
    if (left == 0)
      break;
    s = &g->slots[s->behind];
  }
}

void buf_group_note (struct buf_group *g, int32_t res, uint32_t flags,
                     struct recvmsg_layout layout, bool bundle) {
  struct slot *s = slot_named(g, flags);
  struct note *note = g->spare;
  uint32_t space, size = bytes_of(res);
  if (s == NULL || s->kernel_done || note == NULL)  /* guard: it is in use */
    return;
  g->spare = note->next;
  g->nspare--;
  *note = (struct note){ NULL, res, flags, s->offset, layout, bundle };
  *s->notes_end = note;
  s->notes_end = &note->next;
  space = g->size - s->offset;
  mark_filled(g, s, bundle || size < space ? size : space);
}

/* The link to the note of a completion; NULL if it has none. */
static struct note **find_note (const struct buf_group *g, int32_t res,
                                uint32_t flags) {
  struct slot *s = slot_named(g, flags);
  struct note **at = s ? &s->notes : NULL;
  while (at && *at && ((*at)->res != res || (*at)->flags != flags))
    at = &(*at)->next;
  return at && *at ? at : NULL;
}

static bool spans_buffers (const struct buf_group *g,
                           const struct note *note) {
  return note->bundle && bytes_of(note->res) > g->size - note->offset;
}

bool buf_group_is_bundle (const struct buf_group *g, int32_t res,
                          uint32_t flags) {
  struct note **at = find_note(g, res, flags);
  return at && spans_buffers(g, *at);
}

/* Take one part of a completion: `size` bytes at `offset` of a buffer. With
** `more` the kernel goes on filling that buffer. */
static bool take_part (struct buf_group *g, const struct note *note,
                       uint16_t bid, uint32_t offset, uint32_t size,
                       bool more, struct piece *p) {
  struct slot *s = &g->slots[bid];
  if (s->untaken == 0)  /* guard: exactly once */
    return false;
  s->untaken--;
  p->data = g->memory + (size_t)bid * g->size + offset;
  p->size = size;
  p->bid = bid;
  p->layout = note->layout;
  s->leases++;
  if (!more && !s->kernel_done) {
    s->kernel_done = true;
    g->leased++;
  }
  return true;
}

/* Take the parts of the note at `at`. The note leaves the list first, so that
** it is found only once. */
static unsigned take_parts (struct buf_group *g, struct note **at,
                            struct piece *p, unsigned max) {
  struct note *note = *at;
  uint16_t bid = (uint16_t)(note->flags >> IORING_CQE_BUFFER_SHIFT);
  uint32_t offset = note->offset, left = bytes_of(note->res);
  unsigned n = 0;
  *at = note->next;
  if (note->next == NULL) g->slots[bid].notes_end = at;
  if (!spans_buffers(g, note) && left > g->size - offset)
    left = g->size - offset;
  while (n < max) {
    uint32_t space = g->size - offset;
    uint32_t size = left < space ? left : space;
    bool more = g->inc && left <= space
                && (note->flags & IORING_CQE_F_BUF_MORE);
    if (!take_part(g, note, bid, offset, size, more, &p[n]))
      break;
    n++;
    left -= size;
    if (left == 0)
      break;
    bid = g->slots[bid].behind;
    offset = 0;
  }
  put_spare(g, note);
  return n;
}

bool buf_group_take (struct buf_group *g, int32_t res, uint32_t flags,
                     struct piece *p) {
  struct note **at = find_note(g, res, flags);
  return at && !spans_buffers(g, *at) && take_parts(g, at, p, 1) == 1;
}

unsigned buf_group_take_bundle (struct buf_group *g, int32_t res,
                                uint32_t flags, struct piece *p,
                                unsigned max) {
  struct note **at = find_note(g, res, flags);
  return at ? take_parts(g, at, p, max) : 0;
}

void buf_group_share (struct buf_group *g, uint16_t bid) {
  g->slots[bid].leases++;
}

void buf_group_give (struct buf_group *g, uint16_t bid) {
  struct slot *s = &g->slots[bid];
  /* guard: not while a part is leased, or can still be taken */
  if (--s->leases > 0 || s->untaken > 0 || !s->kernel_done)
    return;
  g->leased--;
  if (g->closed)
    return;
  recycle_buffer(g, bid);
  if (g->recycled) g->recycled(g);
}

static void lease_end (struct refblock *b) {
  struct lease *l = (struct lease *)b;
  recvmsg_close(l->piece.data, l->piece.size, l->piece.layout);
  buf_group_give(l->group, l->piece.bid);
  refblock_release(&l->group->block);
  free(l);
}

static void foreign_lease_end (struct refblock *b) {
  struct lease *l = (struct lease *)b;
  if (l->release) l->release(l->ud, l->piece.data, l->piece.size);
  free(l);
}

struct lease *lease_alloc (void) {
  return malloc(sizeof(struct lease));
}

void lease_fill (struct lease *l, struct buf_group *g, const struct piece *p) {
  refblock_init(&l->block, lease_end);
  refblock_retain(&g->block);
  l->group = g;
  l->piece = *p;
}

void lease_fill_empty (struct lease *l) {
  memset(l, 0, sizeof(*l));
  refblock_init(&l->block, foreign_lease_end);
}

void lease_set_foreign (struct lease *l, const void *p, uint32_t len,
                        void (*release)(void *ud, const void *p, size_t len),
                        void *ud) {
  l->piece.data = (unsigned char *)(uintptr_t)p;  /* (only read) */
  l->piece.size = len;
  l->release = release;
  l->ud = ud;
}

struct lease *lease_new (struct buf_group *g, const struct piece *p) {
  struct lease *l = lease_alloc();
  if (l) lease_fill(l, g, p);
  return l;
}

void buf_group_dispose (struct buf_group *g, int32_t res, uint32_t flags) {
  struct piece p[256];  /* the most that one completion can fill */
  unsigned n = buf_group_take_bundle(g, res, flags, p, 256);
  while (n-- > 0) {
    /* guard: or descriptors and buffers leak */
    recvmsg_close(p[n].data, p[n].size, p[n].layout);
    buf_group_give(g, p[n].bid);
  }
}
