/* handle: a number is closed once, without delay, and never that of another
** file. */

#include "check.h"
#include "base/handle.h"

#include <fcntl.h>
#include <unistd.h>

static struct handles all;

static bool is_open (int fd) { return fcntl(fd, F_GETFD) >= 0; }

static int null (void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

static struct handle *owner (int fd) {
  struct handle *h = handle_new();
  if (!CHECK(h != NULL)) exit(1);
  handle_own(&all, h, fd);
  return h;
}

static void an_explicit_close_ignores_other_counts (void) {
  int fd = null();
  struct handle *h = owner(fd);
  refblock_retain(&h->block);
  CHECK(handle_number(h) == fd && !handle_closed(h));
  CHECK(handle_close(h) == 0 && !is_open(fd));
  CHECK(handle_closed(h) && handle_number(h) == -1 && handle_use(h) == -1);
  CHECK(null() == fd);
  CHECK(handle_close(h) == 0 && is_open(fd));
  refblock_release(&h->block);
  refblock_release(&h->block);
  CHECK(is_open(fd));
  close(fd);
}

static void is_closed_with_the_last_count (void) {
  int fd = null();
  struct handle *h = owner(fd);
  refblock_retain(&h->block);
  refblock_release(&h->block);
  CHECK(is_open(fd));
  refblock_release(&h->block);
  CHECK(!is_open(fd) && handle_find(&all, fd) == NULL);
}

static void keeps_a_number_in_use_and_not_the_file (void) {
  int ends[2];
  char byte;
  struct handle *h;
  if (!CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0)) exit(1);
  h = owner(ends[1]);
  CHECK(handle_use(h) == ends[1] && handle_use(h) == ends[1]);
  CHECK(read(ends[0], &byte, 1) < 0);
  CHECK(handle_close(h) == 0);
  CHECK(read(ends[0], &byte, 1) == 0);  /* EOF: the file is closed */
  CHECK(is_open(ends[1]) && write(ends[1], "x", 1) < 0);
  handle_done(h);
  CHECK(is_open(ends[1]));
  handle_done(h);
  CHECK(!is_open(ends[1]));
  refblock_release(&h->block);
  close(ends[0]);
}

static void a_shut_one_still_has_its_number (void) {
  int fd = null();
  struct handle *h = owner(fd);
  unsigned before = handle_marked_count();
  handle_mark_closed(h);
  CHECK(handle_marked_count() != before);
  CHECK(handle_closed(h) && handle_use(h) == -1 && is_open(fd));
  CHECK(handle_close(h) == 0 && !is_open(fd));
  refblock_release(&h->block);
}

static void gives_its_number_away (void) {
  int fd = null();
  struct handle *h = owner(fd);
  CHECK(handle_release(h) == fd && handle_find(&all, fd) == NULL);
  refblock_release(&h->block);
  CHECK(is_open(fd));
  close(fd);
}

static void reports_the_error_of_a_close (void) {
  struct handle *h = owner(9999);
  CHECK(handle_close(h) == -EBADF && handle_close(h) == 0);
  refblock_release(&h->block);
}

static void has_one_number_among_many (void) {
  enum { MANY = 1000, FROM = 100000 };
  static struct handle *h[MANY];
  for (int i = 0; i < MANY; i++) h[i] = owner(FROM + i * 7);
  for (int i = 0; i < MANY; i++) {
    CHECK(handle_find(&all, FROM + i * 7) == h[i]);
    CHECK(handle_find(&all, FROM + i * 7 + 1) == NULL);
  }
  for (int i = 0; i < MANY; i += 2) handle_release(h[i]);
  for (int i = 0; i < MANY; i++)
    CHECK(handle_find(&all, FROM + i * 7) == (i % 2 ? h[i] : NULL));
  for (int i = 0; i < MANY; i++) {
    handle_release(h[i]);
    refblock_release(&h[i]->block);
  }
  CHECK(all.count == 0 && all.at == NULL);
}

static void loses_a_number_that_the_kernel_gives_out_again (void) {
  int fd = null();
  struct handle *stale = owner(fd), *h = owner(fd);
  CHECK(handle_closed(stale) && handle_number(stale) == -1);
  CHECK(handle_find(&all, fd) == h);
  CHECK(handle_close(stale) == 0 && is_open(fd));
  refblock_release(&stale->block);
  CHECK(handle_close(h) == 0 && !is_open(fd));
  refblock_release(&h->block);
}

static void outlives_its_table (void) {
  enum { MANY = 20, FROM = 100000 };
  static struct handle *h[MANY];
  for (int some = 1; some <= MANY; some += MANY - 1) {
    struct handles *table = calloc(1, sizeof(*table));
    if (!CHECK(table != NULL)) exit(1);
    for (int i = 0; i < some; i++) {
      h[i] = handle_new();
      if (!CHECK(h[i] != NULL)) exit(1);
      handle_own(table, h[i], FROM + i);
    }
    handles_end(table);
    CHECK(table->count == 0 && handle_find(table, FROM) == NULL);
    free(table);
    for (int i = 0; i < some; i++) {
      CHECK(handle_number(h[i]) == FROM + i);
      refblock_release(&h[i]->block);
    }
  }
}

static void a_dup_has_a_number_of_its_own (void) {
  int fd = null(), own;
  struct handle *h = handle_dup(fd);
  if (!CHECK(h != NULL)) exit(1);
  own = handle_number(h);
  CHECK(own != fd && (fcntl(own, F_GETFD) & FD_CLOEXEC) != 0);
  close(fd);
  CHECK(is_open(own));
  refblock_release(&h->block);
  CHECK(!is_open(own));
  errno = 0;
  CHECK(handle_dup(-1) == NULL && errno == EBADF);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(an_explicit_close_ignores_other_counts),
    TEST(is_closed_with_the_last_count),
    TEST(keeps_a_number_in_use_and_not_the_file),
    TEST(a_shut_one_still_has_its_number), TEST(gives_its_number_away),
    TEST(reports_the_error_of_a_close), TEST(has_one_number_among_many),
    TEST(loses_a_number_that_the_kernel_gives_out_again),
    TEST(outlives_its_table), TEST(a_dup_has_a_number_of_its_own),
  };
  return RUN(tests);
}
