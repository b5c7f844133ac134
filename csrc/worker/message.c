/*
** message: walks over the cells of messages. What must not break: a descriptor
** is closed once, and a block is released once. So the cell of what was closed
** or taken is changed first.
*/

#include "compat.h"
#include "worker/message.h"

#include "base/nocancel.h"


uint64_t *message_next_fd (struct message *m, uint64_t *cell) {
  uint64_t *end = message_end(m);
  while (cell < end && message_kind(*cell) != MESSAGE_FD)
    cell += message_cells(*cell);
  return cell < end ? cell : NULL;
}

void message_put_block (uint64_t *cell, enum message_kind kind,
                        const struct message_block *b) {
  cell[0] = message_cell(kind, b->len);
  cell[1] = (uintptr_t)b->p;
  cell[2] = (uintptr_t)b->release;
  cell[3] = (uintptr_t)b->ud;
}

struct message_block message_block (const uint64_t *cell) {
  struct message_block b;
  b.p = (const void *)(uintptr_t)cell[1];
  b.len = (size_t)message_count(cell[0]);
  b.release = (void (*)(void *, const void *, size_t))(uintptr_t)cell[2];
  b.ud = (void *)(uintptr_t)cell[3];
  return b;
}

struct message_block message_take_block (uint64_t *cell) {
  struct message_block b = message_block(cell);
  cell[2] = 0;  /* guard: released once */
  return b;
}

/* The values that must follow after this one, inside of it; -1: it is none. */
static int64_t values_inside (uint64_t cell, unsigned flags,
                              uint64_t *tables) {
  uint64_t n = message_count(cell);
  switch (message_kind(cell)) {
    case MESSAGE_ARRAY: (*tables)++; return (int64_t)n;
    case MESSAGE_TABLE:
      (*tables)++;
      return (int64_t)(message_items(cell) + 2 * message_pairs(cell));
    case MESSAGE_SHARED:
      return flags & MESSAGE_GRAPH && n < *tables ? 0 : -1;
    default:
      return message_kind(cell) < MESSAGE_BLOCK
             || (message_kind(cell) < MESSAGE_KINDS && flags & MESSAGE_OWNS)
             ? 0 : -1;
  }
}

bool message_is_sound (const struct message *m) {
  const uint64_t *cell = m->cells;
  uint64_t left, tables = 0, values = m->n;
  unsigned fds = 0;
  if (m->size < sizeof(*m) || m->size % 8 != 0 || m->n == 0)
    return false;
  left = (m->size - sizeof(*m)) / 8;
  while (values > 0) {
    int64_t inside;
    uint64_t cells;
    if (values > left)  /* (each takes one cell: so the sum cannot overflow) */
      return false;
    inside = values_inside(*cell, m->flags, &tables);
    cells = message_cells(*cell);
    if (inside < 0 || cells > left)
      return false;
    if (message_kind(*cell) == MESSAGE_FD
        || message_kind(*cell) == MESSAGE_SOCKET) fds++;
    values += (uint64_t)inside - 1;
    cell += cells;
    left -= cells;
  }
  return left == 0 && fds == m->fds;
}

static void dispose_value (uint64_t *cell) {
  if (message_kind(*cell) == MESSAGE_FD) {
    int fd = (int)message_count(*cell);
    *cell = message_cell(MESSAGE_NIL, 0);  /* guard: closed once */
    nocancel_close(fd);
  }
  else if (message_is_block(*cell)) {
    struct message_block b = message_take_block(cell);
    if (b.release) b.release(b.ud, b.p, b.len);
  }
}

void message_dispose (struct message *m) {
  uint64_t *cell = m->cells;
  if (m->fds == 0 && !(m->flags & MESSAGE_OWNS))
    return;
  for (; cell < message_end(m); cell += message_cells(*cell))
    dispose_value(cell);
}
