/* refblock: counts, destructors, and burying. */

#include "check.h"
#include "base/refblock.h"

#include <pthread.h>

struct thing {
  struct refblock block;
  int ended, idled;
  atomic_int changes;      /* times it became busy or idle */
};

static void thing_end (struct refblock *b) { ((struct thing *)b)->ended++; }
static void thing_idle (struct refblock *b) { ((struct thing *)b)->idled++; }

static void last_owner_ends_it (void) {
  struct thing t = {0};
  refblock_init(&t.block, thing_end);
  refblock_retain(&t.block);
  refblock_release(&t.block);
  CHECK(t.ended == 0);
  refblock_release(&t.block);
  CHECK(t.ended == 1);
}

static void pins_count_as_owners_and_in_flight (void) {
  struct thing t = {0};
  refblock_init(&t.block, thing_end);
  t.block.idle = thing_idle;
  CHECK(refblock_flying(&t.block) == 0);
  refblock_pin(&t.block);
  refblock_pin(&t.block);
  CHECK(refblock_flying(&t.block) == 2);
  refblock_release(&t.block);  /* (its creator's count) */
  refblock_unpin(&t.block);
  CHECK(t.idled == 0 && t.ended == 0 && refblock_flying(&t.block) == 1);
  refblock_unpin(&t.block);
  CHECK(t.idled == 1 && t.ended == 1);
}

static void idle_is_called_while_it_has_owners (void) {
  struct thing t = {0};
  refblock_init(&t.block, thing_end);
  t.block.idle = thing_idle;
  for (int i = 1; i <= 3; i++) {
    refblock_pin(&t.block);
    refblock_unpin(&t.block);
    CHECK(t.idled == i && t.ended == 0);
  }
  refblock_release(&t.block);
  CHECK(t.ended == 1);
}

static void memory_is_zeroed_and_terminated (void) {
  for (size_t n = 0; n < 300; n++) {
    struct memory *m = memory_new(NULL, n, NULL);
    CHECK(m != NULL && m->size == n);
    for (size_t i = 0; i <= n; i++)
      if (!CHECK(m->bytes[i] == 0)) break;
    CHECK(((uintptr_t)m->bytes & 15) == 0);
    memset(m->bytes, 0xff, n + 1);  /* (ASAN sees if it is too short) */
    refblock_release(&m->block);
  }
}

static void memory_copies (void) {
  const char text[] = "a\0b";
  struct memory *m = memory_new(NULL, 3, text);
  CHECK(memcmp(m->bytes, text, 4) == 0);
  CHECK(!m->block.retired);
  refblock_release(&m->block);
}

static void memory_to_fill_is_terminated (void) {
  struct memory *m = memory_to_fill(NULL, 5);
  CHECK(m != NULL && m->size == 5 && m->bytes[5] == 0);
  refblock_release(&m->block);
  CHECK(memory_to_fill(NULL, SIZE_MAX) == NULL);
}

static void impossible_sizes_give_null (void) {
  CHECK(memory_new(NULL, SIZE_MAX, NULL) == NULL);
  CHECK(memory_new(NULL, SIZE_MAX - sizeof(struct memory), NULL) == NULL);
  CHECK(memory_new(NULL, SIZE_MAX - sizeof(struct memory) - 1, "") == NULL);
}

#define ROUNDS 20000

static struct thing shared;

static void thing_changes (struct refblock *b) {
  atomic_fetch_add(&((struct thing *)b)->changes, 1);
}

static void *hammer (void *p) {
  for (int i = 0; i < ROUNDS; i++) {
    refblock_retain(&shared.block);
    refblock_pin(&shared.block);
    refblock_unpin(&shared.block);
    refblock_release(&shared.block);
  }
  return p;
}

static void counts_hold_between_threads (void) {
  pthread_t id[4];
  refblock_init(&shared.block, thing_end);
  shared.block.busy = shared.block.idle = thing_changes;
  for (int i = 0; i < 4; i++) pthread_create(&id[i], NULL, hammer, NULL);
  for (int i = 0; i < 4; i++) pthread_join(id[i], NULL);
  CHECK(shared.ended == 0 && refblock_owners(&shared.block) == 1);
  CHECK(refblock_flying(&shared.block) == 0);
  CHECK(shared.changes >= 2 && shared.changes % 2 == 0);
  refblock_release(&shared.block);
  CHECK(shared.ended == 1);
}

#define BURIED 200

static void *bury_many (void *p) {
  for (int i = 0; i < BURIED; i++) {
    struct memory *m = memory_new(NULL, 8, NULL);
    refblock_pin(&m->block);
    refblock_release(&m->block);
    refblock_bury(&m->block);  /* its last count, reachable from the list */
  }
  return p;
}

static void threads_may_bury_at_the_same_time (void) {
  unsigned long before = refblocks_buried();
  pthread_t id[4];
  for (int i = 0; i < 4; i++) pthread_create(&id[i], NULL, bury_many, NULL);
  for (int i = 0; i < 4; i++) pthread_join(id[i], NULL);
  CHECK(refblocks_buried() == before + 4 * BURIED);
}

static void two_counts_of_a_block_may_be_buried (void) {
  unsigned long before = refblocks_buried();
  struct memory *m = memory_new(NULL, 8, NULL);
  refblock_retain(&m->block);
  refblock_bury(&m->block);
  refblock_bury(&m->block);
  CHECK(refblocks_buried() == before + 2);
  CHECK(refblock_owners(&m->block) == 2);
  memset(m->bytes, 1, 8);  /* still there */
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(last_owner_ends_it), TEST(pins_count_as_owners_and_in_flight),
    TEST(idle_is_called_while_it_has_owners),
    TEST(memory_is_zeroed_and_terminated),
    TEST(memory_copies), TEST(memory_to_fill_is_terminated),
    TEST(impossible_sizes_give_null),
    TEST(counts_hold_between_threads),
    TEST(threads_may_bury_at_the_same_time),
    TEST(two_counts_of_a_block_may_be_buried),
  };
  return RUN(tests);
}
