/*
** msghdr: what sendmsg and recvmsg are told: `uring.msghdr{ … }`.
**
** The kernel reads and writes the header itself, and the name and the control
** messages behind it, until the request has completed (the man page has it
** shorter, and is wrong for recvmsg). So all of it lies in one counted block;
** the memory of the buffers in its iov is the kernel's for as long.
**
** Each request finds the header as it was made: the lengths that the last one
** left there are put right when the next begins.
**
** A closed one has no descriptors any more, neither those that it sends nor
** those that came and were not taken, whoever still counts it. An operation in
** flight is the last to have them.
*/

#ifndef uring_msghdr_h
#define uring_msghdr_h

#include "base/refblock.h"
#include "ring/recvmsg_out.h"
#include "lua/state.h"
#include "api/cmsg.h"
#include "api/sockaddr.h"

#include <sys/uio.h>

struct msg {
  struct refblock block;
  struct msghdr hdr;         /* what the kernel gets */
  struct address name;       /* whom to send to */
  unsigned char place[128];  /* what the kernel has as its name */
  unsigned name_capacity, control_capacity;
  struct control sent;       /* what is to be sent, */
  size_t control_size;       /* and its size */
  unsigned char *control;
  unsigned nheld;
  size_t copied;             /* bytes of strings */
  size_t weight;             /* what it counts as for the collector, or 0 */
  bool strings;              /* some of the iov are: only for sending */
  bool unread;               /* control messages have come */
  bool reading;              /* and become Lua's just now */
  struct refblock **held;       /* whose memory the iov names */
  struct iovec iov[];
};

/* The same in C: memory to send, or nothing; NULL for want of memory. */
struct msg *msg_new (unsigned niov);

/* Room for what is received, or what is to be sent. False: no memory. */
bool msg_make_control (struct msg *m, size_t size);

/* The msghdr at `arg`. */
struct msg *msghdr_check (lua_State *L, int arg);

/* The part of a long message that one request is for: bytes `from` to `upto`
** of its `size`. It ends where `most` bytes of strings, which are copied, are
** in it (`most` becomes what is left of them). Control messages go with the
** first. */
struct msg_part {
  size_t from, most;   /* what is asked for, */
  size_t upto, size;   /* and the answer */
};

/* A msghdr from the table of options at `index`, pushed, with `names` of which
** those of uring.msghdr count; of its iov that part. NULL: all. `*rc` becomes
** -errno if it cannot be used, for want of descriptors. */
struct msg *msghdr_push (lua_State *L, int index, const char *const *names,
                         struct msg_part *part, int *rc);

int msghdr_new (lua_State *L);      /* uring.msghdr{ … } */
int msghdr_recvmsg_out (lua_State *L);
void msghdr_open (lua_State *L);

#endif
