/*
** box: each function first asks whether it is in a forked child: there
** a thread of the parent may have held the lock.
*/

#include "compat.h"
#include "worker/box.h"

#include "base/fork_id.h"
#include "worker/name_table.h"
#include "worker/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


uring_box *box_of (struct queue *q) {
  refblock_retain(&q->block);
  queue_add_sender(q);
  return (uring_box *)(void *)q;
}

int box_find (const char *realm, const char *name, size_t len,
              uring_box **box) {
  union {
    struct queue_name name;
    char bytes[sizeof(struct queue_name) + 2 * NAME_LENGTH + 2];
  } n;
  size_t nrealm = realm ? strlen(realm) : 0;
  struct queue *q;
  if (name == NULL || len == 0 || len > NAME_LENGTH
      || nrealm > NAME_LENGTH || memchr(name, 0, len))
    return -EINVAL;
  name_fill(&n.name, realm ? realm : "", nrealm, name, len);
  q = name_find(&n.name);
  if (q == NULL)
    return -ENOENT;
  *box = box_of(q);
  refblock_release(&q->block);
  return 0;
}

void box_hold (uring_box *box) {
  struct queue *q = box_queue(box);
  if (q->fork_id == fork_id()) box_of(q);
}

void box_release (uring_box *box) {
  struct queue *q = box_queue(box);
  if (q->fork_id != fork_id())
    return;
  queue_drop_sender(q);
  refblock_release(&q->block);
}

int box_post (uring_box *box, const uring_value *values, uint32_t n) {
  struct queue *q = box_queue(box);
  struct values_limits limits = { q->limits.bytes, q->kinds };
  uint64_t small[QUEUE_SMALL / 8];
  struct message *m;
  int rc;
  if (q->fork_id != fork_id())
    return -ESTALE;
  rc = values_encode(values, n, &limits, small, sizeof(small), &m);
  if (rc < 0)
    return rc;
  rc = queue_post_aside(q, m);
  if (rc < 0 && (void *)m != (void *)small) free(m);  /* (not disposed of) */
  return rc;
}
