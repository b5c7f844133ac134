/*
** fork_id: the page that the kernel zeroes on fork, and the counter that fills
** it. The counter must not lie in that page: a child has to go on counting
** from the value it inherited, or it would repeat one of its parent's numbers.
*/

#include "compat.h"
#include "base/fork_id.h"

#include <sys/mman.h>
#include <unistd.h>

_Atomic uint32_t *_Atomic fork_id_page;

static _Atomic uint32_t last_id;  /* not in the page: see above */


static _Atomic uint32_t *map_id_page (void) {
  _Atomic uint32_t *none = NULL;
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return NULL;
  if (madvise(p, size, MADV_WIPEONFORK) != 0  /* guard: a child must differ */
      || !atomic_compare_exchange_strong(&fork_id_page, &none, p)) {
    munmap(p, size);  /* (another thread was first) */
    return none;
  }
  return p;
}


uint32_t fork_id_first (void) {
  _Atomic uint32_t *p = atomic_load(&fork_id_page);
  uint32_t fresh, id = 0;
  if (p == NULL && (p = map_id_page()) == NULL)
    return 0;
  fresh = atomic_fetch_add(&last_id, 1) + 1;
  return atomic_compare_exchange_strong(p, &id, fresh) ? fresh : id;
}
