#include "compat.h"
#include "base/fork_id.h"

#include <sys/mman.h>
#include <unistd.h>

_Atomic uint32_t *_Atomic fork_id_page;

/* Not in the page: a child goes on counting from what it inherited. */
static _Atomic uint32_t numbers;


static _Atomic uint32_t *new_page (void) {
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
  if (p == NULL && (p = new_page()) == NULL)
    return 0;
  fresh = atomic_fetch_add(&numbers, 1) + 1;
  return atomic_compare_exchange_strong(p, &id, fresh) ? fresh : id;
}
