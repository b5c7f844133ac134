/*
** cpu: for threads that wait for each other by looking at memory. (No Lua in
** it.)
*/

#ifndef uring_cpu_h
#define uring_cpu_h

#include <sched.h>
#include <stdbool.h>

/* Between two looks at memory that another thread writes. */
static inline void cpu_relax (void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

/* May this thread run on one CPU only? Then what it waits for can only happen
** while it does not run. (More than CPU_SETSIZE are EINVAL.) */
static inline bool cpu_is_single (void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) == 1;
}

#endif
