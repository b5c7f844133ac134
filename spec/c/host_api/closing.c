/* What a closed state leaves, and a cancelled thread. */

#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

/* A child that was forked has copies of what is behind the descriptor. */
static void a_closed_state_is_polled_no_more (void) {
  for (int close_first = 0; close_first < 2; close_first++) {
    lua_State *L = new_state();
    struct epoll_event e = { .events = EPOLLIN };
    int ep = epoll_create1(EPOLL_CLOEXEC), fds[2];
    pid_t child;
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, uring->fd(L), &e) == 0);
    step(L);
    must_run(L, "uring.spawn(print)");
    CHECK(epoll_wait(ep, &e, 1, 0) == 1 && pipe(fds) == 0);
    child = fork();
    if (child == 0) {
      char c;
      close(fds[1]);
      _exit(read(fds[0], &c, 1) != 0);
    }
    close(fds[0]);
    if (close_first) uring->close(L, 1);
    lua_close(L);
    CHECK(epoll_wait(ep, &e, 1, 0) == 0);
    close(fds[1]);
    CHECK(waitpid(child, NULL, 0) == child);
    close(ep);
  }
}

static unsigned count_fds (void) {
  unsigned n = 0;
  for (int i = 0; i < 100; i++) n += fcntl(i, F_GETFD) >= 0;
  return n;
}

/* What was opened for a task that does not run any more is closed. */
static void a_closed_state_leaves_no_descriptor (void) {
  static const char *const opens[] = {
    "uring.open('/dev/null')",
    "uring.await(openat)",
    "uring.loop():ring():await_chain{ uring.sqe():prep_nop(), openat }",
    "assert(uring.ring()):await(openat)",
  };
  for (size_t i = 0; i < sizeof(opens) / sizeof(*opens); i++) {
    struct uring_step s = usual_step();
    unsigned before = count_fds();
    lua_State *L = new_state();
    must_run(L, "openat = uring.sqe():prep_openat(uring.AT_FDCWD, '/dev/null',"
                "  uring.O_RDONLY, 0)");
    lua_pushfstring(L, "uring.spawn(function() %s ran = 1 end)", opens[i]);
    must_run(L, lua_tostring(L, -1));
    s.max = 1;
    CHECK(uring->step(L, &s) == 0 && s.resumed == 1);
    CHECK(global_integer(L, "ran") == 0);
    lua_close(L);
    CHECK(count_fds() == before);
  }
}

/* Nor what the first of a chain has opened, while its second goes on, on
** a ring that closes after the loop, for it was made before. */
static void a_closed_state_ends_chains (void) {
  struct uring_step s = usual_step();
  unsigned before = count_fds();
  lua_State *L = new_state_only();
  must_run(L, "ring = assert(uring.ring())  uring.spawn(function()"
    "  ring:await_chain{ uring.sqe():prep_openat(uring.AT_FDCWD, '/dev/null',"
    "    uring.O_RDONLY, 0), uring.sqe():prep_timeout(100) } ran = 1 end)");
  for (int i = 0; i < 5; i++) CHECK(uring->step(L, &s) == 0);
  CHECK(global_integer(L, "ran") == 0);
  lua_close(L);
  CHECK(count_fds() == before);
}

static uring_inbox *cancelled_inbox;

/* All that may be called from any thread, by one that is to end at its next
** cancellation point. */
static void *call_while_cancelled (void *ended) {
  uring_inbox *inbox = cancelled_inbox, *other;
  uring_value v[2] = { block("x"), { .type = URING_FD } };
  struct uring_stats s = { .size = sizeof(s) };
  uring_message *m;
  uring_box *box, *named;
  int fd = eventfd(0, EFD_CLOEXEC);
  v[1].u.fd = dup(fd);
  released = 0;
  pthread_cancel(pthread_self());
  CHECK(uring->find("", "cancelled", 9, &named) == 0);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  CHECK(uring->reply(m, v, 1) == 0);
  uring->message_free(m);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  CHECK(uring->refuse(m, "no") == 0);
  uring->message_free(m);
  CHECK(uring->inbox_take(inbox, &m) == -EAGAIN);
  box = uring->inbox_box(inbox);
  v[0] = block("x");
  CHECK(uring->post(box, v, 2) == 0);
  CHECK(uring->wanting(box, fd) == 0);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  uring->message_free(m);
  v[1].u.fd = dup(fd);
  CHECK(uring->post(named, v, 2) == 0);
  CHECK(uring->stats(named, &s) == 0 && s.messages == 1);
  CHECK(uring->inbox_new(NULL, &other) == 0);
  CHECK(uring->monitor(box, other, 1) == 0);
  v[0] = (uring_value){ .type = URING_BOX };
  uring->hold(box);
  v[0].u.s.p = box;
  v[1].u.fd = dup(fd);
  CHECK(uring->post(box, v, 2) == 0);
  uring->release(box);
  CHECK(uring->inbox_close(inbox) == 1);
  CHECK(uring->inbox_close(other) == 0);
  uring->release(named);
  *(bool *)ended = true;
  pthread_testcancel();
  return NULL;
}

static void a_cancelled_thread_ends_after_its_calls (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o),
    .types = 1u << URING_BLOCK | 1u << URING_FD | 1u << URING_BOX
             | 1u << URING_INTEGER };
  pthread_t thread;
  bool ended = false;
  void *result;
  uring_box *box;
  CHECK(uring->inbox_new(&o, &cancelled_inbox) == 0);
  box = uring->inbox_box(cancelled_inbox);
  set_address(L, "address", box);
  uring->release(box);
  must_run(L, "mailbox = uring.mailbox{ name = 'cancelled' }"
              "for i = 1, 2 do"
              "  uring.spawn(function() address:call(i) end)"
              " end"
              " uring.spawn(function() got = mailbox:receive():string() end)"
              " uring.loop():fd()");
  {
    struct uring_step s = usual_step();
    CHECK(uring->step(L, &s) == 0 && !s.failed);
  }
  pthread_create(&thread, NULL, call_while_cancelled, &ended);
  pthread_join(thread, &result);
  if (!CHECK(ended)) exit(1);  /* (it may have kept a lock) */
  CHECK(result == PTHREAD_CANCELED && released == 1);
  {
    struct uring_step s = usual_step();
    CHECK(uring->step(L, &s) == 0 && s.failed);  /* "no" */
    lua_settop(L, 0);
  }
  must_run(L, "assert(got == 'x') collectgarbage() collectgarbage()");
  lua_close(L);
  CHECK(released == 3);
}


const struct test closing_tests[] = {
  {"a closed state is polled no more", a_closed_state_is_polled_no_more},
  {"a closed state leaves no descriptor", a_closed_state_leaves_no_descriptor},
  {"a closed state ends chains", a_closed_state_ends_chains},
  {"a cancelled thread ends after its calls",
   a_cancelled_thread_ends_after_its_calls},
  {NULL, NULL}
};
