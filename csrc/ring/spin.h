/*
** spin: a loop that expects to be woken soon by another thread looks at memory
** for a while before it sleeps. (No Lua in it.)
**
** To fall asleep and be woken takes 10 to 100 us, and the sender a system
** call. A loop that is answered sooner does better to wait awake: then its
** doorbell is not armed, and no thread rings it. It yields the processor all
** the while.
**
** Whether it pays is learned from whether it did. What ends a spin well is a
** link in the doorbell's ready list. A spin that ends otherwise was in vain,
** and each in a row doubles the number of sleeps before the next one, up to
** SPIN_SELDOM. A completion of the kernel ends a spin, but was no reason for
** one: the kernel's wakeup is the same for a socket that is busy.
**
** A thread that yielded and came back late has a processor that others want.
** Then a spin ends too. With one processor there is none.
**
** Nothing relies on it: the loop arms the doorbell, looks once more and sleeps
** as if there had been no spin.
*/

#ifndef uring_spin_h
#define uring_spin_h

#include "compat.h"
#include "ring/doorbell.h"

#define SPIN_USUAL  100000   /* ns */
#define SPIN_SELDOM 256u

struct spin {
  int64_t longest;           /* ns; 0: never */
  uint64_t count, in_vain;   /* spins so far */
  unsigned vain;             /* ... in vain, the last ones in a row */
  unsigned sleeps;           /* to come, before the next spin */
};

/* For a loop with a doorbell that is about to sleep: should it spin? */
bool spin_is_due (struct spin *s, const struct doorbell *b);

/* Then, when all of its requests were submitted: for up to `ns` (SYS_FOREVER:
** any time). True if it need not sleep. */
bool spin_wait (struct spin *s, struct doorbell *b,
                const struct io_uring *ring, int64_t ns);

#endif
