/*
** call: see the header. What must not break: a call ends once, under its lock;
** doorbells are rung, and counts released, after the lock was freed.
*/

#include "compat.h"
#include "worker/call.h"

#include "base/fork_id.h"

#include <stdlib.h>


/* ---- telling ----------------------------------------------------------- */

static void side_ready (struct call_side *side, struct call *c,
                        struct loop *loop) {
  if (loop && side->owner) side->woken(side->owner, loop);
  refblock_release(&c->block);
}

static void caller_ready (struct ready_link *link, struct loop *loop) {
  struct call *c = (struct call *)(void *)
    ((char *)link - offsetof(struct call, caller.link));
  side_ready(&c->caller, c, loop);
}

static void server_ready (struct ready_link *link, struct loop *loop) {
  struct call *c = (struct call *)(void *)
    ((char *)link - offsetof(struct call, server.link));
  side_ready(&c->server, c, loop);
}

/* It ends so, if it is open: true. `other` is told, and neither side after
** that. */
static bool end_open (struct call *c, enum call_status status,
                      struct message *answer, struct call_side *other) {
  struct doorbell *doorbells[2] = { NULL, NULL };
  bool open;
  if (c->fork_id != fork_id())
    return false;  /* (a thread that is not here may hold the lock) */
  lock_take(&c->lock);
  open = call_status(c) == CALL_OPEN;
  if (open) {
    c->answer = answer;
    atomic_store_explicit(&c->status, (int)status, memory_order_release);
    doorbells[0] = other->doorbell;
    doorbells[1] = other == &c->caller ? c->server.doorbell
                                       : c->caller.doorbell;
    c->caller.doorbell = c->server.doorbell = NULL;
  }
  lock_free(&c->lock);
  if (doorbells[0]) {
    refblock_retain(&c->block);
    doorbell_link(doorbells[0], &other->link);
    if (doorbell_wanted(doorbells[0])) doorbell_ring(doorbells[0]);
    refblock_release(&doorbells[0]->block);
  }
  if (doorbells[1]) refblock_release(&doorbells[1]->block);
  return open;
}

enum call_status call_watch (struct call *c, struct call_side *side,
                             struct doorbell *doorbell) {
  bool watches;
  if (c->fork_id != fork_id())
    return CALL_LOST;
  lock_take(&c->lock);
  watches = call_status(c) == CALL_OPEN && side->doorbell == NULL;
  if (watches) {
    refblock_retain(&doorbell->block);
    side->doorbell = doorbell;
  }
  lock_free(&c->lock);
  return call_status(c);
}


/* ---- its ends ---------------------------------------------------------- */

bool call_answer (struct call *c, struct message *m) {
  return end_open(c, CALL_ANSWERED, m, &c->caller);
}

void call_lose (struct call *c) {
  end_open(c, CALL_LOST, NULL, &c->caller);
  refblock_release(&c->block);
}

void call_leave (struct call *c) {
  end_open(c, CALL_LEFT, NULL, &c->server);
}

static void release_slot (void *ud, const void *p, size_t len) {
  (void)p; (void)len;
  call_lose(ud);
}

struct message_block call_slot (struct call *c) {
  refblock_retain(&c->block);
  return (struct message_block){ NULL, 0, release_slot, c };
}

static void call_end (struct refblock *b) {
  struct call *c = (struct call *)b;
  if (c->answer) {
    message_dispose(c->answer);
    free(c->answer);
  }
  free(c);
}

struct call *call_new (uint64_t bytes) {
  struct call *c = calloc(1, sizeof(*c));
  if (c == NULL)
    return NULL;
  refblock_init(&c->block, call_end);
  c->fork_id = fork_id();
  c->bytes = bytes;
  c->caller.link.ready = caller_ready;
  c->server.link.ready = server_ready;
  return c;
}
