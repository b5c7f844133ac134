/*
** descriptor: a descriptor's number, and when it may be closed. (No Lua in
** it.)
**
** The kernel takes the file behind a number up when it starts a request, and
** has a hold of its own from then on. Until then the number must not become
** another file's: an operation that has not been started yet keeps it.
** Most start in the submit; those keep the number from being closed by
** collection alone (an owner's count), and an explicit close submits first.
** Those that start late (see starts_late in ring_submit.c) count as in flight,
** and delay an explicit close as well.
**
** What can never happen: a number is closed twice, or while a request that
** names it has not been started.
*/

#ifndef uring_descriptor_h
#define uring_descriptor_h

#include "block.h"

struct descriptor {
  struct block block;
  _Atomic int number;      /* -1: closed */
  _Atomic bool closing;    /* as soon as no operation needs it */
  struct descriptor *next; /* in a list of descriptor_dup's caller */
};

/* Own `number`; NULL for want of memory, and it stays the caller's. */
struct descriptor *descriptor_new (int number);

/* Own a dup of a number that somebody else may close at any time; NULL and
** errno. */
struct descriptor *descriptor_dup (int number);

/* The number, or -1 if it has been closed. */
int descriptor_number (struct descriptor *d);

/* Close the number, now or as soon as no operation needs it: 0, or -errno. */
int descriptor_close (struct descriptor *d);

/* Give up the number without closing it. */
int descriptor_give_up (struct descriptor *d);

#endif
