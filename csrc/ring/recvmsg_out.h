/*
** recvmsg_out: what the kernel writes when it receives a message: the header,
** name and payload that recvmsg_multishot puts into a buffer, and control
** messages one after another. (No Lua in it.)
**
** A peer has a say in all of it, so it is read with bounds, by copying (it may
** lie at any address), and by the lengths that were submitted, never by those
** that are found there.
*/

#ifndef uring_recvmsg_out_h
#define uring_recvmsg_out_h

#include "compat.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct cmsg {
  int level, type;
  unsigned char *data;
  size_t size;
};

/* The control message at `*at` of `size` bytes, and step over it; false at the
** end, or where no other can be. One that was cut off is shorter. */
bool cmsg_next (unsigned char *bytes, size_t size, size_t *at,
                struct cmsg *m);

static inline bool cmsg_is (const struct cmsg *m, int level, int type,
                            size_t size) {
  return m->level == level && m->type == type && m->size >= size;
}

/* A walk over the descriptors in control messages, begun zeroed: those that
** have no owner yet. */
struct cmsg_fd {
  struct cmsg in;          /* the message that it has come in */
  size_t at, next;
  unsigned char *place;
  int number;
};

bool cmsg_brings_fds (const struct cmsg *m);
bool cmsg_next_fd (unsigned char *bytes, size_t size, struct cmsg_fd *fd);

/* It has an owner now: who walks again does not find it. */
void cmsg_own_fd (struct cmsg_fd *fd);

/* What a recvmsg has left in `room` bytes, which were zero before, and says to
** be `*size` of them: where they begin; `*size` becomes 0 if it has failed. If
** it had to wait it may have tried several times, and each try writes behind
** the one before it. A try that finds nothing on a unix stream with
** SO_PASSCRED still names a sender, of uid 0. Only the last try counts. */
size_t cmsg_of_last_try (unsigned char *bytes, size_t room, size_t *size);

/* Close the descriptors in control messages that nobody has read; or only
** those that a peer has sent. */
void cmsg_close (unsigned char *bytes, size_t size);
void cmsg_close_rights (unsigned char *bytes, size_t size);

/* How recvmsg_multishot lays its buffers out; none: it is no such request. */
struct recvmsg_layout {
  uint16_t name, control;
};

struct received {
  const unsigned char *name;
  unsigned char *control;
  unsigned char *payload;
  uint32_t name_size, control_size, payload_size;
  uint32_t name_full, payload_full;  /* what there would have been */
  uint32_t flags;
};

/* Take a buffer apart, by the lengths that were submitted; false if it is too
** short for them. */
bool recvmsg_parse (unsigned char *at, size_t size, unsigned name_capacity,
                    unsigned control_capacity, struct received *out);

/* Close the descriptors in a buffer that nobody has read. */
void recvmsg_close (unsigned char *at, size_t size,
                    struct recvmsg_layout layout);

#endif
