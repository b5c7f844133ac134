/*
** handle: a descriptor's number, and whether it may still be used. (No Lua in
** it.)
**
** A number is a poor name: once it is closed another file may get it. So
** whatever names a descriptor that the library owns counts its handle instead:
** a uring.fd, a socket, a ring and its references in other states, prepared
** SQEs, operations. The number is read when a request is launched, and each
** call that uses it asks for it anew.
**
** The kernel takes the file up when it starts a request, and holds it from
** then on. A request that it may not have started yet counts as in flight, for
** it still needs the number. Collection closes the number when the last count
** has gone. An explicit close does so at once, whoever counts the handle. If
** something is in flight then, the file is closed all the same and the number
** stays taken, by a descriptor that no request can use, until all have landed.
**
** A handle is one state's, and is closed by the thread of that state. Only
** a ring's reaches others: they may count it, ask for its number, and land.
**
** What can never happen: a number is closed twice, or goes to another file
** while a request that names it has not been started.
*/

#ifndef uring_handle_h
#define uring_handle_h

#include "base/refblock.h"

struct op;

struct handle {
  struct refblock block;
  _Atomic int number;      /* -1: none yet, or none any more */
  _Atomic bool closed;     /* it is not to be used any more */
  _Atomic bool leaving;    /* the number goes when nothing is in flight */
  bool ring;               /* closed by the process alone that has made it */
  uint32_t fork_id;           /* which one that is */
  struct op *ops;          /* what is under way on it in its state: op.h */
  struct handles *owner;   /* whose it is; NULL: nobody's */
  struct handle *next;     /* there; or in a list of handle_dup's caller */
};

/* The handles of one state, by their numbers; zeroed, it has none. It holds no
** memory when the last of them has been closed. */
struct handles {
  struct handle **at, *first;  /* buckets; `first` is the only one at first */
  uint32_t size, count;
};

/* A handle without a number; NULL for want of memory. */
struct handle *handle_new (void);

/* Give it this number. One in `all` that had it before has lost it: somebody
** else has closed it, or the kernel would not have handed it out anew. */
void handle_own (struct handles *all, struct handle *h, int number);

/* A handle of nobody's for a dup of a number that somebody else may close at
** any time; NULL and errno. */
struct handle *handle_dup (int number);

/* Who owns this number? NULL: nobody. */
struct handle *handle_find (const struct handles *all, int number);

/* The kernel has handed this number out: it is not what it was before. */
void handle_renew (struct handles *all, int number);

static inline bool handle_closed (const struct handle *h) {
  return atomic_load(&h->closed);
}

/* Its number, or -1 if it has been closed. Whoever passes that on to the
** kernel without being the state's own thread counts as in flight before it
** asks. */
static inline int handle_number (const struct handle *h) {
  return handle_closed(h) ? -1 : atomic_load(&h->number);
}

/* The same for a call of any thread, and its end; no end for -1. */
int handle_use (struct handle *h);
static inline void handle_done (struct handle *h) {
  refblock_land(&h->block);
}

/* It counts as closed, and keeps its number. */
void handle_shut (struct handle *h);

/* Close it: 0, or -errno. The count stays the caller's. For who closes the
** number himself: it, or -1 where it stays taken for what is in flight. */
int handle_close (struct handle *h);
int handle_leave (struct handle *h);

/* Give up the number without closing it: it counts as closed. */
int handle_release (struct handle *h);

/* Grows whenever any handle of this process is shut: while it stands still
** there is no need to look at each queued message's target again. */
unsigned handle_shuttings (void);

#endif
