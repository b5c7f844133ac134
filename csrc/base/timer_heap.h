/*
** heap: deadlines, soonest first; of equal ones that which was added first.
** (No Lua in it.)
**
** A timer lies inside whatever waits; the heap holds pointers to timers and
** each timer knows its place, so that any can be taken out. A timer that is
** in the heap must not move or be freed: whoever owns it takes it out first.
** Room is asked for ahead (`heap_reserve`), so `heap_add` cannot fail.
*/

#ifndef uring_timer_heap_h
#define uring_timer_heap_h

#include <stdbool.h>
#include <stdint.h>

struct timer {
  int64_t when;      /* CLOCK_MONOTONIC, ns */
  uint32_t place;    /* 1 + index in the heap; 0: not in it */
  uint32_t word;     /* its owner's own */
};

/* What is compared lies in the heap itself: to look at the timers, which lie
** all over the memory, would cost more than all the rest. */
struct entry {
  int64_t when;
  uint64_t order;    /* the how manieth that was added */
  struct timer *timer;
};

struct heap {
  struct entry *at;
  uint32_t n, room;
  uint64_t added;
};

bool heap_reserve (struct heap *h, uint32_t more);
void heap_add (struct heap *h, struct timer *t, int64_t when);
void heap_remove (struct heap *h, struct timer *t);  /* if it is there */
void heap_free (struct heap *h);

static inline struct timer *heap_top (const struct heap *h) {
  return h->n > 0 ? h->at[0].timer : 0;
}

#endif
