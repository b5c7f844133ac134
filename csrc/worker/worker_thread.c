/*
** worker_thread: see the header. What must not break: nothing of the record is
** used after the count of it was released; doorbells are rung after the lock
** was freed.
*/

#include "compat.h"
#include "worker/worker_thread.h"

#include "base/fork_id.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define RESULT_BYTES (1u << 30)   /* that arguments, and results, may count */

static _Atomic unsigned left;

unsigned worker_threads_left (void) {
  return atomic_load(&left);
}


/* ---- its life ---------------------------------------------------------- */

static void dispose_start (struct worker_thread *t) {
  struct message *start = t->start;
  if (start == NULL)
    return;
  message_dispose(start);
  worker_thread_began(t, start->size);
  free(start);
}

static void worker_end (struct refblock *b) {
  struct worker_thread *t = (struct worker_thread *)b;
  dispose_start(t);
  if (t->inbox) refblock_release(&t->inbox->block);
  if (t->results) refblock_release(&t->results->block);
  free(t->name);
  free(t->reason);
  free(t->warnings.texts);
  account_refund(t->account, 1 + t->charged + t->posted);
  free(t);
}

/* On the parent's thread, or, when its loop is gone, on any. */
static void worker_ended (struct ready_link *link, struct loop *loop) {
  struct worker_thread *t = (struct worker_thread *)(void *)
    ((char *)link - offsetof(struct worker_thread, ended));
  if (loop && t->owner) t->woken(t->owner, loop);
  refblock_release(&t->block);
}

static void worker_warned (struct ready_link *link, struct loop *loop) {
  struct worker_thread *t = (struct worker_thread *)(void *)
    ((char *)link - offsetof(struct worker_thread, warning));
  if (loop) {
    lock_take(&t->lock);
    t->warned = false;  /* guard: before they are taken */
    lock_free(&t->lock);
    if (t->owner) t->woken(t->owner, loop);
  }
  refblock_release(&t->block);
}

static void worker_notified (struct ready_link *link, struct loop *loop) {
  struct worker_thread *t = (struct worker_thread *)(void *)
    ((char *)link - offsetof(struct worker_thread, cancelled_link));
  if (loop) t->cancel(t, loop);
  refblock_release(&t->block);
}

struct worker_thread *worker_thread_new (const struct queue_limits *inbox,
                                         struct account *a) {
  static const struct queue_limits results = { 1, RESULT_BYTES, MESSAGE_FDS };
  struct worker_thread *t = calloc(1, sizeof(*t));
  if (t == NULL)
    return NULL;
  refblock_init(&t->block, worker_end);
  t->account = a;
  account_count(a, 1);
  t->fork_id = fork_id();
  t->ended.ready = worker_ended;
  t->cancelled_link.ready = worker_notified;
  t->warning.ready = worker_warned;
  t->inbox = queue_new(inbox);
  t->results = queue_new(&results);
  if (account_charge(a, inbox->bytes)) t->charged = inbox->bytes;
  if (t->inbox == NULL || t->results == NULL || t->charged == 0) {
    refblock_release(&t->block);
    return NULL;
  }
  return t;
}


/* ---- the thread -------------------------------------------------------- */

static void ring_doorbell (struct doorbell *doorbell) {
  if (doorbell_wanted(doorbell)) doorbell_ring(doorbell);
  refblock_release(&doorbell->block);
}

/* The last that the thread does: from then on only its stack is its own. */
static void end_thread (struct worker_thread *t) {
  struct doorbell *doorbell;
  lock_take(&t->lock);
  atomic_store_explicit(&t->status, WORKER_ENDED, memory_order_release);
  doorbell = t->doorbell;
  t->doorbell = NULL;
  if (t->left) atomic_fetch_sub(&left, 1);
  lock_free(&t->lock);
  if (doorbell) {
    refblock_retain(&t->block);
    doorbell_link(doorbell, &t->ended);
    ring_doorbell(doorbell);
  }
  refblock_release(&t->block);
}

static void *worker_main (void *arg) {
  struct worker_thread *t = arg;
  prctl(PR_SET_NAME, t->name ? t->name : "uring-worker");
  t->body(t);
  worker_thread_unlisten(t);
  dispose_start(t);  /* guard: a state that could not be made */
  queue_close(t->inbox, false);  /* guard: ... has done neither */
  end_thread(t);
  return NULL;
}

void worker_thread_listen (struct worker_thread *t,
                           struct doorbell *doorbell) {
  bool cancelled;
  refblock_retain(&doorbell->block);
  lock_take(&t->lock);
  t->listener = doorbell;
  cancelled = worker_cancelled(t);
  lock_free(&t->lock);
  if (cancelled) {  /* guard: it was too early to be told */
    refblock_retain(&t->block);
    doorbell_link(doorbell, &t->cancelled_link);
  }
}

void worker_thread_unlisten (struct worker_thread *t) {
  struct doorbell *doorbell;
  lock_take(&t->lock);
  doorbell = t->listener;
  t->listener = NULL;
  lock_free(&t->lock);
  if (doorbell) refblock_release(&doorbell->block);
}


/* (locked) False: there is no space for it. */
static bool keep_warning (struct worker_warnings *w, const char *text,
                          size_t len) {
  char *more = w->size + len + 1 <= WORKER_WARNINGS
               ? realloc(w->texts, w->size + len + 1) : NULL;
  if (more == NULL)
    return false;
  memcpy(more + w->size, text, len);
  more[w->size + len] = 0;
  w->texts = more;
  w->size += len + 1;
  return true;
}

void worker_thread_warn (struct worker_thread *t, const char *text,
                         size_t len) {
  struct doorbell *doorbell = NULL;
  lock_take(&t->lock);
  if (!keep_warning(&t->warnings, text, len)) t->warnings.lost++;
  if (t->doorbell && !t->warned) {  /* guard: or the ready list is broken */
    t->warned = true;
    doorbell = t->doorbell;
    refblock_retain(&doorbell->block);
    refblock_retain(&t->block);
    doorbell_link(doorbell, &t->warning);
  }
  lock_free(&t->lock);
  if (doorbell) ring_doorbell(doorbell);
}


/* ---- the parent -------------------------------------------------------- */

int worker_thread_start (struct worker_thread *t, struct doorbell *doorbell) {
  sigset_t all, old;
  int rc;
  refblock_retain(&t->block);
  refblock_retain(&doorbell->block);
  t->doorbell = doorbell;
  atomic_store(&t->status, WORKER_RUNS);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);  /* guard: it inherits this */
  rc = pthread_create(&t->thread, NULL, worker_main, t);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (rc == 0)
    return 0;
  atomic_store(&t->status, WORKER_NEW);
  t->doorbell = NULL;
  refblock_release(&doorbell->block);
  refblock_release(&t->block);
  return -rc;
}

bool worker_thread_cancel (struct worker_thread *t, const char *reason,
                           size_t len) {
  struct doorbell *doorbell = NULL;
  char *copy;
  bool first;
  if (t->fork_id != fork_id() || worker_status(t) != WORKER_RUNS
      || worker_cancelled(t))
    return false;
  copy = reason ? malloc(len + 1) : NULL;  /* (without memory: no reason) */
  if (copy) memcpy(copy, reason, len);
  lock_take(&t->lock);
  first = worker_status(t) == WORKER_RUNS && !worker_cancelled(t);
  if (first) {
    t->reason = copy;
    t->reason_len = len;
    atomic_store_explicit(&t->cancelled, true, memory_order_release);
    doorbell = t->listener;
    if (doorbell) {
      refblock_retain(&doorbell->block);
      refblock_retain(&t->block);
      doorbell_link(doorbell, &t->cancelled_link);
    }
  }
  lock_free(&t->lock);
  if (!first) free(copy);
  if (doorbell) ring_doorbell(doorbell);
  return first;
}

struct worker_warnings worker_thread_warnings (struct worker_thread *t) {
  struct worker_warnings w = { NULL, 0, 0 };
  if (t->fork_id != fork_id())
    return w;
  lock_take(&t->lock);
  w = t->warnings;
  t->warnings = (struct worker_warnings){ NULL, 0, 0 };
  lock_free(&t->lock);
  return w;
}

bool worker_thread_warned (struct worker_thread *t) {
  bool any;
  if (t->fork_id != fork_id())
    return false;
  lock_take(&t->lock);
  any = t->warnings.size > 0 || t->warnings.lost > 0;
  lock_free(&t->lock);
  return any;
}

bool worker_thread_join (struct worker_thread *t, int64_t deadline) {
  struct timespec until;
  if (t->joined || t->fork_id != fork_id())
    return true;
  until.tv_sec = (time_t)(deadline / 1000000000);
  until.tv_nsec = (long)(deadline % 1000000000);
  /* (one that has told its end is in its last instructions) */
  if (worker_status(t) == WORKER_ENDED) pthread_join(t->thread, NULL);
  else if (pthread_clockjoin_np(t->thread, NULL, CLOCK_MONOTONIC, &until))
    return false;
  t->joined = true;
  account_refund(t->account, t->charged);
  t->charged = 0;
  return true;
}

void worker_thread_leave (struct worker_thread *t) {
  struct doorbell *doorbell;
  bool runs;
  if (t->fork_id != fork_id())
    return;
  lock_take(&t->lock);
  doorbell = t->doorbell;
  t->doorbell = NULL;
  runs = worker_status(t) != WORKER_ENDED;
  t->left = runs;
  if (runs) atomic_fetch_add(&left, 1);
  lock_free(&t->lock);
  if (doorbell) refblock_release(&doorbell->block);
  if (!t->joined) pthread_detach(t->thread);
  t->joined = true;
}
