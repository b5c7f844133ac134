/*
** queue_chunks: see the header. What must not break: senders append with the
** lock held, and only the reader takes; a message is complete before `come`
** counts it.
*/

#include "compat.h"
#include "worker/queue_chunks.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_MOST  65536u
#define HEADER      sizeof(struct message)
#define APART_SIZE  (HEADER + sizeof(uint64_t))


/* ---- space ------------------------------------------------------------- */

static bool within (const struct queue *q, uint64_t cost, uint16_t fds) {
  const struct queue_limits *a = &q->accepted, *k = &q->known;
  const struct queue_limits *o = q->held;
  return a->messages - k->messages + o[0].messages + o[1].messages
         < q->limits.messages
         && a->bytes - k->bytes + o[0].bytes + o[1].bytes + cost
            <= q->limits.bytes
         && a->fds - k->fds + o[0].fds + o[1].fds + fds <= q->limits.fds;
}

/* What is in the queue, at most. */
static struct queue_limits in_queue (const struct queue *q) {
  const struct queue_limits *a = &q->accepted, *k = &q->known;
  return (struct queue_limits){ a->messages - k->messages,
                                a->bytes - k->bytes, a->fds - k->fds };
}

/* (locked) */
static void look_up_taken (struct queue *q) {
  q->known.messages = atomic_load(&q->taken);  /* guard: first; see queue.h */
  q->known.bytes = atomic_load_explicit(&q->taken_bytes, memory_order_relaxed);
  q->known.fds = atomic_load_explicit(&q->taken_fds, memory_order_relaxed);
}

/* (locked) */
bool queue_has_space (struct queue *q, uint64_t cost, uint16_t fds) {
  if (within(q, cost, fds))
    return true;
  look_up_taken(q);
  return within(q, cost, fds);
}

/* (locked) A message was appended. What was taken is looked up only if there
** may be more than ever: for it is in a cache line of the reader's. */
static void note_most (struct queue *q) {
  struct queue_limits now = in_queue(q), *most = &q->most;
  if (now.messages <= most->messages && now.bytes <= most->bytes)
    return;
  look_up_taken(q);
  now = in_queue(q);
  if (now.messages > most->messages) most->messages = now.messages;
  if (now.bytes > most->bytes) most->bytes = now.bytes;
}

/* (locked) Is there space for a post of C, which may use some more? */
bool queue_has_space_aside (struct queue *q, uint64_t cost, uint16_t fds) {
  const struct queue_limits *most = &q->limits;
  struct queue_limits now;
  if (queue_has_space(q, cost, fds))
    return true;
  now = in_queue(q);
  if (now.messages <= most->messages && now.bytes <= most->bytes
      && now.fds <= most->fds)
    return true;  /* one message at least */
  return now.messages < most->messages + most->messages / 8
         && now.bytes + cost <= most->bytes + most->bytes / 8
         && now.fds + fds <= most->fds + most->fds / 8;
}

/* ---- chunks ------------------------------------------------------------ */

struct chunk *queue_new_chunk (size_t size) {
  struct chunk *c = malloc(sizeof(*c) + size);
  if (c) {
    c->next = NULL;
    c->size = size;
  }
  return c;
}

static struct message *message_at (const struct chunk *c, size_t at) {
  return (struct message *)(void *)((char *)(uintptr_t)c->bytes + at);
}

/* (locked) Room for so many bytes and a header after them; NULL: no memory. */
static struct message *make_room (struct queue *q, size_t size) {
  struct chunk *next;
  if (q->tail_at + size + HEADER > q->tail->size) {
    size_t more = q->tail->size < CHUNK_MOST ? q->tail->size * 2 : CHUNK_MOST;
    next = atomic_exchange(&q->spare, NULL);
    if (next && next->size < more) {
      free(next);
      next = NULL;
    }
    if (next == NULL && (next = queue_new_chunk(more)) == NULL)
      return NULL;
    next->next = NULL;
    message_at(q->tail, q->tail_at)->size = 0;
    q->tail->next = next;
    q->tail = next;
    q->tail_at = 0;
  }
  return message_at(q->tail, q->tail_at);
}

/* (locked) Append a message, or where it is. */
bool queue_append (struct queue *q, struct message *m, bool apart) {
  size_t size = apart ? APART_SIZE : m->size;
  struct message *at = make_room(q, size);
  if (at == NULL)
    return false;
  if (apart) {
    *at = *m;
    at->size = APART_SIZE;
    at->flags = MESSAGE_APART;
    at->cells[0] = (uintptr_t)m;
  }
  else memcpy(at, m, size);
  q->tail_at += size;
  q->accepted.messages++;
  q->accepted.bytes += m->cost;
  q->accepted.fds += m->fds;
  note_most(q);
  atomic_store_explicit(&q->come_bytes, q->accepted.bytes,
                        memory_order_relaxed);
  atomic_store_explicit(&q->come_fds, q->accepted.fds, memory_order_relaxed);
  /* (last, and a release: the reader reads what is up to there) */
  atomic_store_explicit(&q->come, q->accepted.messages, memory_order_release);
  return true;
}

/* The reader's: the message at its head, which there is. */
struct message *queue_head (struct queue *q) {
  struct message *m = message_at(q->head, q->head_at);
  if (m->size == 0) {
    struct chunk *done = q->head;
    q->head = done->next;
    q->head_at = 0;
    free(atomic_exchange(&q->spare, done));
    m = message_at(q->head, 0);
  }
  return m;
}

struct message *queue_body (struct message *record) {
  return record->flags & MESSAGE_APART
         ? (struct message *)(uintptr_t)record->cells[0] : record;
}

/* The message at the head leaves the queue. */
void queue_drop_head (struct queue *q) {
  struct message *m = queue_head(q);
  q->head_at += m->size;
  if (m->flags & MESSAGE_APART) message_free(queue_body(m));
}

/* (What is being read is not: it is answered, or queue_unread loses it.) */
void queue_lose_calls (struct queue *q) {
  const struct chunk *c = q->head;
  size_t at = q->head_at;
  uint64_t first = q->reading ? 1 : 0;
  for (uint64_t i = 0; i < q->left + first; i++) {
    struct message *m = message_at(c, at);
    if (m->size == 0) {
      c = c->next;
      m = message_at(c, 0);
      at = 0;
    }
    at += m->size;
    m = queue_body(m);
    if (i >= first && m->flags & MESSAGE_CALL) message_dispose(m);
  }
}

void queue_free_chunks (struct queue *q) {
  for (struct chunk *c = q->head, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  free(atomic_exchange(&q->spare, NULL));
  q->head = q->tail = NULL;
}

/* Dispose of all that is left, and of the memory: it is closed, and no message
** is being read. */
void queue_discard (struct queue *q) {
  for (; q->left > 0; q->left--) {
    message_dispose(queue_body(queue_head(q)));
    queue_drop_head(q);
  }
  queue_free_chunks(q);
}
