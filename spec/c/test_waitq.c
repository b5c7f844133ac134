/* waitq: first come, first served, and removal of any node. */

#include "check.h"
#include "base/waitq.h"

#define N 200

static struct wait_node nodes[N];

/* the queue is circular both ways, and has these nodes in this order */
static bool sound (const struct waitq *q, const int *order, int n) {
  const struct wait_node *node = waitq_first(q);
  if (n == 0) return node == NULL && q->last == NULL;
  for (int i = 0; i < n; i++, node = node->next)
    if (node != &nodes[order[i]] || node->next->prev != node) return false;
  return node == waitq_first(q) && node->prev == q->last;
}

static void an_empty_queue_has_no_first (void) {
  struct waitq q = { NULL };
  CHECK(waitq_first(&q) == NULL && waitq_pop(&q) == NULL);
}

static void pops_in_the_order_of_adding (void) {
  struct waitq q = { NULL };
  int order[N];
  for (int i = 0; i < N; i++) {
    waitq_add(&q, &nodes[i]);
    order[i] = i;
    CHECK(sound(&q, order, i + 1));
  }
  for (int i = 0; i < N; i++) {
    CHECK(waitq_pop(&q) == &nodes[i]);
    CHECK(nodes[i].next == NULL && nodes[i].prev == NULL);
  }
  CHECK(sound(&q, order, 0));
}

static void any_node_can_be_removed (void) {
  for (int round = 0; round < 50; round++) {
    struct waitq q = { NULL };
    int order[N], n = 0;
    for (int i = 0; i < N; i++) nodes[i] = (struct wait_node){0};
    for (int step = 0; step < 1000; step++) {
      if (n < N && (n == 0 || check_random(2))) {
        int i = (int)check_random(N);
        while (nodes[i].next) i = (i + 1) % N;
        waitq_add(&q, &nodes[i]);
        order[n++] = i;
      }
      else {
        int at = (int)check_random((uint32_t)n);
        waitq_remove(&q, &nodes[order[at]]);
        for (n--; at < n; at++) order[at] = order[at + 1];
      }
      if (!CHECK(sound(&q, order, n))) return;
    }
  }
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(an_empty_queue_has_no_first), TEST(pops_in_the_order_of_adding),
    TEST(any_node_can_be_removed),
  };
  return RUN(tests);
}
