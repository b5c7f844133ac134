/*
** ready: the queue of ready tasks, and how a waiting task enters it.
**
** Nothing here allocates or fails: wakeups come from completions.
*/

#include "compat.h"
#include "task/loop.h"

#include "base/fork_id.h"
#include "ring/doorbell.h"


void loop_notify_host (struct loop *loop) {
  struct doorbell *b = loop->ring->doorbell;
  loop->quiet = false;
  if (b && loop->fork_id == fork_id()) doorbell_notify(b);
}

/* (Tasks leave it only from the front, so it needs one link.) */
void loop_push_ready (struct loop *loop, struct task *t) {
  t->state = TASK_READY;
  t->node.next = NULL;
  if (loop->last) loop->last->next = &t->node; else loop->first = &t->node;
  loop->last = &t->node;
  if (loop->quiet) loop_notify_host(loop);  /* guard: or the host sleeps on */
}

struct task *loop_pop_ready (struct loop *loop) {
  struct wait_node *s = loop->first;
  if (s == NULL)
    return NULL;
  loop->first = s->next;
  if (s->next == NULL) loop->last = NULL;
  s->next = NULL;
  return (struct task *)s;
}

void loop_wake (struct loop *loop, struct task *t) {
  if (t->state != TASK_WAITING)
    return;
  if (t->timer.place) heap_remove(&loop->heap, &t->timer);
  if (loop_waits_locally(t)) loop->nlocal--;
  loop_push_ready(loop, t);
}
