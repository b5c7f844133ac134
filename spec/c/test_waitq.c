/* seat: who came first is called first, and any can leave. */

#include "check.h"
#include "base/waitq.h"

#define N 200

static struct wait_node queue[N];

/* the line is a ring both ways, and has these seats in this order */
static bool sound (const struct waitq *l, const int *order, int n) {
  const struct wait_node *s = waitq_first(l);
  if (n == 0) return s == NULL && l->last == NULL;
  for (int i = 0; i < n; i++, s = s->next)
    if (s != &queue[order[i]] || s->next->prev != s) return false;
  return s == waitq_first(l) && s->prev == l->last;
}

static void none_is_none (void) {
  struct waitq l = { NULL };
  CHECK(waitq_first(&l) == NULL && waitq_pop(&l) == NULL);
}

static void first_come_first_called (void) {
  struct waitq l = { NULL };
  int order[N];
  for (int i = 0; i < N; i++) {
    waitq_add(&l, &queue[i]);
    order[i] = i;
    CHECK(sound(&l, order, i + 1));
  }
  for (int i = 0; i < N; i++) {
    CHECK(waitq_pop(&l) == &queue[i]);
    CHECK(queue[i].next == NULL && queue[i].prev == NULL);
  }
  CHECK(sound(&l, order, 0));
}

static void any_can_leave (void) {
  for (int round = 0; round < 50; round++) {
    struct waitq l = { NULL };
    int order[N], n = 0;
    for (int i = 0; i < N; i++) queue[i] = (struct wait_node){0};
    for (int step = 0; step < 1000; step++) {
      if (n < N && (n == 0 || check_random(2))) {
        int i = (int)check_random(N);
        while (queue[i].next) i = (i + 1) % N;
        waitq_add(&l, &queue[i]);
        order[n++] = i;
      }
      else {
        int at = (int)check_random((uint32_t)n);
        waitq_remove(&l, &queue[order[at]]);
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
