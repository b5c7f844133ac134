/*
** message: walks over messages. A descriptor is closed once, and a block is
** released once: what was closed or taken is none any more.
*/

#include "compat.h"
#include "worker/message.h"

#include <unistd.h>


uint64_t *message_next_fd (struct message *m, uint64_t *cell) {
  uint64_t *end = message_end(m);
  while (cell < end && message_kind(*cell) != MESSAGE_FD)
    cell += message_cells(*cell);
  return cell < end ? cell : NULL;
}

void message_put_block (uint64_t *cell, const struct message_block *b) {
  cell[0] = message_cell(MESSAGE_BLOCK, b->len);
  cell[1] = (uintptr_t)b->p;
  cell[2] = (uintptr_t)b->release;
  cell[3] = (uintptr_t)b->ud;
}

struct message_block message_take_block (uint64_t *cell) {
  struct message_block b;
  b.p = (const void *)(uintptr_t)cell[1];
  b.len = (size_t)message_count(cell[0]);
  b.release = (void (*)(void *, const void *, size_t))(uintptr_t)cell[2];
  b.ud = (void *)(uintptr_t)cell[3];
  cell[2] = 0;  /* (released once) */
  return b;
}

static void dispose_value (uint64_t *cell) {
  if (message_kind(*cell) == MESSAGE_FD) {
    int fd = (int)message_count(*cell);
    *cell = message_cell(MESSAGE_NIL, 0);  /* guard: closed once */
    close(fd);
  }
  else if (message_kind(*cell) == MESSAGE_BLOCK) {
    struct message_block b = message_take_block(cell);
    if (b.release) b.release(b.ud, b.p, b.len);
  }
}

void message_dispose (struct message *m) {
  uint64_t *cell = m->cells;
  if (m->fds == 0 && !(m->flags & MESSAGE_BLOCKS))
    return;
  for (; cell < message_end(m); cell += message_cells(*cell))
    dispose_value(cell);
}
