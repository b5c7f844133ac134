/* timer_heap: the soonest timer first, after any additions and removals. */

#include "check.h"
#include "base/timer_heap.h"

#define N 500

static struct timer timers[N];

/* each timer knows its place, and no child is sooner than its parent */
static bool sound (const struct heap *h) {
  for (uint32_t i = 0; i < h->n; i++) {
    if (h->at[i].timer->place != i + 1) return false;
    if (h->at[i].timer->when != h->at[i].when) return false;
    if (i > 0 && h->at[(i - 1) / 2].when > h->at[i].when) return false;
  }
  return true;
}

static void fill (struct heap *h, uint32_t spread) {
  *h = (struct heap){0};
  CHECK(heap_reserve(h, N));
  for (int i = 0; i < N; i++) {
    timers[i].place = 0;
    heap_add(h, &timers[i], check_random(spread));
  }
}

static void empty_has_no_top (void) {
  struct heap h = {0};
  CHECK(heap_top(&h) == NULL);
  heap_remove(&h, &timers[0]);  /* (it is not in the heap) */
  heap_free(&h);
  heap_free(&h);
}

static void comes_out_in_order (void) {
  static const uint32_t spreads[] = { 1, 2, 50, 1000000 };
  for (int k = 0; k < 4; k++) {
    struct heap h;
    int64_t last = -1;
    int n = 0;
    fill(&h, spreads[k]);
    CHECK(sound(&h));
    while (heap_top(&h)) {
      struct timer *t = heap_top(&h);
      if (!CHECK(t->when >= last)) break;
      last = t->when;
      heap_remove(&h, t);
      CHECK(t->place == 0);
      n++;
    }
    CHECK(n == N);
    heap_free(&h);
  }
}

/* also if other timers were added and removed in between */
static void equals_come_out_in_the_order_of_adding (void) {
  struct heap h;
  fill(&h, 1000);  /* (those with equal deadlines are added below) */
  for (uint32_t i = 0; i < N; i += 2) {
    heap_remove(&h, &timers[i]);
    timers[i].owner_id = i;
    heap_add(&h, &timers[i], 1000 + (int64_t)i / 100);
    if (i % 3) heap_remove(&h, &timers[check_random(N) | 1u]);
  }
  for (uint32_t i = 1; i < N; i += 2) heap_remove(&h, &timers[i]);
  for (uint32_t i = 0; i < N; i += 2) {
    struct timer *t = heap_top(&h);
    if (!CHECK(t != NULL && t->owner_id == i)) break;
    heap_remove(&h, t);
  }
  heap_free(&h);
}

static void any_timer_can_be_removed (void) {
  struct heap h;
  uint32_t left = N;
  fill(&h, 300);
  for (int i = 0; i < 20000; i++) {
    struct timer *t = &timers[check_random(N)];
    int64_t least = INT64_MAX;
    if (t->place > 0) { heap_remove(&h, t); left--; }
    else { heap_add(&h, t, check_random(300)); left++; }
    if (!CHECK(h.n == left) || !CHECK(sound(&h))) break;
    if (i % 50) continue;
    for (int j = 0; j < N; j++)
      if (timers[j].place > 0 && timers[j].when < least)
        least = timers[j].when;
    CHECK(left == 0 || heap_top(&h)->when == least);
  }
  heap_free(&h);
}

static void the_ends_of_time_fit (void) {
  struct heap h = {0};
  struct timer a = {0}, b = {0}, c = {0};
  CHECK(heap_reserve(&h, 3));
  heap_add(&h, &a, INT64_MAX);
  heap_add(&h, &b, INT64_MIN);
  heap_add(&h, &c, 0);
  CHECK(heap_top(&h) == &b);
  heap_remove(&h, &b);
  CHECK(heap_top(&h) == &c);
  heap_free(&h);
}

static void memory_is_reserved_ahead (void) {
  struct heap h = {0};
  struct timer_entry *at;
  CHECK(heap_reserve(&h, 1000) && h.capacity >= 1000);
  at = h.at;
  for (int i = 0; i < N; i++) {
    timers[i].place = 0;
    heap_add(&h, &timers[i], -i);
  }
  CHECK(h.at == at && heap_top(&h) == &timers[N - 1]);
  CHECK(!heap_reserve(&h, UINT32_MAX));  /* more than there can be */
  CHECK(sound(&h) && h.n == N);
  heap_free(&h);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(empty_has_no_top), TEST(comes_out_in_order),
    TEST(equals_come_out_in_the_order_of_adding),
    TEST(any_timer_can_be_removed),
    TEST(the_ends_of_time_fit), TEST(memory_is_reserved_ahead),
  };
  return RUN(tests);
}
