/*
** turn: what a turn of the loop does beside resuming tasks: submit, sleep,
** take what has completed, and let deadlines pass. run.c and csrc/host call
** it, in the state that runs or steps the loop, outside any task.
**
** A run's turn takes all that is there, and sleeps where no task is ready. A
** step's takes so much and never sleeps; what it leaves is still at hand.
**
** Invariants: the loop does not sleep while a task is ready or a completion
** was not reaped. turn_at_hand is not false while a turn would find work.
*/

#ifndef uring_turn_h
#define uring_turn_h

#include "task/loop.h"

/* A run's turn after its tasks have run. Sleeps for at most `longest` ns, or
** for as long as it takes (SYS_FOREVER). Raises if the loop cannot go on. */
void turn_wait (lua_State *L, struct loop *loop, int64_t longest);

/* Serve up to `most` of the things that other threads, and this one, have
** linked to the loop's doorbell: wake what waits for them. No more after
** `until`. Returns how many. */
unsigned turn_serve_doorbell (struct loop *loop, unsigned most,
                              int64_t until);

/* Submit on all rings, and take up to `most` completions, but no more after
** `until`. Returns how many. Raises if the loop cannot go on. */
unsigned turn_serve (lua_State *L, struct loop *loop, unsigned most,
                     int64_t until);

/* End the waits, timeouts and shields whose deadline is not after `now`; up to
** `most`, soonest first. Returns how many. */
unsigned turn_expire (struct loop *loop, int64_t now, unsigned most);

/* Only submit, on all rings. */
void turn_submit (struct loop *loop);

/* Is a task ready, or is there anything to submit or to take? Looks only at
** memory. */
bool turn_at_hand (const struct loop *loop);

/* Is one of the rings blind? Then no look at memory tells that there is
** nothing to take. */
bool turn_is_blind (const struct loop *loop);

/* Is the first deadline over? */
static inline bool turn_due (const struct loop *loop, int64_t now) {
  return loop->heap.n > 0 && loop->heap.at[0].when <= now;
}

#endif
