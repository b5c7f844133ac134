/*
** waitq: a queue of tasks and select waiters that wait for the same thing,
** first come, first served. (No Lua in it.)
**
** A node is embedded in its waiter. A task waits for one thing at a time and
** has one node. A select has a select waiter, with a node of its own, for each
** event that it selects over. The queue is a circular list known by its last
** node: it is one pointer, and every operation takes constant time.
**
** Invariant: a node is in at most one queue.
*/

#ifndef uring_waitq_h
#define uring_waitq_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;

struct wait_node {
  struct lua_State *co;  /* a task's coroutine; NULL: a select waiter's node */
  struct wait_node *next, *prev;
};

struct waitq {
  struct wait_node *last;
};

static inline struct wait_node *waitq_first (const struct waitq *q) {
  return q->last ? q->last->next : NULL;
}

static inline void waitq_add (struct waitq *q, struct wait_node *node) {
  struct wait_node *last = q->last;
  if (last == NULL)
    node->next = node->prev = node;
  else {
    node->next = last->next;
    node->prev = last;
    last->next->prev = node;
    last->next = node;
  }
  q->last = node;
}

static inline void waitq_remove (struct waitq *q, struct wait_node *node) {
  if (node->next == node)
    q->last = NULL;
  else {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    if (q->last == node) q->last = node->prev;
  }
  node->next = node->prev = NULL;
}

static inline void waitq_add_first (struct waitq *q,
                                    struct wait_node *node) {
  struct wait_node *last = q->last;
  waitq_add(q, node);
  if (last) q->last = last;
}

/* Take out the first node; NULL if the queue is empty. */
static inline struct wait_node *waitq_pop (struct waitq *q) {
  struct wait_node *first = waitq_first(q);
  if (first) waitq_remove(q, first);
  return first;
}

/*
** A queue that is served in order. Each item that comes wakes the first
** waiter, which has a turn until it has run: it takes an item, or ends its
** turn without. So many items are not for others meanwhile. Nothing is handed
** over, so there is nothing to put back.
*/
struct turnq {
  struct waitq waiting;
  uint32_t turns;             /* waiters that were woken and have not run */
};

#endif
