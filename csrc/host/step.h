/*
** step: loop:step{…}, by which a host, a program with a loop of its own, lets
** the tasks of a state go on: once a frame, or when loop:fd() is readable. And
** what goes with it: loop:fd(), loop:timeout(), loop:stats().
**
** A step never blocks, and keeps to a budget. It resumes at most `max` tasks;
** a wait that need not wait counts as one too. It takes at most so many
** completions, in batches, and lets at most so many deadlines pass. After
** `seconds` it does nothing more of that: the time is looked at after each
** resume and each batch. What is left is the next step's: `more`.
**
** An idle step looks at memory, and perhaps at the clock: it makes no system
** call and allocates nothing.
**
** With `now` the loop's time is the host's, from the first such step on.
** Deadlines are judged by the time of the last step. It must not go back.
**
** Invariants: nothing is resumed after the budget is spent. `more` is not
** false while anything is at hand. A step's errors leave the loop usable.
*/

#ifndef uring_step_h
#define uring_step_h

#include "lua/state.h"

void step_open (lua_State *L);

#endif
