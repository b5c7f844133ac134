/*
** queue_internal: what the files of the queue share, and no other file uses.
*/

#ifndef uring_queue_internal_h
#define uring_queue_internal_h

#include "worker/queue_chunks.h"

/* ---- queue_wake -------------------------------------------------------- */

/* The loops to wake when the lock was freed. */
struct wakeups {
  struct doorbell *doorbell[2];
  unsigned n;
};

void queue_wake_now (struct wakeups *w);

/* (locked) There is something for the reader; this is a sender's result. */
void queue_wake_reader (struct queue *q, struct wakeups *w);
void queue_wake_sender (struct queue_sender *s, enum queue_result result,
                        struct wakeups *w);

/* The `ready` of both: what the woken thread does. */
void queue_ready (struct ready_link *link, struct loop *loop);
void queue_sender_ready (struct ready_link *link, struct loop *loop);


/* ---- queue_waiting: with the lock, but for the last two ----------------- */

/* It waits from now on, or monitors, unless the queue is closed; and no more,
** if it does. */
void queue_join_waiting (struct queue *q, struct queue_sender *s,
                         struct doorbell *doorbell);
void queue_leave_waiting (struct queue *q, struct queue_sender *s);
void queue_join_monitors (struct queue *q, struct queue_sender *s,
                          struct doorbell *doorbell);
void queue_leave_monitors (struct queue *q, struct queue_sender *s);

/* Serve the first waiting sender that has no offer, if there is space. If it
** has left the list it is `served`: to be told. */
bool queue_serve_first (struct queue *q, struct wakeups *w,
                        struct queue_sender **served);

/* There was no space when it tried its offer: it waits on in its place. */
void queue_offer_again (struct queue *q, struct queue_sender *s);

/* The space of offers is held no longer, but for the reader's own state. */
void queue_give_up_offers (struct queue *q);

/* It is closed: the first that waits, or monitors, is refused: to be told.
** NULL: there is none. */
struct queue_sender *queue_refuse_first (struct queue *q, struct wakeups *w);

/* It has left its list: release what that counted. And tell it first, because
** the queue has decided. */
void queue_has_left (struct queue_sender *s);
void queue_notify_sender (struct queue_sender *s);


/* ---- queue -------------------------------------------------------------- */

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
