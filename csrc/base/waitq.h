/*
** waitq: what waits for the same thing, first come first served. (No Lua in
** it.)
**
** A node is embedded in whatever waits. A task waits for one thing at a time
** and has one node; a select has one node for each event that it selects over.
** A queue is a ring of nodes known by its last, so that it is one pointer and
** each function takes the same short time however long the queue is.
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
  struct lua_State *co;       /* a task's coroutine; NULL: a select's node */
  struct wait_node *next, *prev;
};

struct waitq {
  struct wait_node *last;
};

static inline struct wait_node *waitq_first (const struct waitq *l) {
  return l->last ? l->last->next : NULL;
}

static inline void waitq_add (struct waitq *l, struct wait_node *s) {
  struct wait_node *last = l->last;
  if (last == NULL)
    s->next = s->prev = s;
  else {
    s->next = last->next;
    s->prev = last;
    last->next->prev = s;
    last->next = s;
  }
  l->last = s;
}

static inline void waitq_remove (struct waitq *l, struct wait_node *s) {
  if (s->next == s)
    l->last = NULL;
  else {
    s->prev->next = s->next;
    s->next->prev = s->prev;
    if (l->last == s) l->last = s->prev;
  }
  s->next = s->prev = NULL;
}

static inline void waitq_add_first (struct waitq *l, struct wait_node *s) {
  struct wait_node *last = l->last;
  waitq_add(l, s);
  if (last) l->last = last;
}

/* The first of them, which is taken out; or NULL. */
static inline struct wait_node *waitq_pop (struct waitq *l) {
  struct wait_node *first = waitq_first(l);
  if (first) waitq_remove(l, first);
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
