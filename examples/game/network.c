/*
** network: the thread between a UDP socket and the actors. It knows no Lua: a
** datagram "7 text" becomes a message to the mailbox with the name "actor 7",
** and what actors send to its inbox goes back to the player.
**
** It never waits for an actor. What cannot be posted is counted: the mailbox
** is full, or away, as its zone is being loaded again. A box that was found is
** kept until a post says that its mailbox is closed; then the name is looked
** up again, once.
*/

#include "game.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define BATCH 64              /* datagrams, before answers have their turn */

static uring_box *find (int actor) {
  char name[32];
  uring_box *box;
  int len = snprintf(name, sizeof(name), "actor %d", actor);
  return uring->find(REALM, name, (size_t)len, &box) == 0 ? box : NULL;
}

/* 0, -EAGAIN or -EPIPE. */
static int post (uring_box **box, int actor, const uring_value *values,
                 uint32_t n) {
  int err;
  if (*box == NULL) *box = find(actor);
  if (*box == NULL) return -EPIPE;
  err = uring->post(*box, values, n);
  if (err == -EPIPE) {
    uring->release(*box);
    *box = NULL;
  }
  return err;
}

static void deliver (struct network *net, uring_box **boxes, char *data,
                     size_t len, uint16_t player) {
  char *text;
  int actor = (int)strtol(data, &text, 10);
  uring_value v[3] = {
    { .type = URING_STRING, .u.s = { "datagram", 8 } },
    { .type = URING_INTEGER, .u.i = player },
    { .type = URING_STRING, .u.s = { text, len - (size_t)(text - data) } }
  };
  int err = -EPIPE;
  net->datagrams++;
  if (actor >= 1 && actor <= options.actors) {
    bool known = boxes[actor] != NULL;
    err = post(&boxes[actor], actor, v, 3);
    if (err == -EPIPE && known) err = post(&boxes[actor], actor, v, 3);
  }
  if (err == 0) net->posted++;
  else if (err == -EAGAIN) net->full++;
  else if (err == -EPIPE) net->away++;
  else die("uring->post", -err);
}

/* Will there be more? */
static bool receive (struct network *net, uring_box **boxes) {
  char data[512];
  struct sockaddr_in from;
  for (int i = 0; i < BATCH; i++) {
    socklen_t size = sizeof(from);
    ssize_t n = recvfrom(net->fd, data, sizeof(data) - 1, MSG_DONTWAIT,
                         (struct sockaddr *)&from, &size);
    if (n < 0) return false;
    data[n] = '\0';
    deliver(net, boxes, data, (size_t)n, ntohs(from.sin_port));
  }
  return true;
}

static void answer (struct network *net, const uring_value *v, uint32_t n) {
  struct sockaddr_in to = {
    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
  };
  if (n != 2 || v[0].type != URING_INTEGER || v[1].type != URING_STRING)
    return;
  to.sin_port = htons((uint16_t)v[0].u.i);
  (void)!sendto(net->fd, v[1].u.s.p, v[1].u.s.len, MSG_DONTWAIT,
                (const struct sockaddr *)&to, sizeof(to));
}

static void take_answers (struct network *net) {
  uring_message *m;
  int err;
  while ((err = uring->inbox_take(net->inbox, &m)) == 0) {
    uint32_t n;
    const uring_value *values = uring->values(m, &n);
    answer(net, values, n);
    uring->message_free(m);
    net->taken++;
  }
  if (err != -EAGAIN && err != -EPIPE) die("uring->inbox_take", -err);
}

void network_open (struct network *net) {
  struct sockaddr_in a = {
    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
  };
  int err = uring->inbox_new(NULL, &net->inbox);
  if (err < 0) die("uring->inbox_new", -err);
  net->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (net->fd < 0 || bind(net->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
    die("a UDP socket", errno);
  net->stop = eventfd(0, EFD_CLOEXEC);
  if (net->stop < 0) die("eventfd", errno);
}

/* When it is told to stop nothing is sent any more: it takes what is there. */
void *network_run (void *arg) {
  struct network *net = arg;
  uring_box **boxes = calloc((size_t)options.actors + 1, sizeof(*boxes));
  struct pollfd fds[3] = {
    { .fd = net->fd, .events = POLLIN },
    { .fd = uring->inbox_fd(net->inbox), .events = POLLIN },
    { .fd = net->stop, .events = POLLIN }
  };
  bool more = false;
  if (boxes == NULL) die("boxes", ENOMEM);
  while (more || fds[2].revents == 0) {
    if (poll(fds, 3, more ? 0 : -1) < 0 && errno != EINTR) die("poll", errno);
    more = receive(net, boxes);
    take_answers(net);
  }
  for (int i = 1; i <= options.actors; i++)
    if (boxes[i] != NULL) uring->release(boxes[i]);
  free(boxes);
  net->undelivered = uring->inbox_close(net->inbox);
  return NULL;
}
