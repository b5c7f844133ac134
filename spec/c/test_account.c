/* account: charges, the limit, and charges that outlive their state. */

#include "check.h"
#include "base/account.h"
#include "base/refblock.h"

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

int main (void) {
  static const struct check_test tests[] = {
    TEST(charges_are_refused_at_the_limit), TEST(no_account_has_no_bound),
    TEST(a_charge_keeps_it),
  };
  return RUN(tests);
}
