/*
** seat: who waits for the same thing, one behind another. (No Lua in it.)
**
** A seat lies inside whatever waits: a task, which sits in at most one line
** at a time, or an ear, of which a task has several when it waits for several
** things at once. A line is a ring of seats known by its last, so that it is
** one pointer, and all of this takes the same short time however long it is.
**
** What can never happen: a seat is in two lines.
*/

#ifndef uring_waitq_h
#define uring_waitq_h

#include <stdbool.h>
#include <stddef.h>

struct lua_State;

struct wait_node {
  struct lua_State *co;       /* a task's coroutine; NULL: an ear's seat */
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

/* The first of them, who is taken out; or NULL. */
static inline struct wait_node *waitq_pop (struct waitq *l) {
  struct wait_node *first = waitq_first(l);
  if (first) waitq_remove(l, first);
  return first;
}

#endif
