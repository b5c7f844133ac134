/*
** queue_internal: what queue and queue_reader share.
*/

#ifndef uring_queue_internal_h
#define uring_queue_internal_h

#include "worker/queue_chunks.h"

/* The loops to wake when the lock was freed. */
struct wakeups {
  struct doorbell *doorbell[2];
  unsigned n;
};

void queue_wake_now (struct wakeups *w);

/* (locked) There is something for the reader. */
void queue_wake_reader (struct queue *q, struct wakeups *w);

/* What is asked of whichever thread has the lock next. */
enum queue_task {
  TASK_WANT = 1, TASK_SERVE = 2,
  TASK_GIVE_UP = 4           /* the space of offers: it finds no message */
};

void queue_ask (struct queue *q, unsigned tasks);

/* Accept the messages of waiting senders for which there is space. */
void queue_serve_waiting (struct queue *q);

void queue_unlock (struct queue *q);

#endif
