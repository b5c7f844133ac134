/* store: what is added is taken, in its order, and a search finds what it
   would find if all had come at once. */

#include "check.h"
#include "base/store.h"

#include <string.h>

static bool has (const struct store *s, const char *text) {
  return store_size(s) == strlen(text)
         && (*text == 0 || memcmp(store_at(s), text, strlen(text)) == 0);
}

static size_t find (struct store *s, uint64_t call, const char *delimiter) {
  return store_find(s, call, delimiter, strlen(delimiter), SIZE_MAX);
}

static void is_empty_at_first (void) {
  struct store s = {0};
  CHECK(has(&s, "") && find(&s, store_call(&s), "\n") == 0);
  CHECK(store_add(&s, NULL, "", 0) && store_unread(&s, NULL, "", 0));
  CHECK(has(&s, ""));
  store_free(&s);
}

static void gives_what_was_added (void) {
  struct store s = {0};
  CHECK(store_add(&s, NULL, "one", 3) && store_add(&s, NULL, "two", 3));
  CHECK(has(&s, "onetwo"));
  store_take(&s, 4);
  CHECK(has(&s, "wo"));
  store_take(&s, 2);
  CHECK(has(&s, ""));
  store_free(&s);
}

static void takes_back_what_was_read (void) {
  struct store s = {0};
  CHECK(store_unread(&s, NULL, "c", 1) && store_add(&s, NULL, "d", 1));
  CHECK(store_unread(&s, NULL, "ab", 2) && has(&s, "abcd"));
  store_take(&s, 2);
  CHECK(store_unread(&s, NULL, "xyz", 3) && has(&s, "xyzcd"));
  store_free(&s);
}

/* In pieces of all sizes, and read in others. */
static void keeps_the_order (void) {
  struct store s = {0};
  uint8_t next = 0, due = 0;
  bool ok = true;
  for (int i = 0; i < 20000; i++) {
    unsigned char piece[300];
    size_t n = check_random(sizeof(piece)), out;
    for (size_t k = 0; k < n; k++) piece[k] = next++;
    ok = ok && store_add(&s, NULL, piece, n);
    out = check_random((uint32_t)store_size(&s) + 1);
    if (i % 100 < 50) out /= 2;
    for (size_t k = 0; k < out; k++) ok = ok && store_at(&s)[k] == due++;
    store_take(&s, out);
    if (out > 0 && i % 7 == 0) {
      due--;
      ok = ok && store_unread(&s, NULL, &due, 1);
    }
  }
  CHECK(ok && (uint8_t)(next - due) == (uint8_t)store_size(&s));
  store_free(&s);
}

static void finds_a_delimiter (void) {
  struct store s = {0};
  uint64_t call = store_call(&s);
  CHECK(store_add(&s, NULL, "ab\r\ncd\r\n\r\nef", 12));
  CHECK(find(&s, call, "\r\n\r\n") == 10);
  CHECK(find(&s, store_call(&s), "\n") == 4);
  CHECK(store_find(&s, store_call(&s), "\r\n\r\n", 4, 9) == 0);
  CHECK(find(&s, store_call(&s), "zz") == 0);
  store_take(&s, 4);
  CHECK(find(&s, store_call(&s), "\n") == 4);
  store_free(&s);
}

/* It is found across pieces, and what was searched is not searched again. */
static void goes_on_with_a_search (void) {
  struct store s = {0};
  uint64_t call = store_call(&s);
  CHECK(store_add(&s, NULL, "ab\r", 3) && find(&s, call, "\r\n") == 0);
  CHECK(store_searched(&s, call) == 2);
  CHECK(store_searched(&s, store_call(&s)) == 0);
  CHECK(store_add(&s, NULL, "\ncd", 3) && find(&s, call, "\r\n") == 4);
  store_take(&s, 1);
  CHECK(store_searched(&s, call) == 1 && find(&s, call, "\r\n") == 3);
  CHECK(find(&s, call, "b") == 0);      /* (what came before was searched) */
  CHECK(store_unread(&s, NULL, "b", 1) && find(&s, call, "b") == 1);
  store_free(&s);
}

static void drops_memory_that_is_large (void) {
  struct store s = {0};
  static const char megabyte[1 << 20];
  CHECK(store_add(&s, NULL, megabyte, sizeof(megabyte)));
  store_take(&s, sizeof(megabyte));
  CHECK(s.bytes == NULL && s.capacity == 0);
  CHECK(store_add(&s, NULL, "x", 1) && has(&s, "x"));
  CHECK(!store_add(&s, NULL, "x", SIZE_MAX / 2) && has(&s, "x"));
  store_free(&s);
}

static void is_charged_to_its_account (void) {
  struct store s = {0};
  struct account *a = account_new(), *other = account_new();
  static const char bytes[100000];
  CHECK(store_add(&s, a, bytes, 5000) && account_held(a) == s.capacity);
  atomic_store(&a->limit, 3 * s.capacity);
  /* the block that is copied counts, too */
  CHECK(!store_add(&s, a, bytes, 40000) && store_size(&s) == 5000);
  CHECK(!store_unread(&s, a, bytes, 40000) && store_size(&s) == 5000);
  CHECK(account_held(a) == s.capacity);
  CHECK(store_add(&s, a, bytes, 5000) && store_size(&s) == 10000);
  CHECK(account_held(a) == s.capacity);
  atomic_store(&other->limit, 1);
  store_adopt(&s, other);
  CHECK(account_held(a) == 0 && account_held(other) == s.capacity);
  account_end(other);  /* (the store's charge keeps it) */
  CHECK(store_add(&s, a, bytes, 1));  /* (this needs no block) */
  atomic_store(&a->limit, SIZE_MAX);
  CHECK(store_add(&s, a, bytes, sizeof(bytes)));
  CHECK(account_held(a) == s.capacity);
  store_take(&s, store_size(&s));
  CHECK(account_held(a) == 0);
  CHECK(store_unread(&s, a, bytes, 10) && account_held(a) == s.capacity);
  store_free(&s);
  store_free(&s);
  CHECK(account_held(a) == 0);
  store_adopt(&s, a);
  account_end(a);
  CHECK(store_add(&s, NULL, bytes, 10));
  store_free(&s);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(is_empty_at_first), TEST(gives_what_was_added),
    TEST(takes_back_what_was_read), TEST(keeps_the_order),
    TEST(finds_a_delimiter), TEST(goes_on_with_a_search),
    TEST(drops_memory_that_is_large), TEST(is_charged_to_its_account)
  };
  return RUN(tests);
}
