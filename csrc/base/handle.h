/*
** handle: a descriptor's number, and whether it may still be used. (No Lua in
** it.)
**
** A number does not identify a file for long: after a close the kernel gives
** it to another. So every object that refers to a descriptor of the library's
** (a uring.fd, a socket, a ring and the references to it from other states, a
** prepared SQE, an operation) counts its handle. The number is read from the
** handle when a request is queued, and by each call that uses it.
**
** The kernel looks the file up when it starts a request, and holds the file
** from then on. A request that it may not have started counts as in flight,
** because it still needs the number. Without an explicit close the number is
** closed with the last count. An explicit close does not wait for the other
** owners. If requests are in flight the file is closed all the same, and the
** number stays reserved, by a descriptor that no request can use, until none
** is.
**
** A handle belongs to one Lua state and is closed by its thread. Only a ring's
** handle is shared with other states: they may count it, ask for its number,
** and begin and end a use of it.
**
** Invariant: a number is closed at most once, and is not reused for another
** file while a request that names it has not been started.
*/

#ifndef uring_handle_h
#define uring_handle_h

#include "base/refblock.h"

struct op;

struct handle {
  struct refblock block;
  _Atomic int number;      /* -1 if it has none (yet, or any more) */
  _Atomic bool closed;     /* must not be used any more */
  _Atomic bool close_when_idle;  /* the number is reserved until then */
  bool sent;               /* its number was given to a message */
  const _Atomic bool *loan;  /* lent: was the message that has it sent? */
  bool ring;               /* it must be this ring, and not another: */
  uint64_t device, inode;  /* of its file */
  uint32_t fork_id;        /* of that process */
  struct op *ops;          /* its state's operations on it: see op_table.h */
  struct handles *owner;   /* the table that it is in, or NULL */
  union {
    struct handle *next;      /* in the table's bucket */
    struct handle *next_dup;  /* not in a table: in ring_submit's list */
  };
};

/* The handles of one state, by number. A zeroed table is empty, and an empty
** table holds no memory. */
struct handles {
  struct handle **at;      /* buckets, or NULL while `first` is the only one */
  struct handle *first;
  uint32_t size, count;
};

/* A handle without a number; NULL if out of memory. */
struct handle *handle_new (void);

/* Give it this number. If another handle in `all` has the same number, that
** one loses it: its descriptor must have been closed behind our back, for the
** kernel does not give out a number that is open. */
void handle_own (struct handles *all, struct handle *h, int number);

/* A handle in no table for a dup of `number`, which other code may close at
** any time; NULL and errno. */
struct handle *handle_dup (int number);

/* The handle that has this number, or NULL. */
struct handle *handle_find (const struct handles *all, int number);

/* Does a handle own this number? (Not one that was lent to a message that was
** sent, which this state has yet to be told.) */
bool handle_owns (const struct handles *all, int number);

/* The kernel has just given out this number: a handle that has it loses it. */
void handle_number_reused (struct handles *all, int number);

/* The state ends: the handles that others count, as references in another
** state do in a forked child, are in no table any more. */
void handles_end (struct handles *all);

static inline bool handle_closed (const struct handle *h) {
  return atomic_load(&h->closed);
}

/* Its number, or -1 if it is closed. A thread other than its state's must use
** handle_use instead, or the number may be reused under it. */
static inline int handle_number (const struct handle *h) {
  return handle_closed(h) ? -1 : atomic_load(&h->number);
}

/* The same from any thread: the number stays reserved until handle_done, which
** must follow unless the answer was -1. */
int handle_use (struct handle *h);
static inline void handle_done (struct handle *h) {
  refblock_land(&h->block);
}

/* Mark it closed; it keeps its number. */
void handle_mark_closed (struct handle *h);

/* Lend the number to a message that waits to be sent: nothing else may use it.
** `*sent`, which another thread sets, says that it was sent. Then handle_send
** gives it away; or take it back, and all is as before. */
static inline void handle_lend (struct handle *h, const _Atomic bool *sent) {
  h->loan = sent;
  handle_mark_closed(h);
}

static inline bool handle_lent (const struct handle *h) {
  return handle_closed(h) && atomic_load(&h->number) >= 0
         && !atomic_load(&h->close_when_idle);
}

static inline void handle_take_back (struct handle *h) {
  if (handle_lent(h)) atomic_store(&h->closed, false);
  h->loan = NULL;
}

/* Close it: 0, or -errno. The caller keeps its count. */
int handle_close (struct handle *h);

/* The same, but the caller closes the number that is returned. It is -1 if
** requests are in flight, and the number stays reserved until none is. */
int handle_detach (struct handle *h);

/* In a forked child: close the copy of a ring's descriptor that the child has
** inherited, unless the number is another file's by now. If more hold it than
** these `owners` (a reference, by which the child sends to its parent) it
** stays as long as they do. */
void handle_close_inherited (struct handle *h, uint32_t owners);

/* Return the number without closing it, and mark the handle closed; it was
** sent, too. */
int handle_release (struct handle *h);
void handle_send (struct handle *h);

/* The number of calls of handle_mark_closed in this process, wrapping. While
** it does not change there is no need to search the SQ for closed targets
** again. */
unsigned handle_marked_count (void);

#endif
