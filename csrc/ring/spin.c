/*
** spin: how long to look, what ends it, and what is learned from that. The
** memory that it looks at is read alone, never taken from.
*/

#include "compat.h"
#include "ring/spin.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "ring/sys.h"

#define LOOKS 128            /* between two yields */
#define LATE 30000           /* ns: others have run meanwhile */


static bool look (struct doorbell *b) {
  for (unsigned i = 0; i < LOOKS; i++) {
    if (doorbell_has_ready(b))
      return true;
    cpu_relax();
  }
  return false;
}

static bool has_completed (const struct io_uring *ring) {
  return sys_cq_ready(ring) > 0 || sys_needs_enter(ring);
}

/* True: something was linked. */
static bool wait_for_link (const struct io_uring *ring, struct doorbell *b,
                           int64_t ns) {
  int64_t now = clock_now(), before = now, end = clock_add(now, ns);
  while (now < end && now - before < LATE && !has_completed(ring)) {
    if (look(b))
      return true;
    sched_yield();
    before = now;
    now = clock_now();
  }
  return doorbell_has_ready(b);
}

bool spin_is_due (struct spin *s, const struct doorbell *b) {
  if (s->longest == 0 || !doorbell_is_shared(b))
    return false;
  if (s->sleeps == 0)
    return true;
  s->sleeps--;
  return false;
}

bool spin_wait (struct spin *s, struct doorbell *b,
                const struct io_uring *ring, int64_t ns) {
  s->count++;
  if (ns < 0 || ns > s->longest) ns = s->longest;
  if (wait_for_link(ring, b, ns)) {
    s->vain = 0;
    return true;
  }
  s->in_vain++;
  if (1u << s->vain < SPIN_SELDOM) s->vain++;
  s->sleeps = (1u << s->vain) - 1;
  return has_completed(ring);
}
