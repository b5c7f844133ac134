/*
** players: the thread that plays the players. It sends datagrams to actors,
** and counts the answers. With --flood it sends as fast as it can, and half of
** that to one actor, more than can be taken.
*/

#include "game.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 10000000
#define BURST     10          /* datagrams in a period */

static int open_socket (uint16_t port) {
  struct sockaddr_in a = {
    .sin_family = AF_INET, .sin_port = htons(port),
    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
  };
  struct timeval patience = { .tv_usec = PERIOD_NS / 1000 };
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0
      || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                    sizeof(patience)) < 0)
    die("the players' socket", errno);
  return fd;
}

static int next_actor (int64_t n) {
  if (options.flood && n % 2 == 0) return 1;
  return (int)(n / (options.flood ? 2 : 1) % options.actors) + 1;
}

static void say (struct players *p, int fd) {
  char text[64];
  int actor = next_actor(p->sent);
  int len = snprintf(text, sizeof(text), "%d hello, for the %jdth time",
                     actor, (intmax_t)p->sent);
  if (send(fd, text, (size_t)len, 0) == len) p->sent++;
}

static void hear (struct players *p, int fd, int flags) {
  char text[512];
  while (recv(fd, text, sizeof(text), flags) >= 0) p->answers++;
}

void *players_run (void *arg) {
  struct players *p = arg;
  int fd = open_socket(p->port);
  int64_t t = nanoseconds(CLOCK_MONOTONIC);
  int64_t end = t + (int64_t)(p->seconds * 1e9);
  for (; t < end; t += PERIOD_NS) {
    do {
      for (int i = 0; i < BURST; i++) say(p, fd);
      hear(p, fd, MSG_DONTWAIT);
    } while (options.flood && nanoseconds(CLOCK_MONOTONIC) < t + PERIOD_NS);
    wait_until(t + PERIOD_NS);
  }
  while (!atomic_load(&p->stop)) hear(p, fd, 0);
  hear(p, fd, 0);
  close(fd);
  return NULL;
}
