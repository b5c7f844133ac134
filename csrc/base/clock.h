/*
** clock: the time base of all deadlines, nanoseconds of CLOCK_MONOTONIC.
** (No Lua in it.)
*/

#ifndef uring_clock_h
#define uring_clock_h

#include <stdint.h>
#include <time.h>

#define CLOCK_NEVER INT64_MAX

static inline int64_t clock_now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* The coarse clock is cheaper, and lags by one tick, of up to 10 ms. */
static inline int64_t clock_coarse (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
  return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Milliseconds, wrapping, for durations that are only reported: of a given
** time, and of now. */
static inline uint32_t clock_ms (int64_t ns) {
  return (uint32_t)(uint64_t)(ns / 1000000);
}

static inline uint32_t clock_rough (void) {
  return clock_ms(clock_coarse());
}

/* The deadline `ns` from now; CLOCK_NEVER stays CLOCK_NEVER. */
static inline int64_t clock_add (int64_t now, int64_t ns) {
  return ns > CLOCK_NEVER - now ? CLOCK_NEVER : now + ns;
}

static inline int64_t clock_after (int64_t ns) {
  return ns == CLOCK_NEVER ? CLOCK_NEVER : clock_add(clock_now(), ns);
}

/* A duration in seconds as nanoseconds: negative is 0, too large or NaN is
** CLOCK_NEVER. */
static inline int64_t clock_from_seconds (double seconds) {
  double ns = seconds * 1e9;
  return !(ns < 9.2e18) ? CLOCK_NEVER : ns > 0 ? (int64_t)ns : 0;
}

/* Nanoseconds left until `deadline`, as a wait takes them: -1 is forever. */
static inline int64_t clock_left (int64_t deadline) {
  int64_t left;
  if (deadline == CLOCK_NEVER) return -1;
  left = deadline - clock_now();
  return left > 0 ? left : 0;
}

/* Sleep for less than a second; a signal may end the sleep early. */
static inline void clock_sleep (int64_t ns) {
  struct timespec ts = { 0, (long)ns };
  nanosleep(&ts, NULL);
}

/* A signal handler that runs just before a sleep begins, and for instance
** sets a Lua hook, does not end the sleep. So a long sleep is cut into naps,
** and the sleeper re-checks after each: the first is CLOCK_NAP long, and each
** one after it twice as long as the one before. */
#define CLOCK_NAP 50000000

static inline int64_t clock_nap (int64_t left, int64_t nap) {
  return left < 0 || left > nap ? nap : left;
}

static inline int64_t clock_next_nap (int64_t nap) {
  return nap < CLOCK_NEVER / 2 ? nap * 2 : nap;
}

#endif
