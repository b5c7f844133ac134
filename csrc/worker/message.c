/*
** message: walks over messages. A descriptor is closed once: what was closed
** or taken is no descriptor any more.
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

void message_dispose (struct message *m) {
  uint64_t *cell = m->fds > 0 ? message_next_fd(m, m->cells) : NULL;
  for (; cell; cell = message_next_fd(m, cell)) {
    int fd = (int)message_count(*cell);
    *cell = message_cell(MESSAGE_NIL, 0);  /* guard: closed once */
    close(fd);
  }
}
