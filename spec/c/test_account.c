/* account: charges, the limit, and charges that outlive their state. */

#include "check.h"
#include "base/account.h"
#include "base/refblock.h"

#include <pthread.h>

static void charges_are_refused_at_the_limit (void) {
  struct account *a = account_new();
  CHECK(account_limit(a) == SIZE_MAX);
  CHECK(account_charge(a, 1000));
  atomic_store(&a->limit, 1500);
  CHECK(account_has_room(a, 500) && !account_has_room(a, 501));
  CHECK(!account_charge(a, SIZE_MAX));
  CHECK(!account_charge(a, 501) && account_charge(a, 500));
  CHECK(account_held(a) == 1500);
  /* what may not fail goes beyond, and then there is no room for nothing */
  account_count(a, 1);
  CHECK(account_held(a) == 1501 && !account_has_room(a, 0));
  account_refund(a, 1);
  account_refund(a, 500);
  account_refund(a, 1000);
  CHECK(account_held(a) == 0);
  account_end(a);
}

static void no_account_has_no_bound (void) {
  CHECK(account_charge(NULL, SIZE_MAX) && account_has_room(NULL, SIZE_MAX));
  account_count(NULL, 5);
  account_refund(NULL, 5);
  account_end(NULL);
  CHECK(account_held(NULL) == 0 && account_limit(NULL) == SIZE_MAX);
}

/* (under ASAN this finds an account that is freed too early, or never) */
static void a_charge_keeps_it (void) {
  struct account *a = account_new();
  struct memory *m = memory_new(a, 100, NULL);
  CHECK(account_held(a) >= 100 && account_held(a) < 300);
  atomic_store(&a->limit, account_held(a));
  CHECK(memory_new(a, 0, NULL) == NULL);
  account_end(a);
  refblock_release(&m->block);
}

static void is_charged_to_its_parent_too (void) {
  struct account *p = account_new(), *a = account_new(), *b = account_new();
  CHECK(account_of_workers(p) == NULL && account_of_workers(NULL) == NULL);
  atomic_store(&p->limit, 1000);
  CHECK(account_of_workers(p) == p);
  CHECK(account_charge(a, 100));
  account_join(a, p);
  account_join(b, a);
  CHECK(account_limit(b) == 1000 && account_of_workers(b) == b);
  CHECK(account_held(p) == 102 && account_held(a) == 101);
  CHECK(account_charge(b, 800) && account_held(p) == 902);
  /* refused by the first, the last, and none of them keeps a charge */
  CHECK(!account_charge(b, 99) && !account_has_room(b, 99));
  atomic_store(&b->limit, 850);
  CHECK(!account_charge(b, 51));
  CHECK(account_held(p) == 902 && account_held(a) == 901
        && account_held(b) == 800);
  CHECK(account_limit(b) == 850 && account_limit(a) == 1000);
  /* a parent that ends first lives as long as what it counts */
  account_end(p);
  account_end(a);
  account_refund(b, 800);
  CHECK(account_held(p) == 100 && account_held(a) == 100);
  account_end(b);
  account_refund(a, 100);
}

#define TIMES 100000

static void *charge_and_refund (void *p) {
  struct account *a = p;
  uintptr_t worst = 0;
  for (int i = 0; i < TIMES; i++) {
    size_t held;
    if (!account_charge(a, 6)) continue;
    held = account_held(a);
    if (held > worst) worst = held;
    account_refund(a, 6);
  }
  return (void *)worst;
}

static void is_bounded_among_threads (void) {
  struct account *a = account_new();
  pthread_t threads[4];
  void *worst;
  atomic_store(&a->limit, 10);
  for (int i = 0; i < 4; i++)
    CHECK(pthread_create(&threads[i], NULL, charge_and_refund, a) == 0);
  for (int i = 0; i < 4; i++) {
    CHECK(pthread_join(threads[i], &worst) == 0);
    CHECK((uintptr_t)worst <= 10);
  }
  CHECK(account_held(a) == 0);
  account_end(a);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(charges_are_refused_at_the_limit), TEST(no_account_has_no_bound),
    TEST(a_charge_keeps_it), TEST(is_charged_to_its_parent_too),
    TEST(is_bounded_among_threads),
  };
  return RUN(tests);
}
