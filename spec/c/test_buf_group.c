/* buf_group: each buffer is taken once and recycled once, as a model of the
** kernel's side sees it. */

#include "check.h"
#include "ring/buf_group.h"

#include <string.h>

#define SIZE 16u

/* A completion's flags as the kernel would set them. */
static uint32_t cqe_flags (unsigned bid) {
  return IORING_CQE_F_BUFFER | bid << IORING_CQE_BUFFER_SHIFT;
}

#define MORE IORING_CQE_F_BUF_MORE

/* The kernel's side of a group. */
struct kernel {
  struct buf_group *g;
  uint16_t head;
};

static uint16_t count_free (const struct kernel *k) {
  return (uint16_t)(k->g->ring->tail - k->head);
}

static struct io_uring_buf *first (const struct kernel *k) {
  return &k->g->ring->bufs[k->head & (k->g->entries - 1)];
}

/* The kernel picks the next buffer. */
static unsigned pick (struct kernel *k) {
  unsigned bid = first(k)->bid;
  CHECK(count_free(k) > 0);
  CHECK(first(k)->len == k->g->size);
  CHECK(first(k)->addr == (uint64_t)(uintptr_t)k->g->memory
                          + (uint64_t)bid * k->g->size);
  k->head++;
  return bid;
}

static struct kernel kernel_of (uint32_t entries, bool inc) {
  struct kernel k = {0};
  k.g = buf_group_new(NULL, entries, SIZE, 7, inc);
  CHECK(k.g != NULL);
  return k;
}

/* A completion that names this buffer is reaped; returns its flags. */
static uint32_t note (const struct kernel *k, unsigned bid, int32_t res,
                      uint32_t more, bool bundle) {
  uint32_t flags = cqe_flags(bid) | more;
  CHECK(buf_group_reserve(k->g, 1));
  buf_group_note(k->g, res, flags, (struct recvmsg_layout){ 0, 0 }, bundle);
  return flags;
}

static uint32_t cqe (const struct kernel *k, unsigned bid, int32_t res,
                     uint32_t more) {
  return note(k, bid, res, more, false);
}

static uint32_t bundle_cqe (const struct kernel *k, unsigned bid,
                            int32_t res, uint32_t more) {
  return note(k, bid, res, more, true);
}

static void all_are_free_at_first (void) {
  struct kernel k = kernel_of(8, false);
  struct io_uring_buf_reg reg;
  CHECK(count_free(&k) == 8 && k.g->leased == 0);
  buf_group_describe(k.g, &reg);
  CHECK(reg.ring_addr == (uint64_t)(uintptr_t)k.g->ring);
  CHECK(reg.ring_entries == 8 && reg.bgid == 7);
  for (unsigned i = 0; i < 8; i++) CHECK(pick(&k) == i);
  CHECK(count_free(&k) == 0);
  refblock_release(&k.g->block);
}

static void a_buffer_is_taken_once (void) {
  struct kernel k = kernel_of(4, false);
  struct piece p, q;
  unsigned bid = pick(&k);
  CHECK(buf_group_take(k.g, 5, cqe(&k, bid, 5, 0), &p));
  CHECK(p.data == k.g->memory && p.size == 5 && p.bid == bid);
  CHECK(k.g->leased == 1 && count_free(&k) == 3);
  CHECK(!buf_group_take(k.g, 5, cqe_flags(bid), &q));
  CHECK(buf_group_take_bundle(k.g, 5, cqe_flags(bid), &q, 1) == 0);
  buf_group_dispose(k.g, 5, cqe(&k, bid, 5, 0));  /* (does not recycle it) */
  CHECK(k.g->leased == 1 && count_free(&k) == 3);
  buf_group_give(k.g, p.bid);
  CHECK(k.g->leased == 0 && count_free(&k) == 4);
  CHECK(!buf_group_take(k.g, 5, cqe_flags(bid), &q));  /* (it is free) */
  buf_group_dispose(k.g, 5, cqe_flags(bid));
  CHECK(k.g->leased == 0 && count_free(&k) == 4);
  refblock_release(&k.g->block);
}

static void flags_may_name_none (void) {
  struct kernel k = kernel_of(4, false);
  struct piece p;
  CHECK(!buf_group_take(k.g, 5, 0, &p));
  CHECK(!buf_group_take(k.g, 5, 2u << IORING_CQE_BUFFER_SHIFT, &p));
  CHECK(!buf_group_take(k.g, 5, cqe_flags(4), &p));
  CHECK(!buf_group_take(k.g, 5, cqe_flags(65535), &p));
  CHECK(buf_group_take_bundle(k.g, 5, 0, &p, 1) == 0);
  CHECK(buf_group_take_bundle(k.g, 5, cqe_flags(4), &p, 1) == 0);
  buf_group_dispose(k.g, 5, 0);
  buf_group_dispose(k.g, 5, cqe(&k, 4, 5, 0));
  CHECK(k.g->leased == 0 && count_free(&k) == 4);
  refblock_release(&k.g->block);
}

/* no piece is longer than its buffer, and that of an error is empty */
static void results_are_cut_to_the_buffer (void) {
  static const int32_t results[] = { 0, -1, -105, INT32_MIN, INT32_MAX, 17 };
  struct kernel k = kernel_of(8, false);
  for (unsigned i = 0; i < 6; i++) {
    struct piece p;
    uint32_t flags = cqe(&k, pick(&k), results[i], 0);
    CHECK(buf_group_take(k.g, results[i], flags, &p));
    CHECK(p.size == (results[i] > 0 ? SIZE : 0));
    buf_group_give(k.g, p.bid);
  }
  refblock_release(&k.g->block);
}

static void are_picked_in_the_order_of_recycling (void) {
  struct kernel k = kernel_of(4, false);
  static const unsigned order[] = { 2, 0, 3, 1 };
  struct piece p;
  for (unsigned i = 0; i < 4; i++)
    CHECK(buf_group_take(k.g, 1, cqe(&k, pick(&k), 1, 0), &p));
  for (unsigned i = 0; i < 4; i++) buf_group_give(k.g, (uint16_t)order[i]);
  for (unsigned i = 0; i < 4; i++) CHECK(pick(&k) == order[i]);
  refblock_release(&k.g->block);
}

static void parts_follow_one_another (void) {
  struct kernel k = kernel_of(2, true);
  unsigned bid = pick(&k);
  struct piece a, b, c, d;
  CHECK(buf_group_take(k.g, 5, cqe(&k, bid, 5, MORE), &a));
  CHECK(buf_group_take(k.g, 3, cqe(&k, bid, 3, MORE), &b));
  CHECK(k.g->leased == 0);  /* (the kernel still fills it) */
  buf_group_give(k.g, a.bid);
  CHECK(buf_group_take(k.g, 8, cqe(&k, bid, 8, 0), &c));
  CHECK(k.g->leased == 1);
  CHECK(a.data == k.g->memory && a.size == 5);
  CHECK(b.data == a.data + 5 && b.size == 3);
  CHECK(c.data == b.data + 3 && c.size == 8);
  CHECK(!buf_group_take(k.g, 1, cqe_flags(bid), &d));  /* all were taken */
  CHECK(!buf_group_take(k.g, 1, cqe_flags(bid) | MORE, &d));
  buf_group_give(k.g, c.bid);
  CHECK(k.g->leased == 1 && count_free(&k) == 1);  /* one is still leased */
  buf_group_give(k.g, b.bid);
  CHECK(k.g->leased == 0 && count_free(&k) == 2);
  /* and is filled from its beginning again */
  CHECK(pick(&k) == 1 && pick(&k) == bid);
  CHECK(buf_group_take(k.g, 1, cqe(&k, bid, 1, 0), &a));
  CHECK(a.data == k.g->memory);
  buf_group_give(k.g, a.bid);
  refblock_release(&k.g->block);
}

/* each has its own bytes, whatever the order of taking and disposing */
static void parts_are_found_in_any_order (void) {
  struct kernel k = kernel_of(2, true);
  unsigned bid = pick(&k);
  uint32_t more = cqe(&k, bid, 5, MORE), last;
  struct piece a, b, c;
  CHECK(cqe(&k, bid, 3, MORE) == more && cqe(&k, bid, 5, MORE) == more);
  last = cqe(&k, bid, 2, 0);
  CHECK(!buf_group_take(k.g, 4, more, &a));  /* (there was none of 4 bytes) */
  CHECK(buf_group_take(k.g, 2, last, &c) && c.data == k.g->memory + 13);
  buf_group_give(k.g, c.bid);
  CHECK(k.g->leased == 1 && count_free(&k) == 1);
  CHECK(buf_group_take(k.g, 3, more, &b) && b.data == k.g->memory + 5);
  buf_group_dispose(k.g, 5, more);  /* the older one of two equal ones */
  CHECK(buf_group_take(k.g, 5, more, &a) && a.data == k.g->memory + 8);
  CHECK(!buf_group_take(k.g, 5, more, &a));
  buf_group_give(k.g, c.bid);
  CHECK(k.g->leased == 1 && count_free(&k) == 1);
  buf_group_give(k.g, c.bid);
  CHECK(k.g->leased == 0 && count_free(&k) == 2);
  refblock_release(&k.g->block);
}

/* a result may be longer than what was received (MSG_TRUNC) */
static void a_longer_result_ends_with_the_buffer (void) {
  struct kernel k = kernel_of(2, true);
  unsigned bid = pick(&k);
  uint32_t flags = cqe(&k, bid, SIZE + 9, 0);
  struct piece p;
  CHECK(!buf_group_is_bundle(k.g, SIZE + 9, flags));
  CHECK(buf_group_take(k.g, SIZE + 9, flags, &p) && p.size == SIZE);
  buf_group_give(k.g, p.bid);
  CHECK(k.g->leased == 0 && count_free(&k) == 2);
  refblock_release(&k.g->block);
}

/* all parts were given back, but the kernel goes on filling it */
static void is_not_recycled_while_the_kernel_fills_it (void) {
  struct kernel k = kernel_of(2, true);
  unsigned bid = pick(&k);
  struct piece p;
  for (uint32_t i = 0; i < 3; i++) {
    CHECK(buf_group_take(k.g, 4, cqe(&k, bid, 4, MORE), &p));
    CHECK(p.data == k.g->memory + 4 * i);
    buf_group_give(k.g, p.bid);
    CHECK(count_free(&k) == 1);
  }
  buf_group_dispose(k.g, 2, cqe(&k, bid, 2, MORE));
  CHECK(count_free(&k) == 1);
  CHECK(buf_group_take(k.g, 99, cqe(&k, bid, 99, 0), &p));
  CHECK(p.data == k.g->memory + 14 && p.size == 2);  /* (its rest) */
  buf_group_give(k.g, p.bid);
  CHECK(count_free(&k) == 2);
  refblock_release(&k.g->block);
}

/* F_BUF_MORE has no meaning in a group without IOU_PBUF_RING_INC */
static void more_is_of_incremental_ones_only (void) {
  struct kernel k = kernel_of(2, false);
  unsigned bid = pick(&k);
  struct piece p;
  CHECK(buf_group_take(k.g, 4, cqe(&k, bid, 4, MORE), &p));
  CHECK(!buf_group_take(k.g, 4, cqe_flags(bid) | MORE, &p));
  buf_group_give(k.g, p.bid);
  CHECK(count_free(&k) == 2);
  refblock_release(&k.g->block);
}

static void bundles_follow_the_order_of_recycling (void) {
  struct kernel k = kernel_of(4, false);
  static const unsigned order[] = { 3, 1, 0, 2 };
  struct piece p[4];
  uint32_t flags;
  for (unsigned i = 0; i < 4; i++)
    CHECK(buf_group_take(k.g, 1, cqe(&k, pick(&k), 1, 0), &p[i]));
  for (unsigned i = 0; i < 4; i++) buf_group_give(k.g, (uint16_t)order[i]);
  for (unsigned i = 0; i < 3; i++) pick(&k);
  flags = bundle_cqe(&k, 3, 2 * SIZE + 1, 0);
  CHECK(buf_group_is_bundle(k.g, 2 * SIZE + 1, flags));
  CHECK(!buf_group_take(k.g, 2 * SIZE + 1, flags, p));  /* it is a bundle */
  CHECK(buf_group_take_bundle(k.g, 2 * SIZE + 1, flags, p, 4) == 3);
  for (unsigned i = 0; i < 3; i++) {
    CHECK(p[i].bid == order[i]);
    CHECK(p[i].data == k.g->memory + order[i] * SIZE);
    CHECK(p[i].size == (i < 2 ? SIZE : 1));
  }
  CHECK(k.g->leased == 3);
  for (unsigned i = 0; i < 3; i++) buf_group_give(k.g, p[i].bid);
  /* exactly two buffers */
  CHECK(pick(&k) == 2 && pick(&k) == 3);
  flags = bundle_cqe(&k, 2, 2 * SIZE, 0);
  CHECK(buf_group_take_bundle(k.g, 2 * SIZE, flags, p, 4) == 2);
  CHECK(p[0].bid == 2 && p[1].bid == 3 && p[1].size == SIZE);
  buf_group_give(k.g, 2);
  buf_group_give(k.g, 3);
  CHECK(k.g->leased == 0);
  refblock_release(&k.g->block);
}

/* a bundle that would go on in a leased buffer ends before it */
static void bundles_take_nothing_twice (void) {
  struct kernel k = kernel_of(4, false);
  struct piece p[4], q[4];
  uint32_t flags;
  for (unsigned i = 0; i < 4; i++) pick(&k);
  CHECK(buf_group_take(k.g, SIZE, cqe(&k, 1, SIZE, 0), &p[0]));
  flags = bundle_cqe(&k, 0, 3 * SIZE, 0);
  CHECK(buf_group_take_bundle(k.g, 3 * SIZE, flags, q, 4) == 1);
  CHECK(buf_group_take_bundle(k.g, 2 * SIZE, cqe_flags(1), q, 4) == 0);
  flags = bundle_cqe(&k, 2, 4 * SIZE, 0);
  CHECK(buf_group_take_bundle(k.g, 4 * SIZE, flags, q, 1) == 1);
  CHECK(k.g->leased == 3);
  refblock_release(&k.g->block);
}

static void bundles_begin_in_the_middle_of_a_buffer (void) {
  struct kernel k = kernel_of(4, true);
  struct piece p[4];
  CHECK(pick(&k) == 0 && pick(&k) == 1);
  uint32_t first = bundle_cqe(&k, 0, 6, MORE);
  uint32_t both = bundle_cqe(&k, 0, 15, MORE);
  uint32_t last = bundle_cqe(&k, 1, 11, 0);
  CHECK(buf_group_take_bundle(k.g, 6, first, p, 4) == 1);
  CHECK(p[0].size == 6 && k.g->leased == 0);
  CHECK(buf_group_take_bundle(k.g, 11, last, p + 3, 1) == 1);
  buf_group_give(k.g, p[3].bid);  /* (another part was not taken yet) */
  CHECK(k.g->leased == 1 && count_free(&k) == 2);
  CHECK(buf_group_take_bundle(k.g, 15, both, p + 1, 3) == 2);
  CHECK(p[1].bid == 0 && p[1].data == k.g->memory + 6 && p[1].size == 10);
  CHECK(p[2].bid == 1 && p[2].data == k.g->memory + SIZE && p[2].size == 5);
  CHECK(p[3].data == p[2].data + 5);
  CHECK(k.g->leased == 2);
  for (unsigned i = 0; i < 3; i++) buf_group_give(k.g, p[i].bid);
  CHECK(k.g->leased == 0 && count_free(&k) == 4);
  refblock_release(&k.g->block);
}

static void disposal_recycles (void) {
  struct kernel k = kernel_of(4, false);
  buf_group_dispose(k.g, 3, cqe(&k, pick(&k), 3, 0));
  buf_group_dispose(k.g, 0, cqe(&k, pick(&k), 0, 0));
  buf_group_dispose(k.g, -105, cqe(&k, pick(&k), -105, 0));
  CHECK(count_free(&k) == 4 && k.g->leased == 0);
  pick(&k); pick(&k);
  /* a bundle of two: 3 and 0 */
  buf_group_dispose(k.g, SIZE + 1, bundle_cqe(&k, 3, SIZE + 1, 0));
  CHECK(count_free(&k) == 4);
  refblock_release(&k.g->block);
}

static void leases_outlive_the_group (void) {
  struct kernel k = kernel_of(2, false);
  struct piece p;
  struct lease *l;
  unsigned char *data;
  memcpy(k.g->memory, "some data", 10);
  CHECK(buf_group_take(k.g, 9, cqe(&k, pick(&k), 9, 0), &p));
  l = lease_new(k.g, &p);
  CHECK(l != NULL);
  data = l->piece.data;
  k.g->closed = true;             /* (it was unregistered) */
  refblock_release(&k.g->block);  /* the ring's count */
  CHECK(memcmp(data, "some data", 9) == 0);
  refblock_retain(&l->block);     /* that of an operation that sends it */
  refblock_release(&l->block);    /* its owner's */
  CHECK(memcmp(data, "some data", 9) == 0);
  refblock_release(&l->block);
}

static void a_lease_gives_back_once_at_its_end (void) {
  struct kernel k = kernel_of(2, false);
  struct piece p;
  struct lease *l;
  CHECK(buf_group_take(k.g, 9, cqe(&k, pick(&k), 9, 0), &p));
  l = lease_new(k.g, &p);
  refblock_retain(&l->block);
  refblock_release(&l->block);
  CHECK(k.g->leased == 1 && count_free(&k) == 1);
  refblock_release(&l->block);
  CHECK(k.g->leased == 0 && count_free(&k) == 2);
  refblock_release(&k.g->block);
}

/* the kernel does not know its buffer ring any more */
static void a_closed_group_recycles_nothing (void) {
  struct kernel k = kernel_of(4, false);
  struct piece p;
  uint16_t tail = k.g->ring->tail;
  CHECK(buf_group_take(k.g, 9, cqe(&k, pick(&k), 9, 0), &p));
  k.g->closed = true;
  buf_group_give(k.g, p.bid);
  buf_group_dispose(k.g, 9, cqe(&k, pick(&k), 9, 0));
  CHECK(k.g->leased == 0 && k.g->ring->tail == tail);
  refblock_release(&k.g->block);
}

#define MANY 64

/* compared with a model that knows the place of each byte of each buffer */
static void random_steps (bool inc) {
  struct kernel k = kernel_of(MANY, inc);
  struct piece out[4 * MANY];
  struct { uint32_t flags, size, at; bool done; } cqes[MANY];
  struct { unsigned used, leased, untaken; bool done; } model[MANY] = {{0}};
  int current = -1;  /* the buffer that an incremental group fills */
  unsigned n = 0, ncqes = 0, leased = 0, whole = 0;
  for (int i = 0; i < 50000; i++) {
    unsigned what = check_random(4);
    if (what == 0 && ncqes < MANY && (current >= 0 || count_free(&k))) {
      unsigned bid = current >= 0 ? (unsigned)current : pick(&k);
      uint32_t left = SIZE - model[bid].used;
      uint32_t size = check_random(inc ? left + 1 : SIZE + 1);
      bool done = !inc || size == left || check_random(20) == 0;
      cqes[ncqes].flags = cqe(&k, bid, (int32_t)size, done ? 0 : MORE);
      cqes[ncqes].size = size;
      cqes[ncqes].at = bid * SIZE + model[bid].used;
      cqes[ncqes++].done = done;
      model[bid].used += size;
      model[bid].untaken++;
      whole += done;
      current = done ? -1 : (int)bid;
    }
    else if (what == 1 && ncqes > 0 && n < 4 * MANY) {
      unsigned j = check_random(ncqes), bid;
      struct piece p;
      for (unsigned first = 0; first < j; first++)  /* the oldest equal one */
        if (cqes[first].flags == cqes[j].flags
            && cqes[first].size == cqes[j].size) j = first;
      if (!CHECK(buf_group_take(k.g, (int32_t)cqes[j].size, cqes[j].flags,
                                &p)))
        break;
      bid = cqes[j].flags >> IORING_CQE_BUFFER_SHIFT;
      if (!CHECK(p.data == k.g->memory + cqes[j].at)) break;
      if (!CHECK(p.size == cqes[j].size && p.bid == bid)) break;
      out[n++] = p;
      model[bid].leased++;
      model[bid].untaken--;
      if (cqes[j].done) {
        model[bid].done = true;
        leased++;
        whole--;
      }
      ncqes--;
      for (; j < ncqes; j++) cqes[j] = cqes[j + 1];
    }
    else if (what > 1 && n > 0) {
      unsigned j = check_random(n), bid = out[j].bid;
      buf_group_give(k.g, out[j].bid);
      out[j] = out[--n];
      if (--model[bid].leased == 0 && model[bid].untaken == 0
          && model[bid].done) {
        memset(&model[bid], 0, sizeof(model[bid]));
        leased--;
      }
    }
    if (!CHECK(k.g->leased == leased)) break;
    if (!CHECK(count_free(&k) + leased + whole + (current >= 0) == MANY))
      break;
  }
  while (n-- > 0) buf_group_give(k.g, out[n].bid);
  while (ncqes-- > 0)
    buf_group_dispose(k.g, (int32_t)cqes[ncqes].size, cqes[ncqes].flags);
  CHECK(k.g->leased == 0);
  CHECK(count_free(&k) + (unsigned)(current >= 0) == MANY);
  refblock_release(&k.g->block);
}

static void random_steps_with_whole_buffers (void) {
  random_steps(false);
}

static void random_steps_with_incremental_buffers (void) {
  random_steps(true);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(all_are_free_at_first), TEST(a_buffer_is_taken_once),
    TEST(flags_may_name_none), TEST(results_are_cut_to_the_buffer),
    TEST(are_picked_in_the_order_of_recycling),
    TEST(parts_follow_one_another),
    TEST(parts_are_found_in_any_order),
    TEST(a_longer_result_ends_with_the_buffer),
    TEST(is_not_recycled_while_the_kernel_fills_it),
    TEST(more_is_of_incremental_ones_only),
    TEST(bundles_follow_the_order_of_recycling),
    TEST(bundles_take_nothing_twice),
    TEST(bundles_begin_in_the_middle_of_a_buffer), TEST(disposal_recycles),
    TEST(leases_outlive_the_group),
    TEST(a_lease_gives_back_once_at_its_end),
    TEST(a_closed_group_recycles_nothing),
    TEST(random_steps_with_whole_buffers),
    TEST(random_steps_with_incremental_buffers),
  };
  return RUN(tests);
}
