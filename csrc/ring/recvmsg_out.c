/*
** recvmsg_out: bounds-checked readers of received messages. The lengths in
** the bytes themselves may be wrong; they only ever shorten what is read.
*/

#include "compat.h"
#include "ring/recvmsg_out.h"

#include <string.h>
#include <unistd.h>


bool cmsg_next (unsigned char *bytes, size_t size, size_t *at,
                struct cmsg *m) {
  struct cmsghdr h;
  if (size < *at || size - *at < sizeof(h))
    return false;
  memcpy(&h, bytes + *at, sizeof(h));
  if (h.cmsg_len < sizeof(h))  /* guard: or the iteration would not end */
    return false;
  if (h.cmsg_len > size - *at) h.cmsg_len = size - *at;  /* cut off */
  m->level = h.cmsg_level;
  m->type = h.cmsg_type;
  m->data = bytes + *at + CMSG_LEN(0);
  m->size = h.cmsg_len > CMSG_LEN(0) ? h.cmsg_len - CMSG_LEN(0) : 0;
  *at += CMSG_ALIGN(h.cmsg_len);
  return true;
}

size_t cmsg_of_last_try (unsigned char *bytes, size_t capacity,
                         size_t *size) {
  size_t all = 0;
  struct cmsg m;
  while (cmsg_next(bytes, capacity, &all, &m)) {}
  if (all > capacity) all = capacity;  /* (the last one was cut off) */
  if (*size > all) *size = 0;  /* (the kernel has not set it) */
  return all - *size;
}

bool cmsg_brings_fds (const struct cmsg *m) {
  return m->level == SOL_SOCKET
         && (m->type == SCM_RIGHTS || m->type == SCM_PIDFD);
}

bool cmsg_next_fd (unsigned char *bytes, size_t size, struct cmsg_fd *fd) {
  for (;;) {
    while (fd->next + sizeof(int) <= fd->in.size) {
      fd->place = fd->in.data + fd->next;
      fd->next += sizeof(int);
      memcpy(&fd->number, fd->place, sizeof(int));
      if (fd->number >= 0)  /* (instead of a pidfd there may be an error) */
        return true;
    }
    do {
      if (!cmsg_next(bytes, size, &fd->at, &fd->in))
        return false;
    } while (!cmsg_brings_fds(&fd->in));
    fd->next = 0;
  }
}

void cmsg_own_fd (struct cmsg_fd *fd) {
  memset(fd->place, 0xff, sizeof(int));
}

static void close_fds (unsigned char *bytes, size_t size, bool rights) {
  for (struct cmsg_fd fd = {0}; cmsg_next_fd(bytes, size, &fd); ) {
    if (rights && fd.in.type != SCM_RIGHTS) continue;
    close(fd.number);
    cmsg_own_fd(&fd);  /* guard: closed once */
  }
}

void cmsg_close (unsigned char *bytes, size_t size) {
  close_fds(bytes, size, false);
}

void cmsg_close_rights (unsigned char *bytes, size_t size) {
  close_fds(bytes, size, true);
}

bool recvmsg_parse (unsigned char *at, size_t size, unsigned name_capacity,
                    unsigned control_capacity, struct received *out) {
  struct io_uring_recvmsg_out h;
  size_t left = size;
  if (left < sizeof(h)) return false;
  memcpy(&h, at, sizeof(h));
  left -= sizeof(h);
  /* guard: subtract step by step, so that no sum wraps */
  if (left < name_capacity) return false;
  left -= name_capacity;
  if (left < control_capacity) return false;
  left -= control_capacity;
  if (left > UINT32_MAX) left = UINT32_MAX;
  out->name = at + sizeof(h);
  out->control = at + sizeof(h) + name_capacity;
  out->payload = out->control + control_capacity;
  out->name_full = h.namelen;
  out->name_size = h.namelen < name_capacity ? h.namelen : name_capacity;
  out->control_size = h.controllen < control_capacity ? h.controllen
                                                  : control_capacity;
  out->payload_size = h.payloadlen < left ? h.payloadlen : (uint32_t)left;
  out->payload_full = h.payloadlen;
  out->flags = h.flags;
  return true;
}

void recvmsg_close (unsigned char *at, size_t size,
                    struct recvmsg_layout layout) {
  struct received r;
  if (layout.control > 0
      && recvmsg_parse(at, size, layout.name, layout.control, &r))
    cmsg_close(r.control, r.control_size);
}
