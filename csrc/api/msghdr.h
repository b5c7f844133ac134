/*
** msghdr: the message header of sendmsg and recvmsg: `uring.msghdr{ … }`.
**
** The kernel reads and writes the header, its name and its control messages
** until the request has completed (for recvmsg the man page gives a shorter
** time, and is wrong). So all of these are in one reference-counted block,
** which also keeps the memory of the buffers in its iov.
**
** Every request starts with the header as it was made: the lengths that the
** last request has left in it are reset when the next one begins.
**
** Invariant: once a closed msghdr is not in flight it has no descriptors open,
** neither those to send nor received ones that were not taken, even if it is
** still counted.
*/

#ifndef uring_msghdr_h
#define uring_msghdr_h

#include "base/refblock.h"
#include "lua/state.h"
#include "api/cmsg.h"
#include "api/sockaddr.h"

#include <sys/uio.h>

struct held {
  struct refblock *block;
  uint32_t moves;            /* as they were then */
};

struct msg {
  struct refblock block;
  struct account *account;
  size_t charged;
  struct msghdr hdr;         /* the kernel's view of this struct */
  struct address name;       /* the address to send to */
  unsigned char place[128];  /* msg_name: that address, or the sender's */
  unsigned name_capacity, control_capacity;
  struct control sent;       /* control messages to send, */
  size_t control_size;       /* their size, */
  unsigned char *control;    /* and their bytes; or those received */
  unsigned nheld;
  size_t copied;             /* bytes of copied strings */
  size_t weight;             /* its size, as the collector knows it, or 0 */
  bool strings;              /* the iov has strings: only for sending */
  bool unread;               /* received control messages were not taken */
  bool reading;              /* they are being converted to Lua values */
  struct held *held;         /* the owners of the memory in the iov */
  struct iovec iov[];
};

/* A msg for C code, with an empty iov; NULL if out of memory. */
struct msg *msg_new (struct account *a, unsigned niov);

/* Check that the value at `arg` is an array of buffers; with `out` of strings
** and leases, too. */
void msg_check_vector (lua_State *L, int arg, bool out);

/* A msg whose iov has these, and copies of the strings; NULL if out of memory.
** Runs no Lua. */
struct msg *msg_of_vector (lua_State *L, struct account *a, int arg);

/* Allocate memory for control messages, received or to send; false if there is
** none. */
bool msg_make_control (struct msg *m, size_t size);

/* Is it a msg with a buffer in its iov that has moved to another state since?
** It must not be queued any more. */
bool msg_has_moved (const struct refblock *b);

/* The msghdr at `arg`. */
struct msg *msghdr_check (lua_State *L, int arg);

/* The part of a long message that one request sends: bytes `from` to `upto` of
** its `size`. The part ends after `most` bytes of strings, because strings are
** copied; `most` becomes the unused rest. Control messages go with the first
** part. */
struct msg_part {
  size_t from, most;   /* in */
  size_t upto, size;   /* out */
};

/* Push a msghdr made from the option table at `index`. `names` are the allowed
** options; those of uring.msghdr are used. Its iov has that part of the
** message; `part` NULL is the whole. `*rc` becomes -errno if descriptors to
** send cannot be dup'ed: then it must not be used. */
struct msg *msghdr_push (lua_State *L, int index, const char *const *names,
                         struct msg_part *part, int *rc);

int msghdr_new (lua_State *L);      /* uring.msghdr{ … } */
int msghdr_recvmsg_out (lua_State *L);
void msghdr_open (lua_State *L);

#endif
