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

#ifndef uring_seat_h
#define uring_seat_h

#include <stdbool.h>
#include <stddef.h>

struct lua_State;

struct seat {
  struct lua_State *co;       /* a task's coroutine; NULL: an ear's seat */
  struct seat *next, *prev;
};

struct seats {
  struct seat *last;
};

static inline struct seat *seats_first (const struct seats *l) {
  return l->last ? l->last->next : NULL;
}

static inline void seats_add (struct seats *l, struct seat *s) {
  struct seat *last = l->last;
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

static inline void seats_remove (struct seats *l, struct seat *s) {
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
static inline struct seat *seats_take (struct seats *l) {
  struct seat *first = seats_first(l);
  if (first) seats_remove(l, first);
  return first;
}

#endif
