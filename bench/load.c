/*
** load: load generator and stopwatch for the socket servers of the benchmarks.
**
**     build/bench/load WORK N COMMAND...
**
** Starts `COMMAND... WORK PORT` as a process, which prints the port that it
** serves on 127.0.0.1; sends it N messages (connections, mebibytes) after some
** to warm up; ends it, and prints two figures: the server's nanoseconds of
** processor time for each message, and those of wall time; for streams, for
** each KiB. The server and the load have a processor each, except for works in
** which only one of them can run at any time: there a second processor would
** only add the time that it takes to wake up. PORT is the port from which the
** load sends datagrams. All servers must be measured in the same way, however
** they are written.
**
** Only for udp_receive the server itself reports its time: it waits for a byte
** on its standard input until a whole burst is in its socket.
*/

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE      64          /* of a message */
#define MOST      128         /* datagrams in a burst */
#define STREAMED  (1 << 18)   /* read or written at a time */

static pid_t server;
static FILE *answers;
static int gate;
static uint16_t port;
static unsigned char bytes[STREAMED];

static void end_server (void) {
  if (server <= 0)
    return;
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
}

static void give_up (const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  end_server();
  exit(1);
}

static ssize_t must (ssize_t rc, const char *what) {
  if (rc < 0) give_up(what);
  return rc;
}

static void pin (size_t cpu) {
  cpu_set_t set, all;
  if (sched_getaffinity(0, sizeof(all), &all) < 0)
    return;
  for (size_t i = 0; i < CPU_SETSIZE; i++) {
    if (CPU_ISSET(i, &all) && cpu-- == 0) {
      CPU_ZERO(&set);
      CPU_SET(i, &set);
      sched_setaffinity(0, sizeof(set), &set);
      return;
    }
  }
}

static void start_server (char **command, bool together) {
  int in[2], out[2], number = 0;
  must(pipe(in), "pipe");
  must(pipe(out), "pipe");
  server = fork();
  must(server, "fork");
  if (server == 0) {
    pin(0);
    dup2(in[0], 0);
    dup2(out[1], 1);
    close(in[0]);
    close(in[1]);
    close(out[0]);
    close(out[1]);
    execvp(command[0], command);
    _exit(127);
  }
  pin(together ? 0 : 1);
  close(in[0]);
  close(out[1]);
  gate = in[1];
  answers = fdopen(out[0], "r");
  if (answers == NULL || fscanf(answers, "%d", &number) != 1) {
    errno = EPROTO;
    give_up("the server says no port");
  }
  port = (uint16_t)number;
}


/* ---- times ------------------------------------------------------------- */

static clockid_t of_server;
static double cpu, wall;
static double spent;      /* as the server reports it */

static double now (clockid_t clock) {
  struct timespec ts;
  must(clock_gettime(clock, &ts), "clock_gettime");
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void begin (void) {
  cpu = now(of_server);
  wall = now(CLOCK_MONOTONIC);
}

static void end (double n) {
  double w = now(CLOCK_MONOTONIC) - wall, c = now(of_server) - cpu;
  if (spent > 0) c = spent;
  printf("%.3f %.3f\n", c / n, w / n);
}


/* ---- sockets ----------------------------------------------------------- */

static struct sockaddr_in address (void) {
  struct sockaddr_in a;
  memset(&a, 0, sizeof(a));
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

/* Its port is the server's second argument, for servers that cannot answer
** before they are connected. */
static int datagrams;

static void make_datagrams (char *text, size_t most) {
  struct sockaddr_in a = address();
  socklen_t len = sizeof(a);
  datagrams = (int)must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                        "socket");
  must(bind(datagrams, (struct sockaddr *)&a, sizeof(a)), "bind");
  must(getsockname(datagrams, (struct sockaddr *)&a, &len), "getsockname");
  snprintf(text, most, "%d", ntohs(a.sin_port));
}

static int connected (int type) {
  struct sockaddr_in a = address();
  struct timeval patience = { 5, 0 };
  int one = 1;
  int fd = type == SOCK_DGRAM ? datagrams
           : (int)must(socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (type == SOCK_STREAM)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  must(connect(fd, (struct sockaddr *)&a, sizeof(a)), "connect");
  return fd;
}

/* `n` datagrams, as many at a time as the window has. */
static struct mmsghdr window[MOST];

static void make_window (void) {
  static struct iovec iov[MOST];
  for (unsigned i = 0; i < MOST; i++) {
    iov[i].iov_base = bytes + i * SIZE;
    iov[i].iov_len = SIZE;
    memset(&window[i], 0, sizeof(window[i]));
    window[i].msg_hdr.msg_iov = &iov[i];
    window[i].msg_hdr.msg_iovlen = 1;
  }
}

static void send_window (int fd, unsigned n) {
  for (unsigned sent = 0; sent < n; )
    sent += (unsigned)must(sendmmsg(fd, window + sent, n - sent, 0),
                           "sendmmsg");
}


/* ---- works ------------------------------------------------------------- */

static void udp_receive (unsigned burst, unsigned n) {
  int fd = connected(SOCK_DGRAM);
  unsigned bursts = n / burst, warm = bursts / 8 + 2;
  make_window();
  for (unsigned i = 0; i < warm + bursts; i++) {
    double ns;
    if (i == warm) {
      begin();
      spent = 0;
    }
    send_window(fd, burst);
    must(write(gate, "", 1), "write");
    if (fscanf(answers, "%lf", &ns) != 1) give_up("the server's answer");
    spent += ns;
  }
  end(bursts * burst);
}

static void udp_echo (unsigned outstanding, unsigned n) {
  int fd = connected(SOCK_DGRAM);
  unsigned warm = n / 8, done = 0, before = 0;
  make_window();
  send_window(fd, outstanding);
  while (done < warm + n) {
    unsigned got = (unsigned)must(recvmmsg(fd, window, outstanding,
                                           MSG_WAITFORONE, NULL),
                                  "recvmmsg");
    for (unsigned i = 0; i < got; i++)
      if (window[i].msg_len != SIZE) give_up("a datagram has another size");
    done += got;
    if (before == 0 && done >= warm) {
      before = done;
      begin();
    }
    send_window(fd, got);
  }
  end(done - before);
}

/* One message in flight on each of the connections. */
static void tcp_echo (unsigned connections, unsigned n) {
  static struct epoll_event events[256];
  static unsigned got[2048];
  int poll = (int)must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  int *fds = calloc(connections, sizeof(*fds));
  unsigned warm = n / 8 + connections * 2, done = 0;
  if (fds == NULL) give_up("memory");
  for (unsigned i = 0; i < connections; i++) {
    struct epoll_event e = { .events = EPOLLIN, .data.u32 = i };
    fds[i] = connected(SOCK_STREAM);
    must(epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &e), "epoll_ctl");
    must(send(fds[i], bytes, SIZE, 0), "send");
  }
  while (done < warm + n) {
    int ready = (int)must(epoll_wait(poll, events, 256, 5000), "epoll_wait");
    if (ready == 0) give_up("the server is silent");
    for (int i = 0; i < ready; i++) {
      unsigned which = events[i].data.u32;
      ssize_t size = recv(fds[which], bytes, SIZE, MSG_DONTWAIT);
      if (size == 0) give_up("the server closed");
      got[which] += (unsigned)must(size, "recv");
      if (got[which] < SIZE) continue;
      got[which] = 0;
      if (++done == warm) begin();
      must(send(fds[which], bytes, SIZE, 0), "send");
    }
  }
  end(n);
}

/* The server closes each connection. The load then resets its own end, so that
** no port stays in TIME_WAIT. */
static void accept_ (unsigned n) {
  enum { IN_FLIGHT = 64 };
  struct linger reset = { 1, 0 };
  int fds[IN_FLIGHT];
  unsigned warm = n / 8 + IN_FLIGHT;
  for (unsigned i = 0; i < IN_FLIGHT; i++) fds[i] = connected(SOCK_STREAM);
  for (unsigned i = 0; i < warm + n; i++) {
    unsigned at = i % IN_FLIGHT;
    if (i == warm) begin();
    if (must(recv(fds[at], bytes, 1, 0), "recv") != 0)
      give_up("the server did not close");
    setsockopt(fds[at], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fds[at]);
    fds[at] = connected(SOCK_STREAM);
  }
  end(n);
}

/* For each KiB that the server sends, or receives. */
static void stream (int out, unsigned mebibytes) {
  int fd = connected(SOCK_STREAM);
  uint64_t warm = (uint64_t)mebibytes << 17, all = (uint64_t)mebibytes << 20;
  uint64_t done = 0;
  int begun = 0;
  while (done < warm + all) {
    ssize_t size = out ? send(fd, bytes, STREAMED, 0)
                       : recv(fd, bytes, STREAMED, 0);
    if (size == 0) give_up("the server closed");
    done += (uint64_t)must(size, "stream");
    if (!begun && done >= warm) {
      begun = 1;
      begin();
      warm = done;
    }
  }
  end((double)(done - warm) / 1024);
}

int main (int argc, char **argv) {
  unsigned n;
  struct rlimit files;
  const char *work;
  char own_port[16];
  if (argc < 4) {
    fprintf(stderr, "usage: load WORK N COMMAND...\n");
    return 2;
  }
  work = argv[1];
  n = (unsigned)atoi(argv[2]);
  signal(SIGPIPE, SIG_IGN);
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  make_datagrams(own_port, sizeof(own_port));
  /* its command, then the work and the port */
  memmove(argv, argv + 3, (size_t)(argc - 3) * sizeof(*argv));
  argv[argc - 3] = (char *)(uintptr_t)work;
  argv[argc - 2] = own_port;
  argv[argc - 1] = NULL;
  start_server(argv, strcmp(work, "udp_receive") == 0
               || strcmp(work, "udp_echo_1") == 0
               || strcmp(work, "tcp_echo_1") == 0);
  if (clock_getcpuclockid(server, &of_server) != 0) give_up("its clock");
  if (strcmp(work, "udp_receive") == 0) udp_receive(MOST, n);
  else if (strcmp(work, "udp_echo_1") == 0) udp_echo(1, n);
  else if (strcmp(work, "udp_echo_32") == 0) udp_echo(32, n);
  else if (strcmp(work, "tcp_echo_1") == 0) tcp_echo(1, n);
  else if (strcmp(work, "tcp_echo_64") == 0) tcp_echo(64, n);
  else if (strcmp(work, "tcp_echo_1000") == 0) tcp_echo(1000, n);
  else if (strcmp(work, "accept") == 0) accept_(n);
  else if (strncmp(work, "receive_", 8) == 0) stream(1, n);
  else if (strncmp(work, "send_", 5) == 0) stream(0, n);
  else {
    fprintf(stderr, "load: no work '%s'\n", work);
    end_server();
    return 2;
  }
  end_server();
  return 0;
}
