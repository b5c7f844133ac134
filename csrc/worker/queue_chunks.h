/*
** queue_chunks: where the messages of a queue lie, and whether there is space
** for another one. (No Lua in it.)
**
** Messages lie one after another in chunks of memory, the first of 2 KB, each
** twice as large as the one before, up to 64 KB. What is larger than
** QUEUE_SMALL lies apart, and only its address there. A chunk that was read to
** its end is kept as a spare one.
**
** Senders append at the tail, under the queue's lock; the reader takes from
** the head without it, up to what has come.
*/

#ifndef uring_queue_chunks_h
#define uring_queue_chunks_h

#include "worker/queue.h"

/* Messages, one after another. The last is followed by a header of size 0,
** which says: in the next chunk. */
struct chunk {
  struct chunk *next;
  size_t size;
  _Alignas(16) char bytes[];
};

struct chunk *queue_new_chunk (size_t size);  /* NULL: no memory */

/* (locked) Is there space for a message of this cost, beside what is held for
** offers; and for a post of C, or an asker, which may use some more? */
bool queue_has_space (struct queue *q, uint64_t cost, uint16_t fds);
bool queue_has_space_aside (struct queue *q, uint64_t cost, uint16_t fds);

/* (locked) Append a message, or where it is. False: no memory. */
bool queue_append (struct queue *q, struct message *m, bool apart);

/* The reader's: what is at its head, where there is a message; the message
** itself; and it leaves the queue. */
struct message *queue_head (struct queue *q);
struct message *queue_body (struct message *record);
void queue_drop_head (struct queue *q);

/* Dispose of all that is left, and of the memory: it is closed, and no message
** is being read. */
void queue_discard (struct queue *q);

/* Free the chunks alone, as a forked child does. */
void queue_free_chunks (struct queue *q);

/* Dispose of the calls among what is left, which stays in its place: it is
** closed. */
void queue_lose_calls (struct queue *q);

/* What only the reader writes, it reads without ado. */
static inline uint64_t queue_taken_count (const struct queue *q) {
  return atomic_load_explicit(&q->taken, memory_order_relaxed);
}

#endif
