/* pending: both lists have the same order, and nothing is lost. */

#include "check.h"
#include "ring/pending.h"

static void add (struct pending *a, struct source *s, uint64_t n) {
  if (CHECK(pending_reserve(a, 1))) pending_add(a, s, NULL, n, 0, 0);
}

static bool takes (struct pending *a, uint64_t n) {
  struct pending_cqe out;
  return pending_take(a, &out) && out.data == n;
}

static bool takes_from (struct pending *a, struct source *s, uint64_t n) {
  struct pending_cqe out;
  return pending_take_from(a, s, &out) && out.data == n;
}

static void is_empty_at_first (void) {
  struct pending a = {0};
  struct source s = {0};
  struct pending_cqe out;
  CHECK(!pending_take(&a, &out) && !pending_take_from(&a, &s, &out));
  pending_free(&a);
}

static void both_ways_see_one_order (void) {
  struct pending a = {0};
  struct source s = {0}, t = {0};
  struct pending_cqe out;
  add(&a, &s, 1); add(&a, &t, 2); add(&a, &s, 3); add(&a, &t, 4);
  add(&a, &s, 5);
  CHECK(a.count == 5);
  CHECK(takes_from(&a, &t, 2));
  CHECK(takes(&a, 1));
  CHECK(takes_from(&a, &s, 3));
  CHECK(takes(&a, 4));
  CHECK(!pending_take_from(&a, &t, &out));
  CHECK(takes(&a, 5));
  CHECK(a.count == 0 && !pending_take(&a, &out));
  pending_free(&a);
}

static void memory_is_used_again (void) {
  struct pending a = {0};
  struct source s = {0};
  size_t most;
  for (uint64_t i = 0; i < 100; i++) add(&a, &s, i);
  most = a.spare + a.count;
  for (uint64_t i = 0; i < 10000; i++) {
    CHECK(takes(&a, i));
    add(&a, &s, i + 100);
  }
  CHECK(a.spare + a.count == most);
  pending_free(&a);
}

#define SOURCES 5
#define LONGEST 300

/* compared with a plain array */
static void random_orders (void) {
  struct pending a = {0};
  struct source s[SOURCES] = {{0}};
  struct { uint64_t n; unsigned source; } model[LONGEST];
  unsigned count = 0;
  uint64_t n = 0;
  for (int i = 0; i < 50000; i++) {
    unsigned k = check_random(SOURCES), j = 0;
    /* it grows for a while, then shrinks until it is empty */
    unsigned what = check_random(6) + (i / 400 % 2 ? 2 : 0);
    struct pending_cqe out;
    if (what < 3 && count < LONGEST) {
      add(&a, &s[k], ++n);
      model[count].n = n;
      model[count++].source = k;
      continue;
    }
    if (what % 2) {
      while (j < count && model[j].source != k) j++;
      if (!CHECK(pending_take_from(&a, &s[k], &out) == (j < count))) break;
    }
    else if (!CHECK(pending_take(&a, &out) == (count > 0))) break;
    if (j < count) {
      if (!CHECK(out.data == model[j].n)) break;
      if (!CHECK(out.source == &s[model[j].source])) break;
      memmove(model + j, model + j + 1, (--count - j) * sizeof(*model));
    }
    if (!CHECK(a.count == count)) break;
  }
  pending_free(&a);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(is_empty_at_first), TEST(both_ways_see_one_order),
    TEST(memory_is_used_again), TEST(random_orders),
  };
  return RUN(tests);
}
