/*
** thread_id: a counter, and a thread-specific value that keeps what was drawn.
** That one ends with its thread, and allocates nothing in most. (Thread-local
** variables of a module that is loaded later may need memory at their first
** use, and end the process if there is none.)
*/

#include "compat.h"
#include "base/thread_id.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

static _Atomic uint64_t last_id;
static _Atomic uint64_t the_key;  /* and one; 0: not made yet */


/* The thread ends, and its values are cleared, one after another: a later one
** may be a state, which is closed there. (It is called some times at most.) */
static void keep_id (void *id) {
  pthread_setspecific((pthread_key_t)(atomic_load(&the_key) - 1), id);
}

/* The key of the process, made if need be. */
static bool find_key (pthread_key_t *key) {
  uint64_t known = atomic_load_explicit(&the_key, memory_order_acquire);
  if (known == 0) {
    if (pthread_key_create(key, keep_id) != 0)
      return false;
    if (atomic_compare_exchange_strong(&the_key, &known, *key + 1ull))
      return true;
    pthread_key_delete(*key);  /* (another thread was first) */
  }
  *key = (pthread_key_t)(known - 1);
  return true;
}

uint64_t thread_id (void) {
  pthread_key_t key;
  uint64_t id;
  if (!find_key(&key))
    return 0;
  id = (uintptr_t)pthread_getspecific(key);
  if (id == 0) {
    id = atomic_fetch_add(&last_id, 1) + 1;
    if (pthread_setspecific(key, (void *)(uintptr_t)id) != 0)
      return 0;
  }
  return id;
}
