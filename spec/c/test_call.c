/* call: it ends once, as answered, lost or left, and the other side is told;
** however its two sides race, nothing is lost or leaked. */

#include "check_doorbell.h"
#include "base/clock.h"
#include "ring/sys.h"
#include "worker/call.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* `woken` is called for a loop; what it is does not matter here. */
#define A_LOOP  ((struct loop *)(void *)&ring)

static void open_all (void) {
  open_doorbell(0, doorbell_new_polled);
}

static _Atomic int disposed;
static int woken[2];         /* the caller's, the server's */

static void on_woken (void *owner, struct loop *loop) {
  (void)loop;
  (*(int *)owner)++;
}

static void on_dispose (void *ud, const void *p, size_t len) {
  (void)ud; (void)p; (void)len;
  atomic_fetch_add(&disposed, 1);
}

/* A message that says when it is disposed of. */
static struct message *an_answer (void) {
  struct message *m = calloc(1, sizeof(*m) + 4 * sizeof(uint64_t));
  struct message_block b = { NULL, 0, on_dispose, NULL };
  if (!CHECK(m != NULL)) exit(1);
  m->size = (uint32_t)(sizeof(*m) + 4 * sizeof(uint64_t));
  m->n = 1;
  m->flags = MESSAGE_OWNS;
  message_put_block(m->cells, MESSAGE_BLOCK, &b);
  return m;
}

static struct call *a_call (void) {
  struct call *c = call_new(1000);
  if (!CHECK(c != NULL)) exit(1);
  c->caller.owner = &woken[0];
  c->server.owner = &woken[1];
  c->caller.woken = c->server.woken = on_woken;
  woken[0] = woken[1] = 0;
  atomic_store(&disposed, 0);
  return c;
}

/* The slot, as a server takes it out of the message. */
static void take_slot (struct call *c) {
  struct message_block b = call_slot(c);
  CHECK(b.ud == c && b.release != NULL);
}

static bool were_woken (int caller, int server) {
  doorbell_serve(doorbell, A_LOOP, DOORBELL_ALL);
  return woken[0] == caller && woken[1] == server;
}

static void is_answered (void) {
  struct call *c = a_call();
  struct message *m = an_answer(), *late = an_answer();
  take_slot(c);
  CHECK(call_watch(c, &c->caller, doorbell) == CALL_OPEN);
  CHECK(call_watch(c, &c->caller, doorbell) == CALL_OPEN);
  CHECK(call_watch(c, &c->server, doorbell) == CALL_OPEN);
  CHECK(were_woken(0, 0));
  CHECK(call_answer(c, m));
  CHECK(!call_answer(c, late));
  free(late);
  CHECK(were_woken(1, 0));
  CHECK(call_status(c) == CALL_ANSWERED && c->answer == m);
  call_lose(c);
  call_leave(c);
  CHECK(call_status(c) == CALL_ANSWERED);
  CHECK(were_woken(1, 0) && disposed == 0);
  refblock_release(&c->block);
  CHECK(disposed == 1);
}

static void is_lost_with_its_message (void) {
  struct call *c = a_call();
  struct message_block b = call_slot(c);
  CHECK(call_watch(c, &c->caller, doorbell) == CALL_OPEN);
  b.release(b.ud, b.p, b.len);
  CHECK(were_woken(1, 0) && call_status(c) == CALL_LOST);
  CHECK(call_watch(c, &c->caller, doorbell) == CALL_LOST);
  CHECK(were_woken(1, 0));
  call_leave(c);
  refblock_release(&c->block);
}

static void is_left (void) {
  struct call *c = a_call();
  struct message *m = an_answer();
  take_slot(c);
  CHECK(call_watch(c, &c->caller, doorbell) == CALL_OPEN);
  CHECK(call_watch(c, &c->server, doorbell) == CALL_OPEN);
  call_leave(c);
  refblock_release(&c->block);
  CHECK(were_woken(0, 1) && call_status(c) == CALL_LEFT);
  CHECK(!call_answer(c, m));
  free(m);
  call_lose(c);
}

/* A side that has gone is not told, though it is in the ready list. */
static void tells_none_that_has_gone (void) {
  struct call *c = a_call();
  take_slot(c);
  call_watch(c, &c->caller, doorbell);
  CHECK(call_answer(c, an_answer()));
  c->caller.owner = NULL;
  refblock_release(&c->block);
  call_lose(c);
  CHECK(were_woken(0, 0) && disposed == 1);
}

#define RACES 5000

static struct call *_Atomic raced;
static _Atomic int answered;

static void *serve (void *unused) {
  struct call *c;
  for (unsigned i = 0; i < RACES; i++) {
    while ((c = atomic_exchange(&raced, NULL)) == NULL) sched_yield();
    if (i % 3 > 0) {
      struct message *m = an_answer();
      if (call_answer(c, m)) atomic_fetch_add(&answered, 1);
      else free(m);
    }
    call_lose(c);
  }
  return unused;
}

/* A thread answers or loses calls, which this one leaves or waits for. */
static void ends_once_in_a_race (void) {
  pthread_t thread;
  int taken = 0, lost = 0, left = 0;
  atomic_store(&answered, 0);
  if (!CHECK(pthread_create(&thread, NULL, serve, NULL) == 0)) exit(1);
  for (unsigned i = 0; i < RACES; i++) {
    struct call *c = call_new(1000);
    int told = 0;
    if (!CHECK(c != NULL)) exit(1);
    c->caller.owner = &told;
    c->caller.woken = on_woken;
    take_slot(c);
    while (atomic_load(&raced) != NULL) sched_yield();
    atomic_store(&raced, c);
    if (i % 2 == 0 && call_watch(c, &c->caller, doorbell) == CALL_OPEN)
      while (told == 0) doorbell_serve(doorbell, A_LOOP, DOORBELL_ALL);
    c->caller.owner = NULL;
    call_leave(c);
    switch (call_status(c)) {
      case CALL_ANSWERED: taken++; break;
      case CALL_LOST: lost++; break;
      default: left++;
    }
    refblock_release(&c->block);
    doorbell_serve(doorbell, A_LOOP, DOORBELL_ALL);
  }
  pthread_join(thread, NULL);
  CHECK(taken + lost + left == RACES);
  CHECK(taken == answered && lost > 0 && taken > 0);
}

int main (void) {
  static const struct check_test tests[] = {
    TEST(open_all), TEST(is_answered), TEST(is_lost_with_its_message),
    TEST(is_left), TEST(tells_none_that_has_gone), TEST(ends_once_in_a_race),
    TEST(close_all)
  };
  return SKIP_OR_RUN(tests);
}
