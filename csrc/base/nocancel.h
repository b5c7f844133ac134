/*
** nocancel: calls that are no cancellation points. (No Lua in it.)
**
** Threads of a host send messages, and the host may cancel them
** (pthread_cancel). One that ended in the middle of a send, as in the write(2)
** of a doorbell, would keep a lock or a count for ever. So whatever such
** a thread may call has no cancellation point: it ends after the send.
*/

#ifndef uring_nocancel_h
#define uring_nocancel_h

#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

static inline ssize_t nocancel_read (int fd, void *p, size_t size) {
  int before;
  ssize_t n;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  n = read(fd, p, size);
  pthread_setcancelstate(before, NULL);
  return n;
}

static inline ssize_t nocancel_write (int fd, const void *p, size_t size) {
  int before;
  ssize_t n;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  n = write(fd, p, size);
  pthread_setcancelstate(before, NULL);
  return n;
}

static inline void nocancel_close (int fd) {
  int before;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  close(fd);
  pthread_setcancelstate(before, NULL);
}

/* Add one to an eventfd. */
static inline void nocancel_signal (int eventfd) {
  uint64_t one = 1;
  nocancel_write(eventfd, &one, sizeof(one));
}

#endif
