/* queue: messages arrive once and in order, within bounds; waiting senders are
 * served in their order; nothing is lost by a close, or among threads. */

#include "check.h"
#include "check_polled.h"
#include "worker/queue.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct queue_limits some = { 4, 100000, 4 };

static struct queue *new_queue (uint64_t messages, uint64_t bytes) {
  struct queue_limits limits = some;
  struct queue *q;
  limits.messages = messages;
  limits.bytes = bytes;
  q = queue_new(&limits);
  if (!CHECK(q != NULL)) exit(1);
  return q;
}

/* A message with an integer and a string of so many bytes. */
static struct message *message (int64_t i, size_t len) {
  size_t size = sizeof(struct message) + 24 + message_string_cells(len) * 8;
  struct message *m = calloc(1, size);
  if (!CHECK(m != NULL)) exit(1);
  m->size = (uint32_t)size;
  m->n = 2;
  m->cost = MESSAGE_COST + 2 * MESSAGE_COST_OF_VALUE + (len + 7) / 8 * 8;
  m->cells[0] = message_cell(MESSAGE_INTEGER, 0);
  m->cells[1] = (uint64_t)i;
  m->cells[2] = message_cell(MESSAGE_STRING, len);
  memset(&m->cells[3], (int)(i & 255), len);
  return m;
}

static struct message *message_with_fd (int fd) {
  struct message *m = message(0, 0);
  m->fds = 1;
  m->cells[0] = message_cell(MESSAGE_FD, (uint64_t)fd);
  m->cells[1] = message_cell(MESSAGE_NIL, 0);
  return m;
}

static int post (struct queue *q, int64_t i, size_t len) {
  struct message *m = message(i, len);
  bool small = m->size <= QUEUE_SMALL;
  int rc = queue_post(q, m);
  if (rc < 0 || small) free(m);
  return rc;
}

/* Take one: its integer; -1: there is none, and so on. */
static int64_t take (struct queue *q) {
  struct message *m;
  int64_t i;
  int rc = queue_read(q, &m);
  if (rc <= 0) return rc - 1;
  i = (int64_t)m->cells[1];
  for (uint64_t n = 0; n < message_count(m->cells[2]); n++)
    if (!CHECK(((unsigned char *)&m->cells[3])[n] == (i & 255)))
      break;
  queue_taken(q);
  return i;
}

static void drop (struct queue *q) {
  queue_close(q, false);
  refblock_release(&q->block);
}

static bool adds_up (struct queue *q) {
  struct queue_stats s;
  queue_stats(q, &s);
  return s.accepted.messages == s.received + s.undelivered
                                + s.queued.messages;
}


/* ---- one thread -------------------------------------------------------- */

static void in_order_and_bounded_by_count (void) {
  struct queue *q = new_queue(4, 100000);
  int64_t next = 0, got = 0;
  CHECK(take(q) == -1);
  for (int round = 0; round < 1000; round++) {
    while (post(q, next, check_random(40)) == 0) next++;
    CHECK(next - got == 4);
    for (uint32_t n = check_random(5); n > 0; n--) CHECK(take(q) == got++);
  }
  while (got < next) CHECK(take(q) == got++);
  CHECK(take(q) == -1 && adds_up(q));
  drop(q);
}

static void bounded_by_bytes (void) {
  struct queue *q = new_queue(1000, 1000);
  CHECK(post(q, 1, 5000) == -EMSGSIZE);
  CHECK(post(q, 1, 700) == 0);
  CHECK(post(q, 2, 100) == -EAGAIN);  /* 128 + 104, and 172 are left */
  CHECK(post(q, 2, 40) == 0);
  CHECK(post(q, 3, 8) == -EAGAIN);
  CHECK(take(q) == 1);
  CHECK(post(q, 3, 8) == 0);
  CHECK(take(q) == 2 && take(q) == 3 && take(q) == -1);
  drop(q);
}

static void sizes_of_all_kinds (void) {
  struct queue *q = new_queue(100000, 1 << 30);
  int64_t next = 0, got = 0;
  for (int round = 0; round < 60; round++) {
    for (uint32_t n = check_random(400); n > 0; n--)
      CHECK(post(q, next++, check_random(4) ? check_random(60)
                                            : check_random(3000)) == 0);
    for (uint32_t n = check_random(400); n > 0 && got < next; n--)
      CHECK(take(q) == got++);
  }
  while (got < next) CHECK(take(q) == got++);
  CHECK(adds_up(q));
  drop(q);
}

static void descriptors_are_bounded_and_closed (void) {
  struct queue *q = new_queue(100, 100000);
  struct message *m;
  int ends[2];
  char c;
  for (int i = 0; i < 4; i++) {
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    m = message_with_fd(ends[1]);
    CHECK(queue_post(q, m) == 0);
    free(m);
    if (i < 3) close(ends[0]);
  }
  m = message_with_fd(0);
  CHECK(queue_post(q, m) == -EAGAIN);
  free(m);
  CHECK(queue_read(q, &m) == 1 && message_next_fd(m, m->cells) == m->cells);
  message_dispose(m);
  CHECK(message_next_fd(m, m->cells) == NULL);
  queue_taken(q);
  CHECK(queue_close(q, false) == 3);
  CHECK(read(ends[0], &c, 1) == 0);  /* the other end is closed */
  close(ends[0]);
  refblock_release(&q->block);
}

static void a_message_that_is_not_taken_stays (void) {
  struct queue *q = new_queue(4, 100000);
  struct message *m, *again;
  post(q, 7, 3);
  CHECK(queue_read(q, &m) == 1);
  CHECK(queue_read(q, &again) == -EBUSY);
  queue_unread(q);
  CHECK(take(q) == 7 && take(q) == -1);
  drop(q);
}

static void closed_while_one_is_read (void) {
  for (int taken = 0; taken < 2; taken++) {
    struct queue *q = new_queue(4, 100000);
    struct queue_stats s;
    struct message *m;
    for (int i = 0; i < 3; i++) post(q, i, 2000);
    CHECK(queue_read(q, &m) == 1);
    CHECK(queue_close(q, false) == 2);
    CHECK(m->cells[1] == 0);  /* (under ASAN: not freed) */
    CHECK(post(q, 9, 1) == -EPIPE);
    if (taken) queue_taken(q);
    else queue_unread(q);
    queue_stats(q, &s);
    CHECK(s.undelivered == (taken ? 2 : 3) && adds_up(q));
    CHECK(queue_read(q, &m) == -EBADF);
    drop(q);
  }
}

/* A call that comes back after such a close, which keeps messages, is lost. */
static void a_call_that_comes_back_is_lost (void) {
  struct queue *q = new_queue(4, 100000);
  struct message *m;
  int ends[2];
  CHECK(pipe(ends) == 0);
  m = message_with_fd(ends[1]);
  m->flags |= MESSAGE_CALL;
  CHECK(queue_post(q, m) == 0);
  free(m);
  post(q, 1, 10);
  CHECK(queue_read(q, &m) == 1);
  CHECK(queue_close(q, true) == 1);
  CHECK(fcntl(ends[1], F_GETFD) >= 0);  /* (it is still read) */
  queue_unread(q);
  CHECK(fcntl(ends[1], F_GETFD) < 0);
  CHECK(queue_read(q, &m) == 1 && (m->flags & MESSAGE_CALL));
  queue_taken(q);
  CHECK(take(q) == 1);
  close(ends[0]);
  drop(q);
}

static void no_senders_is_a_state (void) {
  struct queue *q = new_queue(4, 100000);
  CHECK(take(q) == -1);  /* there never was one */
  queue_add_sender(q);
  post(q, 1, 1);
  queue_drop_sender(q);
  CHECK(take(q) == 1 && take(q) == -EPIPE - 1);
  queue_add_sender(q);
  CHECK(take(q) == -1);
  queue_drop_sender(q);
  q->named = true;
  CHECK(take(q) == -1);
  drop(q);
}

static unsigned woken;

static void count_woken (void *reader, struct loop *loop) {
  (void)reader; (void)loop;
  woken++;
}

static void the_reader_is_woken_once (void) {
  struct queue *q = new_queue(8, 100000);
  struct doorbell *b = new_doorbell();
  q->reader = q;
  q->woken = count_woken;
  woken = 0;
  queue_want(q, b, 0);
  CHECK(!doorbell_has_ready(b));
  doorbell_arm(b);
  CHECK(post(q, 1, 1) == 0 && post(q, 2, 1) == 0);
  CHECK(!doorbell_wanted(b));  /* the first has rung */
  CHECK(doorbell_has_ready(b));
  queue_want(q, b, 2);  /* (it is linked already) */
  CHECK(post(q, 3, 1) == 0);
  CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == 1);
  CHECK(!doorbell_serve(b, (struct loop *)b, DOORBELL_ALL));
  queue_want(q, b, 2);  /* it is there: at once */
  CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == 2);
  queue_want(q, b, 3);
  CHECK(!doorbell_has_ready(b));
  CHECK(take(q) == 1 && take(q) == 2 && take(q) == 3);
  queue_add_sender(q);
  queue_want(q, b, 0);
  CHECK(!doorbell_has_ready(b));
  queue_drop_sender(q);  /* no sender is left */
  CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == 3);
  queue_want(q, b, 0);
  CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == 4);
  drop(q);
  refblock_release(&b->block);
}

static void a_bell_outlives_what_it_was_told_of (void) {
  struct queue *q = new_queue(8, 100000);
  struct doorbell *b = new_doorbell();
  queue_want(q, b, 0);
  CHECK(post(q, 1, 1) == 0);
  drop(q);  /* it is in the ready list */
  refblock_release(&b->block);
}


/* ---- senders that wait ------------------------------------------------- */

static struct queue_sender *sender (int64_t i, size_t len) {
  struct message *m = message(i, len);
  struct queue_sender *s = queue_sender_new(m, m->cost, m->fds);
  if (!CHECK(s != NULL)) exit(1);
  return s;
}

static void let_go (struct queue_sender *s) {
  refblock_release(&s->block);
}

static void a_waiting_sender_is_served_first (void) {
  struct queue *q = new_queue(2, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s = sender(3, 1), *t = sender(4, 1);
  post(q, 1, 1);
  post(q, 2, 1);
  CHECK(queue_wait(q, s, b) == SEND_WAITS);
  CHECK(queue_wait(q, t, b) == SEND_WAITS);
  CHECK(take(q) == 1);
  CHECK(queue_result(s) == SEND_ACCEPTED && queue_result(t) == SEND_WAITS);
  CHECK(post(q, 5, 1) == -EAGAIN);
  CHECK(queue_withdraw(q, s) == SEND_ACCEPTED);  /* too late */
  CHECK(queue_withdraw(q, t) == SEND_WITHDRAWN);
  CHECK(take(q) == 2 && take(q) == 3 && take(q) == -1);
  CHECK(doorbell_serve(b, NULL, DOORBELL_ALL));
  CHECK(adds_up(q));
  let_go(s);
  let_go(t);
  drop(q);
  refblock_release(&b->block);
}

static void a_withdrawal_serves_those_behind (void) {
  struct queue *q = new_queue(10, 1000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *big = sender(2, 600), *small = sender(3, 8);
  post(q, 1, 400);
  CHECK(queue_wait(q, big, b) == SEND_WAITS);
  CHECK(queue_wait(q, small, b) == SEND_WAITS);  /* not overtaken */
  CHECK(post(q, 9, 8) == -EAGAIN);  /* although there is space for it */
  queue_want(q, b, 1);
  doorbell_arm(b);
  CHECK(queue_withdraw(q, big) == SEND_WITHDRAWN);
  CHECK(queue_result(small) == SEND_ACCEPTED);
  CHECK(!doorbell_wanted(b));  /* the reader's was rung as well */
  CHECK(take(q) == 1 && take(q) == 3);
  let_go(big);
  let_go(small);
  drop(q);
  refblock_release(&b->block);
}

static void room_is_seen_when_a_sender_stands (void) {
  struct queue *q = new_queue(1, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s = sender(2, 1);
  post(q, 1, 1);
  CHECK(take(q) == 1);
  CHECK(queue_wait(q, s, b) == SEND_ACCEPTED);
  CHECK(take(q) == 2);
  let_go(s);
  drop(q);
  refblock_release(&b->block);
}

/* One of the reader's state, or of another. */
static struct queue_sender *asker (size_t len, const void *state) {
  struct message *m = message(0, len);
  struct queue_sender *s = queue_sender_new(NULL, m->cost, m->fds);
  if (!CHECK(s != NULL)) exit(1);
  s->state = state;
  free(m);
  return s;
}

static int post_offered (struct queue *q, struct queue_sender *s, int64_t i) {
  struct message *m = message(i, 1);
  int rc = queue_post_offered(q, s, m);
  free(m);
  return rc;
}

static int post_aside (struct queue *q, int64_t i) {
  struct message *m = message(i, 1);
  int rc = queue_post_aside(q, m);
  free(m);
  return rc;
}

static void one_place_is_offered_to_one_asker (void) {
  struct queue *q = new_queue(1, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s = asker(1, q), *t = asker(1, q), *u = sender(3, 1);
  q->reader_state = q;
  post(q, 0, 1);
  CHECK(queue_wait(q, s, b) == SEND_WAITS);
  CHECK(queue_wait(q, t, b) == SEND_WAITS);
  CHECK(queue_wait(q, u, b) == SEND_WAITS);
  CHECK(take(q) == 0 && take(q) == -1);
  queue_want(q, b, 0);
  CHECK(queue_result(s) == SEND_TRY_AGAIN && queue_result(t) == SEND_WAITS);
  CHECK(post(q, 9, 1) == -EAGAIN);
  CHECK(post_offered(q, t, 9) == -EAGAIN && queue_result(t) == SEND_WAITS);
  CHECK(post_offered(q, s, 1) == 0 && queue_result(s) == SEND_ACCEPTED);
  CHECK(queue_result(t) == SEND_WAITS && post(q, 9, 1) == -EAGAIN);
  CHECK(take(q) == 1 && queue_result(t) == SEND_TRY_AGAIN);
  CHECK(queue_result(u) == SEND_WAITS);
  CHECK(queue_withdraw(q, t) == SEND_WITHDRAWN);  /* it passes it on */
  CHECK(queue_result(u) == SEND_ACCEPTED && take(q) == 3);
  CHECK(post(q, 4, 1) == 0 && take(q) == 4);
  while (doorbell_serve(b, NULL, DOORBELL_ALL)) {}
  CHECK(adds_up(q));
  let_go(s);
  let_go(t);
  let_go(u);
  drop(q);
  refblock_release(&b->block);
}

/* Of a loop that does not step: what it was offered goes to the others. */
static void an_asker_that_does_not_try_stops_no_others (void) {
  struct queue *q = new_queue(2, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s = asker(1, b), *t = sender(3, 1), *u = sender(4, 1);
  post(q, 1, 1);
  post(q, 2, 1);
  CHECK(queue_wait(q, s, b) == SEND_WAITS);
  CHECK(queue_wait(q, t, b) == SEND_WAITS);
  CHECK(queue_wait(q, u, b) == SEND_WAITS);
  CHECK(take(q) == 1 && queue_result(s) == SEND_TRY_AGAIN);
  CHECK(queue_result(t) == SEND_WAITS);  /* (there still is a message) */
  CHECK(take(q) == 2 && queue_result(t) == SEND_ACCEPTED);
  CHECK(take(q) == 3 && queue_result(u) == SEND_ACCEPTED);
  CHECK(post(q, 5, 1) == -EAGAIN);
  CHECK(take(q) == 4 && take(q) == -1);
  CHECK(post(q, 5, 1) == 0 && post(q, 6, 1) == 0);
  CHECK(post(q, 7, 1) == -EAGAIN);
  CHECK(post_offered(q, s, 8) == 0);  /* late, but it had an offer */
  CHECK(take(q) == 5 && take(q) == 6 && take(q) == 8 && take(q) == -1);
  while (doorbell_serve(b, NULL, DOORBELL_ALL)) {}
  let_go(s);
  let_go(t);
  let_go(u);
  drop(q);
  refblock_release(&b->block);
}

static void an_offer_in_vain_keeps_the_place (void) {
  struct queue *q = new_queue(1, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s[3];
  post(q, 0, 1);
  for (int i = 0; i < 3; i++) {
    s[i] = asker(1, b);
    CHECK(queue_wait(q, s[i], b) == SEND_WAITS);
  }
  queue_want(q, b, 1);  /* it waits: no space is held */
  CHECK(take(q) == 0);
  for (int i = 0; i < 3; i++) CHECK(queue_result(s[i]) == SEND_TRY_AGAIN);
  CHECK(post(q, 1, 1) == 0);
  CHECK(post_offered(q, s[0], 2) == 0);  /* beside: one more */
  CHECK(post_offered(q, s[2], 9) == -EAGAIN);
  CHECK(post_offered(q, s[1], 9) == -EAGAIN);
  CHECK(take(q) == 1 && queue_result(s[1]) == SEND_WAITS);
  CHECK(take(q) == 2 && queue_result(s[1]) == SEND_TRY_AGAIN);
  CHECK(queue_result(s[2]) == SEND_WAITS);
  CHECK(queue_close(q, false) == 0);
  CHECK(queue_result(s[1]) == SEND_REFUSED);
  CHECK(queue_withdraw(q, s[2]) == SEND_REFUSED);
  CHECK(post_offered(q, s[1], 9) == -EPIPE);
  while (doorbell_serve(b, NULL, DOORBELL_ALL)) {}
  for (int i = 0; i < 3; i++) let_go(s[i]);
  drop(q);
  refblock_release(&b->block);
}

static void an_asker_is_woken_for_each_offer (void) {
  struct queue *q = new_queue(1, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s = asker(1, b);
  s->owner = s;
  s->woken = count_woken;
  woken = 0;
  post(q, 0, 1);
  CHECK(queue_wait(q, s, b) == SEND_WAITS);
  for (unsigned i = 1; i < 4; i++) {
    queue_want(q, b, 1);  /* it waits: no space is held */
    CHECK(take(q) == 0 && queue_result(s) == SEND_TRY_AGAIN);
    CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == i);
    CHECK(post(q, 0, 1) == 0 && post_aside(q, 0) == 0);
    CHECK(post_offered(q, s, 9) == -EAGAIN && queue_result(s) == SEND_WAITS);
    CHECK(take(q) == 0);
  }
  CHECK(queue_withdraw(q, s) == SEND_WITHDRAWN);
  let_go(s);
  drop(q);
  refblock_release(&b->block);
}

static void a_monitor_that_leaves_is_let_go (void) {
  struct queue *q = new_queue(1, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s = asker(0, NULL), *t = asker(0, NULL);
  CHECK(queue_monitor(q, s, b) == SEND_WAITS);
  CHECK(queue_monitor(q, t, b) == SEND_WAITS);
  CHECK(refblock_owners(&s->block) == 2);
  queue_unmonitor(q, s);
  CHECK(refblock_owners(&s->block) == 1);
  CHECK(refblock_owners(&b->block) == 2);  /* (the other one's) */
  queue_close(q, false);
  CHECK(queue_result(s) == SEND_WAITS && queue_result(t) == SEND_REFUSED);
  queue_unmonitor(q, t);  /* too late */
  CHECK(doorbell_serve(b, NULL, DOORBELL_ALL));
  CHECK(refblock_owners(&t->block) == 1);
  let_go(s);
  let_go(t);
  drop(q);
  refblock_release(&b->block);
}

/* (To walk along all of them for each took half a minute.) */
static void a_notice_looks_at_no_other (void) {
  enum { N = 200000 };
  struct queue *q = new_queue(4, 1000);
  struct queue_notice *all = calloc(N, sizeof(*all)), *n;
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int64_t began = clock_now();
  unsigned i = 0;
  queue_set_eventfd(q, fd);
  for (; i < N; i++) queue_notify(q, &all[i]);
  CHECK(clock_now() - began < 5000000000);
  for (i = 0; (n = queue_first_notice(q)) == &all[i] && i < N - 1; i++)
    queue_drop_notice(q);
  CHECK(i == N - 1);
  queue_drop_notice(q);
  CHECK(queue_first_notice(q) == NULL && queue_notify(q, &all[1]));
  CHECK(queue_first_notice(q) == &all[1]);
  queue_drop_notice(q);
  CHECK(queue_rest(q));
  refblock_release(&q->block);
  close(fd);
  free(all);
}

static void closing_refuses_waiting_senders (void) {
  struct queue *q = new_queue(1, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s[3];
  post(q, 0, 1);
  for (int i = 0; i < 3; i++) {
    s[i] = sender(i, 600);
    CHECK(queue_wait(q, s[i], b) == SEND_WAITS);
  }
  CHECK(queue_close(q, false) == 1);
  for (int i = 0; i < 3; i++) {
    CHECK(queue_result(s[i]) == SEND_REFUSED && s[i]->message != NULL);
    CHECK(queue_wait(q, s[i], b) == SEND_REFUSED);
    let_go(s[i]);
  }
  drop(q);
  refblock_release(&b->block);
}

/* As if another thread had the lock, and had lost its processor: whatever the
 * reader does it does not wait. (It would for ever.) */
static void the_reader_waits_for_no_lock (void) {
  struct queue *q = new_queue(2, 100000);
  struct doorbell *b = new_doorbell();
  struct queue_sender *s = sender(3, 1);
  q->reader = q;
  q->woken = count_woken;
  woken = 0;
  alarm(20);
  queue_want(q, b, 0);
  post(q, 1, 1);
  post(q, 2, 1);
  CHECK(queue_wait(q, s, b) == SEND_WAITS);
  lock_take(&q->lock);
  CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == 1);
  CHECK(queue_count(q, 3) == 2);
  CHECK(take(q) == 1 && take(q) == 2 && take(q) == -1);
  queue_want(q, b, 0);
  CHECK(!doorbell_has_ready(b) && queue_result(s) == SEND_WAITS);
  lock_free(&q->lock);
  CHECK(!queue_is_closed(q));  /* whatever frees it does what was asked */
  CHECK(queue_result(s) == SEND_ACCEPTED);
  CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == 2);
  CHECK(take(q) == 3 && take(q) == -1);
  lock_take(&q->lock);
  queue_want(q, b, 0);
  lock_free(&q->lock);
  CHECK(post(q, 4, 1) == 0);
  CHECK(doorbell_serve(b, (struct loop *)b, DOORBELL_ALL) && woken == 3);
  alarm(0);
  let_go(s);
  drop(q);
  refblock_release(&b->block);
}


/* ---- threads ----------------------------------------------------------- */

/* Senders in threads of their own, each with a loop's end. What they send, how
** long they dawdle, whether they wait or give up, is drawn by lot. */

#define SENDERS 4

static struct {
  struct queue *q;
  unsigned rounds;
  _Atomic uint64_t accepted, withdrawn, refused;
  _Atomic unsigned stuck;
} storm;

struct lot { uint64_t seed; };

static uint32_t draw (struct lot *l, uint32_t below) {
  l->seed ^= l->seed << 13;
  l->seed ^= l->seed >> 7;
  l->seed ^= l->seed << 17;
  return (uint32_t)(l->seed >> 32) % below;
}

static void dawdle (struct lot *l) {
  uint32_t kind = draw(l, 64);
  if (kind == 0) sched_yield();
  else for (volatile uint32_t n = draw(l, 40); n > 0; n = n - 1) {}
}

/* Wait until served, or until patience is over. */
static void wait_to_send (struct lot *l, struct doorbell *b, int64_t i,
                          size_t len) {
  struct queue_sender *s = sender(i, len);
  enum queue_result got = queue_wait(storm.q, s, b);
  if (got == SEND_WAITS && draw(l, 4) == 0) {
    dawdle(l);
    got = queue_withdraw(storm.q, s);
  }
  while (got == SEND_WAITS) {
    if (!sleep_on(b)) {
      atomic_fetch_add(&storm.stuck, 1);
      got = queue_withdraw(storm.q, s);
    }
    else got = queue_result(s);
  }
  if (got == SEND_ACCEPTED) atomic_fetch_add(&storm.accepted, 1);
  else if (got == SEND_REFUSED) atomic_fetch_add(&storm.refused, 1);
  else atomic_fetch_add(&storm.withdrawn, 1);
  let_go(s);
}

/* The same for an asker, as a select does it. */
static void ask_to_send (struct lot *l, struct doorbell *b, int64_t i) {
  struct queue_sender *s = asker(1, draw(l, 2) ? storm.q : NULL);
  enum queue_result got = queue_wait(storm.q, s, b);
  int rc = -EAGAIN;
  while (rc == -EAGAIN && draw(l, 8) != 0) {
    if (got != SEND_WAITS) rc = post_offered(storm.q, s, i);
    else if (!sleep_on(b)) {
      atomic_fetch_add(&storm.stuck, 1);
      break;
    }
    got = queue_result(s);
  }
  queue_withdraw(storm.q, s);
  if (rc == 0) atomic_fetch_add(&storm.accepted, 1);
  else if (rc == -EPIPE) atomic_fetch_add(&storm.refused, 1);
  else atomic_fetch_add(&storm.withdrawn, 1);
  let_go(s);
}

static void *send_all (void *of) {
  struct lot l = { (uint64_t)(uintptr_t)of * 2654435761u
                   + 88172645463325252u };
  struct doorbell *b = new_doorbell();
  int64_t me = (int64_t)(intptr_t)of << 32;
  for (unsigned i = 0; i < storm.rounds; i++) {
    size_t len = draw(&l, 16) ? draw(&l, 64) : draw(&l, 2600);
    int rc = draw(&l, 8) ? post(storm.q, me + i, len) : -EAGAIN;
    if (rc == 0) atomic_fetch_add(&storm.accepted, 1);
    else if (rc == -EAGAIN && draw(&l, 2)) ask_to_send(&l, b, me + i);
    else if (rc == -EAGAIN) wait_to_send(&l, b, me + i, len);
    else if (!CHECK(rc == -EPIPE)) break;
    else atomic_fetch_add(&storm.refused, 1);
    dawdle(&l);
  }
  refblock_release(&b->block);
  queue_drop_sender(storm.q);
  return NULL;
}

/* The reader: closes after so many, or reads until no sender is left. */
static uint64_t read_all (uint64_t most, bool *ordered) {
  struct lot l = { 88172645463325252u };
  struct doorbell *b = new_doorbell();
  int64_t last[SENDERS + 1] = {0};
  uint64_t got = 0;
  while (got < most) {
    int64_t i = take(storm.q);
    if (i == -EPIPE - 1) break;
    if (i == -1) {
      queue_want(storm.q, b, 0);
      if (!sleep_on(b)) { atomic_fetch_add(&storm.stuck, 1); break; }
      continue;
    }
    got++;
    if (i <= last[i >> 32] && (i & UINT32_MAX) != 0) *ordered = false;
    last[i >> 32] = i;
    dawdle(&l);
  }
  refblock_release(&b->block);
  return got;
}

static void storm_of (uint64_t capacity, unsigned rounds, uint64_t most) {
  pthread_t t[SENDERS];
  bool ordered = true;
  uint64_t got, left;
  struct queue_stats s;
  storm.q = new_queue(capacity, 4000);
  storm.q->reader_state = storm.q;
  queue_linger(storm.q, capacity > 8);
  storm.rounds = rounds;
  storm.accepted = storm.withdrawn = storm.refused = 0;
  storm.stuck = 0;
  for (intptr_t i = 0; i < SENDERS; i++) {
    queue_add_sender(storm.q);
    CHECK(pthread_create(&t[i], NULL, send_all, (void *)(i + 1)) == 0);
  }
  got = read_all(most, &ordered);
  left = queue_close(storm.q, false);
  for (int i = 0; i < SENDERS; i++) pthread_join(t[i], NULL);
  queue_stats(storm.q, &s);
  CHECK(storm.stuck == 0);
  CHECK(ordered);
  CHECK(s.accepted.messages == got + left);
  CHECK(storm.accepted == got + left);
  CHECK(storm.accepted + storm.withdrawn + storm.refused
        == (uint64_t)SENDERS * rounds);
  refblock_release(&storm.q->block);
}

static unsigned rounds (void) {
  const char *soak = getenv("URING_SOAK");
  return soak ? 2000 * (unsigned)atoi(soak) : 20000;
}

static void threads_lose_nothing (void) {
  storm_of(1, rounds() / 4, UINT64_MAX);
  storm_of(8, rounds(), UINT64_MAX);
  storm_of(1000, rounds(), UINT64_MAX);
}

static void nor_when_it_is_closed (void) {
  for (uint64_t i = 0; i < 40; i++) storm_of(1 + i % 7, 200, 13 * i);
}

static const struct check_test tests[] = {
  TEST(in_order_and_bounded_by_count),
  TEST(bounded_by_bytes),
  TEST(sizes_of_all_kinds),
  TEST(descriptors_are_bounded_and_closed),
  TEST(a_message_that_is_not_taken_stays),
  TEST(closed_while_one_is_read),
  TEST(a_call_that_comes_back_is_lost),
  TEST(no_senders_is_a_state),
  TEST(the_reader_is_woken_once),
  TEST(a_bell_outlives_what_it_was_told_of),
  TEST(a_waiting_sender_is_served_first),
  TEST(a_withdrawal_serves_those_behind),
  TEST(room_is_seen_when_a_sender_stands),
  TEST(one_place_is_offered_to_one_asker),
  TEST(an_asker_that_does_not_try_stops_no_others),
  TEST(an_offer_in_vain_keeps_the_place),
  TEST(an_asker_is_woken_for_each_offer),
  TEST(a_monitor_that_leaves_is_let_go),
  TEST(a_notice_looks_at_no_other),
  TEST(closing_refuses_waiting_senders),
  TEST(the_reader_waits_for_no_lock),
  TEST(threads_lose_nothing),
  TEST(nor_when_it_is_closed)
};

int main (void) {
  return RUN(tests);
}
