/*
** check: the frame of the C tests. A test is a function, CHECK counts its
** failures, and the last line that a program prints has the totals.
*/

#ifndef uring_check_h
#define uring_check_h

#include "compat.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned check_broken;

#define CHECK(what)	check_one((what) ? true : false, #what, __LINE__)

static inline bool check_one (bool ok, const char *what, int line) {
  if (!ok) {
    check_broken++;
    printf("line %d: false: %s\n", line, what);
  }
  return ok;
}

/* Pseudo-random, the same numbers in every run (xorshift). */
static uint64_t check_seed = 88172645463325252u;

static inline uint32_t check_random (uint32_t below) {
  check_seed ^= check_seed << 13;
  check_seed ^= check_seed >> 7;
  check_seed ^= check_seed << 17;
  return (uint32_t)(check_seed >> 32) % below;
}

struct check_test {
  const char *name;
  void (*f)(void);
};

#define TEST(name)	{#name, name}

static inline int check_run (const struct check_test *tests, unsigned n) {
  unsigned failed = 0;
  for (unsigned i = 0; i < n; i++) {
    check_broken = 0;
    tests[i].f();
    if (check_broken > 0) {
      failed++;
      printf("FAILED: %s\n", tests[i].name);
    }
  }
  printf("%u passed, %u failed\n", n - failed, failed);
  return failed > 0;
}

#define RUN(tests) \
  check_run((tests), (unsigned)(sizeof(tests) / sizeof(*(tests))))

#endif
