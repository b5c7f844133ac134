/*
** queue: the bounded queue of messages under a mailbox, from any number of
** threads to one reader. (No Lua in it.)
**
** It is a counted block: the mailbox and each address count it, so it outlives
** the mailbox. All but the reader's part is under one small lock. A small
** message is copied into a chunk of memory, a large one is linked in. The
** reader sees how many have come, decodes each where it lies, and then says
** that it was taken. That needs no lock: the counts are atomic, and each is
** written by one side.
**
** The reader waits for no thread that holds the lock: that may have lost its
** processor, and the reader may be a host's step. What needs the lock it asks
** for (`asked`), and does that if the lock is free; else the thread that frees
** the lock does it.
**
** Two things wake across threads:
**
** - The reader. If it finds nothing and will sleep, it says so (`wanted`). The
**   next message clears that and links the queue into the ready list of the
**   reader's loop. The doorbell is rung after the lock was freed.
** - Senders that wait for space (struct queue_sender), in a list, first come,
**   first served. The reader, which made the space, moves their messages into
**   the queue itself; so no space is reserved for a sender that does not run.
**
** Order. Messages are received in the order in which they were accepted. While
** a sender waits, no other sender's message is accepted before its; but for
** posts of C, which cannot wait, and for what follows.
**
** A sender without a message (a select's: it may choose another event) is an
** asker. Where there is space for it, it is woken: that is an offer. It keeps
** its place in the list until it posts, or leaves; if there is no space when
** it tries, it waits on in that place. Those behind it are served, and other
** posts accepted, as far as there is space beside the offers: so a place that
** was freed wakes one sender, and none overtakes it.
**
** But the loop of an asker may be a host's that does not step, and that must
** not stop the others. So the space of an offer is held only as long as the
** reader finds other messages. When it finds none, or waits, the space of
** offers is given up, but for askers of its own state: those run when it does.
** An asker that then tries late may use the eighth more that posts of C have,
** so that it is not overtaken for ever.
**
** Each count of the queue is an object's, a message's or C's. `own` is how
** many of them are of objects in the state that has the mailbox. When those
** are all, no other thread can send, or wait here: for a deadlock
** (queue_own_doorbells).
**
** The reader may be C (worker/inbox.h). Then an eventfd is written instead of
** the ready list and the doorbell. It is written, and read, under the lock: it
** is readable from the first message on until the reader has found none. Such
** a reader has notices, too: they need no space, and come first.
**
** Invariants
** - accepted == taken + undelivered + those in the queue.
** - A waiting sender's message is accepted, refused or withdrawn: one of
**   these, once, under the lock.
** - No sender without an offer waits while there is space. The sender stores
**   `senders_wait` and then loads `taken`; the reader stores `taken` and then
**   loads `senders_wait`. All four are sequentially consistent, so one of them
**   sees the other.
** - No reader sleeps beside a message: `wanted` is set and cleared under the
**   lock, and the last check before it is under the same lock.
** - What the reader has asked for is done: by it, or by the thread that held
**   the lock, which looks for it after it has freed the lock (base/lock.h).
** - In a forked child nothing is touched: another thread of the parent may
**   have held the lock.
*/

#ifndef uring_queue_h
#define uring_queue_h

#include "base/lock.h"
#include "ring/doorbell.h"
#include "worker/message.h"

struct queue_limits {
  uint64_t messages, bytes, fds;
};

enum queue_result { SEND_WAITS, SEND_ACCEPTED, SEND_REFUSED, SEND_WITHDRAWN,
                    SEND_TRY_AGAIN };

/* A send that waits for space. Its owner counts it; so does the queue while it
** is in the list, and the ready list while it is in that. */
struct queue_sender {
  struct refblock block;
  struct ready_link link;
  struct queue_sender *next, *prev;  /* in the list; else NULL */
  struct doorbell *doorbell; /* in the list: of the loop to wake, counted */
  struct message *message;   /* NULL: an asker, or it was accepted */
  uint64_t cost;
  uint16_t fds;
  bool offered;              /* an asker in the list, with an offer */
  uint64_t place;            /* in the list: it is in the order of these */
  uint64_t holds;            /* the queue's `holds` when it got the offer */
  const void *state;         /* of an asker: that it is in */
  _Atomic int result;        /* enum queue_result */
  _Atomic bool sent;         /* its message was accepted */
  _Atomic bool linked;       /* it is in the ready list */
  void *owner;               /* for `woken`; NULL: none. Its thread's. */
  void (*woken)(void *owner, struct loop *loop);
  /* Of C's, which has no doorbell: it is called instead, on the thread that
     has decided, without the lock; and the sender is counted meanwhile. */
  void (*notify)(struct queue_sender *s);
};

/* Something for a reader in C beside the messages. */
struct queue_notice {
  struct queue_notice *next;
};

#define CACHE_LINE 64u

struct chunk;

/* What the senders write at each message, and what the reader does, are in
** cache lines apart. */
struct queue {
  struct refblock block;
  uint32_t fork_id;
  struct queue_limits limits;
  uint32_t kinds;            /* of values that the reader takes: message.h */
  int eventfd;               /* of a reader in C; or -1 */
  bool named;                /* there may always be another sender */
  const void *made_in;       /* the state of the mailbox, set before others
                                know the queue; NULL: another made it */
  bool closed;               /* by the reader, under the lock */
  _Atomic bool senders_wait;
  _Atomic bool over;         /* there were senders, and none is left */
  _Atomic uint64_t others;   /* of queue_want */
  struct queue_notice *_Atomic notices;  /* the first; set under the lock */
  struct queue_name *name;   /* name_table.c's; NULL: none */
  void *reader;              /* for `woken`; NULL: none */
  void (*woken)(void *reader, struct loop *loop);
  const void *_Atomic reader_state;  /* NULL: none */
  uint64_t undelivered;      /* at the close; the reader's, too */
  struct chunk *_Atomic spare;

  char apart_1[CACHE_LINE];
  struct lock lock;          /* of all this: */
  bool wanted;               /* the reader will sleep: wake it */
  bool had_senders;
  uint32_t senders;          /* addresses */
  _Atomic unsigned asked;    /* enum queue_task: of the lock's next holder */
  struct chunk *tail;
  size_t tail_at;
  struct queue_limits accepted;   /* since it was made */
  struct queue_limits known;      /* `taken` when it was last looked up */
  struct queue_limits most;       /* that were in it at a time */
  struct queue_sender *waiting;   /* the last of a circular list, or NULL */
  struct queue_sender *first;     /* the first of them without an offer */
  uint32_t n_waiting;
  uint64_t places;                /* of the last that has joined */
  struct queue_limits held[2];    /* for offers: to others, to its own state */
  uint64_t holds;                 /* times that the first was given up */
  struct queue_sender *monitors;  /* the same: to be told of the close */
  struct queue_notice *last_notice;  /* where there are notices */
  struct doorbell *doorbell; /* of the reader's loop, counted; NULL: it has
                                not waited yet, or is closed */

  char apart_2[CACHE_LINE];
  _Atomic uint64_t come;     /* `accepted.messages`, for the reader */
  _Atomic uint64_t come_bytes, come_fds;  /* ... and its others */
  struct ready_link link;
  _Atomic bool linked;       /* it is in the ready list */

  char apart_3[CACHE_LINE];
  struct chunk *head;        /* the reader's: */
  size_t head_at;
  uint64_t seen;             /* `come`, when it looked last */
  uint64_t batch;            /* ... and how many had come then */
  uint64_t began;            /* `taken`, when it last found none */
  bool lingers;              /* see queue_linger */
  bool reading;              /* between queue_read and queue_taken */
  bool kept;                 /* closed, and what is left may be read */
  bool reading_left;         /* ... and is: it stays undelivered */
  uint64_t left;             /* messages that it has, closed */
  uint32_t own;              /* counts that objects in `made_in` have */
  _Atomic uint64_t taken, taken_bytes, taken_fds;
};

/* A queue, counted once; NULL: no memory. */
struct queue *queue_new (const struct queue_limits *limits);


/* ---- from any thread --------------------------------------------------- */

/* Put a message into the queue: a copy, if it is at most QUEUE_SMALL bytes;
** else `m` itself, which malloc gave and which the queue frees. 0; or -errno,
** and nothing was done: EAGAIN if there is no space, EMSGSIZE if there never
** is, EPIPE if it is closed. */
#define QUEUE_SMALL 2048u
int queue_post (struct queue *q, struct message *m);

/* The same for a post of C: waiting senders do not come first, and there is an
** eighth more space, and space for one message at least. */
int queue_post_aside (struct queue *q, struct message *m);

/* The same for an asker in the list, after SEND_TRY_AGAIN. EAGAIN: it waits on
** in its place. If the message was accepted it has left the list. */
int queue_post_offered (struct queue *q, struct queue_sender *s,
                        struct message *m);

/* Join the list of senders, once. SEND_WAITS, or the result if it need not
** wait; `woken` is called, on the thread of this doorbell's loop, in either
** case. One with `notify` is told once, of space for a post of C, and gets no
** offer: it stands before the others. */
enum queue_result queue_wait (struct queue *q, struct queue_sender *s,
                               struct doorbell *doorbell);

/* Leave the list. SEND_ACCEPTED and SEND_REFUSED came first; else
** SEND_WITHDRAWN, and the message is the sender's again. */
enum queue_result queue_withdraw (struct queue *q, struct queue_sender *s);

static inline enum queue_result queue_result (const struct queue_sender *s) {
  return (enum queue_result)atomic_load(&s->result);
}

/* Make it of zeros, counted once; `end` frees it. */
void queue_sender_init (struct queue_sender *s,
                        void (*end)(struct refblock *));

/* A sender for this message (NULL: an asker) of this cost, counted once.
** It owns the message until that is accepted. NULL: no memory. */
struct queue_sender *queue_sender_new (struct message *m, uint64_t cost,
                                       uint16_t fds);

/* Tell a sender without a message when the queue is closed: SEND_WAITS, and it
** is woken with SEND_REFUSED; or SEND_REFUSED: it is closed. And do not. */
enum queue_result queue_monitor (struct queue *q, struct queue_sender *s,
                                 struct doorbell *doorbell);
bool queue_is_closed (struct queue *q);
void queue_unmonitor (struct queue *q, struct queue_sender *s);

/* Another sender: true if it is the first one ever. And one less; or, because
** its address was not sent after all, as if it had not been. */
bool queue_add_sender (struct queue *q);
void queue_drop_sender (struct queue *q);
void queue_undo_sender (struct queue *q, bool first);

/* The address in a message, as its block: what releases it. */
void queue_release_sender (void *ud, const void *q, size_t len);

struct queue_stats {
  struct queue_limits accepted, queued, most;
  uint64_t received, undelivered;
  uint32_t senders, waiting;
};
void queue_stats (struct queue *q, struct queue_stats *stats);


/* ---- the reader's thread ----------------------------------------------- */

/* How many messages are there? At least `enough`, or all. */
uint64_t queue_count (struct queue *q, uint64_t enough);

/* What the messages that have come count as (senders may ask, too), and those
** of them that were taken; and what is left. */
static inline uint64_t queue_come_bytes (const struct queue *q) {
  return atomic_load_explicit(&q->come_bytes, memory_order_relaxed);
}
static inline uint64_t queue_taken_bytes (const struct queue *q) {
  return atomic_load_explicit(&q->taken_bytes, memory_order_relaxed);
}
static inline void queue_load (const struct queue *q, size_t *bytes,
                               unsigned *fds) {
  uint64_t come = atomic_load_explicit(&q->come_fds, memory_order_relaxed);
  uint64_t taken = atomic_load_explicit(&q->taken_fds, memory_order_relaxed);
  *bytes = (size_t)(queue_come_bytes(q) - queue_taken_bytes(q));
  *fds = (unsigned)(come - taken);
}

/* Is no sender left, although there were some? */
static inline bool queue_is_over (const struct queue *q) {
  return atomic_load(&q->over) && !q->named;
}

/* The first message: 1. 0: there is none. -EPIPE: none, and no sender is left.
** -EBADF: it is closed. -EBUSY: the reader is reading one. It stays the first
** until queue_taken; queue_unread says that it was not. */
int queue_read (struct queue *q, struct message **m);
void queue_taken (struct queue *q);
void queue_unread (struct queue *q);

/* The reader waits, for more than the first `others` messages. `woken` is
** called once, on the thread of this doorbell's loop, when there are more, or
** when no sender is left; that may be so already. It is the same doorbell each
** time. */
void queue_want (struct queue *q, struct doorbell *doorbell, uint64_t others);

/* The reader has a processor of its own: where messages come in a stream it
** may wait a moment for several, before it finds none. */
static inline void queue_linger (struct queue *q, bool lingers) {
  q->lingers = lingers;
}

/* The reader is C: `fd`, an eventfd, is written for it. Before senders know
** the queue. */
void queue_set_eventfd (struct queue *q, int fd);

/* A notice for such a reader: false: it is closed. The first; NULL: there is
** none. It was taken. */
bool queue_notify (struct queue *q, struct queue_notice *n);
struct queue_notice *queue_first_notice (struct queue *q);
void queue_drop_notice (struct queue *q);

/* Such a reader has found nothing: the eventfd is not readable from now on,
** until there is something. False: there is. */
bool queue_rest (struct queue *q);

/* An object of this state has a count of the queue; and releases it now. */
static inline void queue_own (struct queue *q, const void *state) {
  if (q->made_in && q->made_in == state) q->own++;
}
static inline void queue_disown (struct queue *q, const void *state) {
  if (q->made_in && q->made_in == state) q->own--;
}

/* How many counts of this doorbell, of the reader's loop, the queue has, and
** what waits in it. 0 if another thread may have the queue. */
unsigned queue_own_doorbells (struct queue *q,
                              const struct doorbell *doorbell);

/* Close it: how many messages were not delivered. They are disposed of; or
** `keep` them, to be read: then queue_read gives -EBADF after the last. Calls
** among them are lost, and their callers told, in either case. */
uint64_t queue_close (struct queue *q, bool keep);

#endif
