/*
** fd: descriptors that this library owns: `uring.fd(n)`.
**
** The number lies in a block, so that an operation which the kernel starts
** late (a later member of a chain, one with IOSQE_ASYNC or IO_DRAIN) keeps
** it from being closed under it, and given to another file. What the kernel
** has already taken up has a hold of its own and does not delay a close.
**
** What can never happen: a number is closed twice, or while a queued SQE
** that names it has not been submitted.
*/

#ifndef uring_fd_h
#define uring_fd_h

#include "block.h"
#include "state.h"

struct descriptor {
  struct block block;
  _Atomic int number;      /* -1: closed */
  _Atomic bool closing;    /* as soon as no operation needs it */
};

struct fd {                /* the userdata */
  struct descriptor *d;    /* NULL: closed */
};

/* Own `number` in a new uring.fd on top. On failure the number stays the
** caller's and memory is the error that is raised. */
void fd_push (lua_State *L, int number);

/* The number of a descriptor block, or -1 if it has been closed. */
int descriptor_number (struct block *b);

void fd_open (lua_State *L);   /* define the class */
int fd_new (lua_State *L);     /* uring.fd(n) */

#endif
