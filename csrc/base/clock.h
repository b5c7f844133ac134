/*
** clock: the time that all deadlines are kept in: nanoseconds of
** CLOCK_MONOTONIC. (No Lua in it.)
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

/* For telling how long something has lasted: ms, wrapping; of a time, and of
** now, some ms late. */
static inline uint32_t clock_ms (int64_t ns) {
  return (uint32_t)(uint64_t)(ns / 1000000);
}

static inline uint32_t clock_rough (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
  return (uint32_t)((uint64_t)ts.tv_sec * 1000
                    + (uint64_t)ts.tv_nsec / 1000000);
}

/* A deadline `ns` from now; never stays never. */
static inline int64_t clock_after (int64_t ns) {
  int64_t now;
  if (ns == CLOCK_NEVER) return CLOCK_NEVER;
  now = clock_now();
  return ns > CLOCK_NEVER - now ? CLOCK_NEVER : now + ns;
}

/* The same for a time in seconds. */
static inline int64_t clock_of (double seconds) {
  double ns = seconds * 1e9;
  return !(ns < 9.2e18) ? CLOCK_NEVER : ns > 0 ? (int64_t)ns : 0;
}

/* What is left until `deadline`, for a wait: -1 is for ever. */
static inline int64_t clock_left (int64_t deadline) {
  int64_t left;
  if (deadline == CLOCK_NEVER) return -1;
  left = deadline - clock_now();
  return left > 0 ? left : 0;
}

/* A short sleep of less than a second, which a signal may end. */
static inline void clock_sleep (int64_t ns) {
  struct timespec ts = { 0, (long)ns };
  nanosleep(&ts, NULL);
}

/* What the handler of a signal does just before a sleep begins, such as to set
** a hook, the sleeper does not see. So whoever sleeps wakes up now and then to
** look: soon after he began, then in twice the time, and so on. */
#define CLOCK_NAP 50000000

static inline int64_t clock_napping (int64_t left, int64_t nap) {
  return left < 0 || left > nap ? nap : left;
}

static inline int64_t clock_longer (int64_t nap) {
  return nap < CLOCK_NEVER / 2 ? nap * 2 : nap;
}

#endif
