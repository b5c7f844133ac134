/*
** turn: submit, sleep, take and expire.
**
** The loop must not sleep while a task is ready or a completion is unreaped.
** What a step leaves for the next one must be seen by turn_at_hand.
*/

#include "compat.h"
#include "task/turn.h"

#include "ring/doorbell.h"
#include "ring/ring_reap.h"
#include "ring/ring_submit.h"
#include "lua/errors.h"
#include "api/ring_check.h"
#include "task/cancel_scope.h"
#include "task/inspect.h"
#include "task/ring_watch.h"
#include "task/wait.h"
#include "task/wait_cancel.h"

#include <stddef.h>

#include "compat.h"  /* again: now with Lua's headers before it */

#define RETRY_NS 1000000
#define MAX_NOMEM 100        /* retries without memory, until it is an error */
#define BATCH 64             /* of a doorbell, between two looks at the time */
#define DESCRIBED 1          /* stack index of a table with the text */


/* ---- deadlock ---------------------------------------------------------- */

static void describe_one (lua_State *L, struct loop *loop, struct task *t) {
  (void)loop;
  lua_rawgeti(L, DESCRIBED, 1);
  lua_pushliteral(L, "\n\t");
  inspect_push_description(L, t);
  lua_concat(L, 3);
  lua_rawseti(L, DESCRIBED, 1);
}

static void count_rung (lua_State *L, struct loop *loop, struct task *t) {
  (void)L;
  if (t->state == TASK_WAITING
      && (t->wait == WAIT_PARK ? t->rung
                               : t->wait == WAIT_QUEUE && t->waitq->rung))
    loop->nrung++;
}

/* Do all tasks wait for others, or for what is linked to the doorbell, and
** that by this state alone? It is seldom asked, when the loop has slept for a
** while: it costs, and another thread may need a moment to let go of what it
** has. */
static bool rings_alone (lua_State *L, struct loop *loop) {
  struct doorbell *b = loop->ring->doorbell;
  unsigned own = 1;  /* the ring's */
  if (b == NULL || loop->nap == CLOCK_NAP)
    return false;
  loop->nrung = 0;
  cancel_scope_each_task(L, loop, count_rung);
  if (loop->nlocal + loop->nrung < loop->ntasks)  /* guard: others are woken by
                                                    anything */
    return false;
  for (struct object_waitq *w = loop->state->waitqs; w; w = w->next)
    if (w->own_doorbells) own += w->own_doorbells(w, b);
  if (refblock_owners(&b->block) != own)  /* guard: or another can ring */
    return false;
  /* (After that: a thread links, and then lets go of its count. The model in
     spec/model/turns.pml proves that this look is needed.) */
  return !doorbell_has_ready(b);
}

/* No task is ready and no deadline is set: raise if nothing in flight can wake
** a task. */
static void check_deadlock (lua_State *L, struct loop *loop) {
  const struct op_table *t = &loop->ring->ops;
  unsigned unattended;
  if (loop->nlocal < loop->ntasks && !rings_alone(L, loop))
    return;
  unattended = loop_unattended(loop);
  if (t->flying > t->internal + t->silent_flying + unattended
      || loop->ring->held > unattended)
    return;
  for (struct watch *w = loop->watches; w; w = w->next)
    if (w->ring->held > 0)
      return;
  loop->deadlocked = true;
  lua_settop(L, DESCRIBED - 1);
  lua_createtable(L, 1, 0);
  lua_pushliteral(L, "deadlock: every task waits for another one:");
  lua_rawseti(L, DESCRIBED, 1);
  cancel_scope_each_task(L, loop, describe_one);
  lua_rawgeti(L, DESCRIBED, 1);
  lua_error(L);
}


/* ---- deadlines --------------------------------------------------------- */

unsigned turn_expire (struct loop *loop, int64_t now, unsigned most) {
  unsigned n = 0;
  for (; n < most && turn_due(loop, now); n++) {
    struct timer *top = heap_top(&loop->heap);
    heap_remove(&loop->heap, top);
    if (top->owner_id == 0)
      cancel_scope_expire(loop, (struct cancel_scope *)top);
    else loop_timed_out(loop, (struct task *)
                        ((char *)top - offsetof(struct task, timer)));
  }
  return n;
}

static void expire_all (struct loop *loop) {
  if (loop->heap.n > 0) {
    int64_t now = loop_time(loop);
    loop->now = clock_ms(now);
    turn_expire(loop, now, UINT_MAX);
  }
}


/* ---- a run's turn ------------------------------------------------------ */

/* Raise an error of io_uring_enter that will not pass. */
static void check_entered (lua_State *L, struct loop *loop, int rc) {
  switch (rc) {
    case -EINTR:
      ring_interrupted(L);
      break;
    case -EAGAIN: case -EBUSY: case -ENOMEM: case -ETIME:
      break;
    default:
      if (rc >= 0) break;
      fail_enter(L, -rc, loop->ring->io.ring_fd);
      luaL_error(L, "the loop cannot go on: %s", lua_tostring(L, -2));
  }
}

static void raise_no_memory (lua_State *L, struct loop *loop) {
  loop->nomem_turns = 0;
  luaL_error(L, "not enough memory for what has completed");
}

/* How long the loop may sleep now; 0: not at all. */
static int64_t longest_sleep (lua_State *L, struct loop *loop,
                              int64_t longest) {
  int64_t ns = longest;
  if (loop->first)
    return 0;
  if (loop->heap.n > 0 && !loop->host_time) {
    ns = clock_left(loop->heap.at[0].when);
    if (longest >= 0 && longest < ns) ns = longest;
  }
  else if (longest < 0)
    check_deadlock(L, loop);
  return loop->retry && (ns < 0 || ns > RETRY_NS) ? RETRY_NS : ns;
}

/* Wait awake, if that is likely to pay. True: there is something. */
static bool wait_awake (struct loop *loop, int64_t ns) {
  struct ring *own = loop->ring;
  if (!spin_is_due(&loop->spin, own->doorbell) || ring_is_blind(own)
      || (ring_needs_enter(own) && ring_enter(own, 0, SYS_FOREVER) < 0))
    return false;
  return spin_wait(&loop->spin, own->doorbell, &own->io, ns);
}

/* Enter the ring, and sleep there for up to `ns`. */
static int enter_own (struct loop *loop, int64_t ns) {
  struct ring *own = loop->ring;
  int rc = 0;
  unsigned wait = ns != 0;
  if (wait && own->doorbell && wait_awake(loop, ns)) wait = 0;
  if (wait && own->doorbell) {
    doorbell_arm(own->doorbell);
    /* Another thread may have linked something before it could see that. (The
       model proves that this check is needed; a nap would hide its lack.) */
    if (doorbell_has_ready(own->doorbell)) wait = 0;
  }
  if (wait || ring_needs_enter(own) || ring_is_blind(own)) {
    rc = ring_enter(own, wait, wait ? ns : SYS_FOREVER);
    /* A sleep ends with the first completion; the kernel may have task work
       for others. Run it now in one enter, and not in one for each turn. */
    if (wait && sys_cq_ready(&own->io) > 0 && sys_needs_enter(&own->io))
      ring_enter(own, 0, SYS_FOREVER);
    loop->now = loop_rough_time(loop);
  }
  if (own->doorbell) {
    doorbell_disarm(own->doorbell);
    doorbell_serve(own->doorbell, loop, DOORBELL_ALL);
  }
  return rc;
}

void turn_wait (lua_State *L, struct loop *loop, int64_t longest) {
  struct ring *own = loop->ring;
  int64_t ns;
  int rc, taken;
  loop->retry = false;
  if (loop->outputs) loop->before_enter(loop);
  ring_watch_own(loop);
  if (loop->watches) ring_watch_enter(loop, RING_WATCH_ALL);
  if (own->doorbell) doorbell_serve(own->doorbell, loop, DOORBELL_ALL);
  ns = longest_sleep(L, loop, longest);
  if (ns != 0) ns = clock_nap(ns, loop->nap);  /* guard: a hook is seen */
  rc = enter_own(loop, ns);
  taken = ring_reap(own);
  if (taken < 0 || loop->nomem_turns > MAX_NOMEM)  /* guard: not for ever */
    raise_no_memory(L, loop);
  if ((rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM)
      && taken == 0 && loop->first == NULL) clock_sleep(RETRY_NS);
  check_entered(L, loop, rc);
  for (struct watch *w = loop->watches; w; w = w->next)
    if (w->signaled) { ring_watch_enter(loop, RING_WATCH_ALL); break; }
  expire_all(loop);
  /* guard: only a whole nap without an event makes the next one longer */
  loop->nap = loop->first == NULL && rc == -ETIME && ns == loop->nap
              ? clock_next_nap(loop->nap) : CLOCK_NAP;
}


/* ---- a step's ---------------------------------------------------------- */

unsigned turn_serve_doorbell (struct loop *loop, unsigned most,
                              int64_t until) {
  struct doorbell *b = loop->ring->doorbell;
  unsigned total = 0;
  while (b && total < most && doorbell_has_ready(b)) {
    unsigned more = most - total;
    total += doorbell_serve(b, loop, more < BATCH ? more : BATCH);
    if (until != CLOCK_NEVER && clock_now() >= until) break;
  }
  return total;
}

unsigned turn_serve (lua_State *L, struct loop *loop, unsigned most,
                     int64_t until) {
  struct ring *own = loop->ring;
  unsigned total = 0;
  int rc = 0, n;
  loop->retry = false;
  if (loop->outputs) loop->before_enter(loop);
  if (loop->watches) total = ring_watch_enter(loop, most ? RING_BATCH : 0);
  if (ring_needs_enter(own) || ring_is_blind(own))
    rc = ring_enter(own, 0, SYS_FOREVER);
  while (total < most && sys_cq_ready(&own->io) > 0) {
    if ((n = ring_reap_batch(own)) < 0) raise_no_memory(L, loop);
    total += (unsigned)n;
    if (until != CLOCK_NEVER && clock_now() >= until) break;
  }
  check_entered(L, loop, rc);
  if (loop->nomem_turns > MAX_NOMEM) raise_no_memory(L, loop);
  return total;
}

void turn_submit (struct loop *loop) {
  struct ring *own = loop->ring;
  if (loop->outputs) loop->before_enter(loop);
  if (loop->watches) ring_watch_enter(loop, 0);
  if (own->ops.cancels.first || sys_sq_ready(&own->io) > 0)
    ring_enter(own, 0, SYS_FOREVER);
}

bool turn_at_hand (const struct loop *loop) {
  const struct ring *own = loop->ring;
  if (loop->first || loop->outputs || ring_needs_enter(own)
      || sys_cq_ready(&own->io) > 0
      || (own->doorbell && doorbell_has_ready(own->doorbell)))
    return true;
  for (const struct watch *w = loop->watches; w; w = w->next)
    if (ring_watch_needs(w))
      return true;
  return false;
}

bool turn_is_blind (const struct loop *loop) {
  if (ring_is_blind(loop->ring))
    return true;
  for (const struct watch *w = loop->watches; w; w = w->next)
    if (ring_is_blind(w->ring))
      return true;
  return false;
}
