/*
** recvmsg_out: parse what the kernel writes when it receives a message:
** control messages, and the header, name, control messages and payload that
** recvmsg_multishot puts into a buffer. (No Lua in it.)
**
** Invariant: the peer influences all of these bytes, so no access goes beyond
** the lengths that were submitted, whatever the lengths found there say. The
** bytes may lie at any address, so structs are copied out.
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

/* The control message at offset `*at` of `size` bytes; `*at` moves behind it.
** False at the end, or if the rest is too short for one. One that was cut off
** is shorter. */
bool cmsg_next (unsigned char *bytes, size_t size, size_t *at,
                struct cmsg *m);

static inline bool cmsg_is (const struct cmsg *m, int level, int type,
                            size_t size) {
  return m->level == level && m->type == type && m->size >= size;
}

/* An iteration over the descriptors in control messages that have no owner
** yet; it starts zeroed. */
struct cmsg_fd {
  struct cmsg in;          /* the control message that contains it */
  size_t at, next;
  unsigned char *place;
  int number;
};

bool cmsg_brings_fds (const struct cmsg *m);
bool cmsg_next_fd (unsigned char *bytes, size_t size, struct cmsg_fd *fd);

/* The descriptor has an owner now: further iterations skip it. */
void cmsg_own_fd (struct cmsg_fd *fd);

/* The offset of the control messages that a recvmsg has received into
** `capacity` bytes, which were zero before; the kernel reports `*size` bytes,
** and `*size` becomes 0 if it has failed. A recvmsg that had to wait may have
** tried several times, and each try writes behind the one before it: even one
** that finds nothing, on a unix stream with SO_PASSCRED, writes a sender with
** uid 0. Only the last try counts. */
size_t cmsg_of_last_try (unsigned char *bytes, size_t capacity, size_t *size);

/* Close the descriptors without an owner in control messages; or only those
** that the peer has sent (SCM_RIGHTS). */
void cmsg_close (unsigned char *bytes, size_t size);
void cmsg_close_rights (unsigned char *bytes, size_t size);

/* The sizes of the name and of the control messages in the buffers of a
** recvmsg_multishot; both 0 for any other request. */
struct recvmsg_layout {
  uint16_t name, control;
};

struct received {
  const unsigned char *name;
  unsigned char *control;
  unsigned char *payload;
  uint32_t name_size, control_size, payload_size;
  uint32_t name_full, payload_full;  /* the sizes before they were cut off */
  uint32_t flags;
};

/* Parse a buffer by the lengths that were submitted; false if it is too short
** for them. */
bool recvmsg_parse (unsigned char *at, size_t size, unsigned name_capacity,
                    unsigned control_capacity, struct received *out);

/* Close the descriptors without an owner in a buffer. */
void recvmsg_close (unsigned char *at, size_t size,
                    struct recvmsg_layout layout);

#endif
