/*
** timer_heap: a binary heap of deadlines, soonest first; equal deadlines in
** the order in which they were added. (No Lua in it.)
**
** A timer is embedded in the object that waits. The heap holds pointers to
** timers, and each timer knows its place, so that it can be removed from the
** middle. `heap_reserve` allocates ahead, so that `heap_add` cannot fail.
**
** Invariant: a timer in the heap is neither moved nor freed; its owner removes
** it first.
*/

#ifndef uring_timer_heap_h
#define uring_timer_heap_h

#include <stdbool.h>
#include <stdint.h>

struct timer {
  int64_t when;      /* CLOCK_MONOTONIC, ns */
  uint32_t place;    /* 1 + index in the heap; 0 if not in it */
  uint32_t owner_id;     /* for the owner's use */
};

/* The keys are kept in the heap itself: reading them from the timers, which
** are scattered over memory, would cost more than all the rest. */
struct timer_entry {
  int64_t when;
  uint64_t order;    /* the value of `added` when it was added */
  struct timer *timer;
};

struct heap {
  struct timer_entry *at;
  uint32_t n, capacity;
  uint64_t added;    /* timers added so far */
};

/* Make the next `more` calls of heap_add succeed; false if out of memory. */
bool heap_reserve (struct heap *h, uint32_t more);
void heap_add (struct heap *h, struct timer *t, int64_t when);
void heap_remove (struct heap *h, struct timer *t);  /* no-op if not in it */
void heap_free (struct heap *h);

/* The timer that expires first, or NULL. */
static inline struct timer *heap_top (const struct heap *h) {
  return h->n > 0 ? h->at[0].timer : 0;
}

#endif
