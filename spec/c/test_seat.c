/* seat: who came first is called first, and any can leave. */

#include "check.h"
#include "base/seat.h"

#define N 200

static struct seat seats[N];

/* the line is a ring both ways, and has these seats in this order */
static bool sound (const struct seats *l, const int *order, int n) {
  const struct seat *s = seats_first(l);
  if (n == 0) return s == NULL && l->last == NULL;
  for (int i = 0; i < n; i++, s = s->next)
    if (s != &seats[order[i]] || s->next->prev != s) return false;
  return s == seats_first(l) && s->prev == l->last;
}

static void none_is_none (void) {
  struct seats l = { NULL };
  CHECK(seats_first(&l) == NULL && seats_take(&l) == NULL);
}

static void first_come_first_called (void) {
  struct seats l = { NULL };
  int order[N];
  for (int i = 0; i < N; i++) {
    seats_add(&l, &seats[i]);
    order[i] = i;
    CHECK(sound(&l, order, i + 1));
  }
  for (int i = 0; i < N; i++) {
    CHECK(seats_take(&l) == &seats[i]);
    CHECK(seats[i].next == NULL && seats[i].prev == NULL);
  }
  CHECK(sound(&l, order, 0));
}

static void any_can_leave (void) {
  for (int round = 0; round < 50; round++) {
    struct seats l = { NULL };
    int order[N], n = 0;
    for (int i = 0; i < N; i++) seats[i] = (struct seat){0};
    for (int step = 0; step < 1000; step++) {
      if (n < N && (n == 0 || check_random(2))) {
        int i = (int)check_random(N);
        while (seats[i].next) i = (i + 1) % N;
        seats_add(&l, &seats[i]);
        order[n++] = i;
      }
      else {
        int at = (int)check_random((uint32_t)n);
        seats_remove(&l, &seats[order[at]]);
        for (n--; at < n; at++) order[at] = order[at + 1];
      }
      if (!CHECK(sound(&l, order, n))) return;
    }
  }
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(none_is_none), TEST(first_come_first_called), TEST(any_can_leave),
  };
  return RUN(tests);
}
