/*
** step: loop:step{…}, by which a host, a program with a loop of its own, lets
** the tasks of a state go on: once a frame, or when loop:fd() is readable. And
** what goes with it: loop:fd(), loop:timeout(), loop:stats().
**
** A step never blocks, and keeps to a budget. It resumes at most `max` tasks;
** a wait that need not wait counts as one too. It takes at most so many
** completions, in batches, serves at most so many mailboxes with messages, and
** lets at most so many deadlines pass. After `seconds` it does nothing
** more of that: the time is looked at after each resume and each batch. What
** is left is the next step's: `more`.
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

#include "task/loop.h"

struct step {
  unsigned most;              /* the caller's: tasks to resume */
  double seconds;             /* ... < 0: no limit */
  double now;                 /* ... < 0: not given */
  bool gc;
  int64_t until;              /* CLOCK_NEVER: no limit */
  int64_t instant;            /* by which deadlines are judged */
  bool more;                  /* the results, also if it raises */
  uint64_t resumed;
};
#define STEP_USUAL { .most = 64, .seconds = -1, .now = -1 }

/* What is wrong with the step's time; NULL: nothing. */
const char *step_time_problem (const struct loop *loop, const struct step *s);

/* A step of a loop that is not running and is bound to this thread, in two
** parts: has it anything to do? If so, do it; that raises what was raised in
** it, and the errors of tasks if there is no on_error. */
bool step_begin (struct loop *loop, struct step *s);
void step_perform (lua_State *L, struct loop *loop, struct step *s);

/* loop:timeout(), in seconds. */
double step_timeout (const struct loop *loop);

void step_open (lua_State *L);

#endif
