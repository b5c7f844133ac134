/* Threads that post, forks, and what outlives a state. */

#include "host.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#define THREADS 3
#define EACH    5000

static uring_box *shared;

static void *poster (void *arg) {
  intptr_t self = (intptr_t)arg;
  for (int i = 1; i <= EACH; i++) {
    uring_value v[3] = { integer(self), integer(i), block("bbbbbbbb") };
    int rc;
    while ((rc = uring->post(shared, v, 3)) == -EAGAIN) sched_yield();
    CHECK(rc == 0);
  }
  uring->release(shared);
  return NULL;
}

/* A host that polls; threads that post; answers to an inbox. */
static void threads_post_to_a_host_that_polls (void) {
  lua_State *L = new_state();
  pthread_t thread[THREADS];
  uring_inbox *inbox;
  uring_message *m = NULL;
  uint32_t n;
  int fd = uring->fd(L), rc;
  CHECK(uring->inbox_new(NULL, &inbox) == 0);
  {
    uring_box *own = uring->inbox_box(inbox);
    set_address(L, "reply", own);
    uring->release(own);
  }
  must_run(L,
    "mailbox = uring.mailbox{ capacity = 100 }"
    "uring.spawn(function()"
    "  local next, total = {}, 0"
    "  for thread, i, lease in mailbox:messages() do"
    "    assert(i == (next[thread] or 0) + 1)"
    "    next[thread] = i"
    "    total = total + #lease"
    "    if i % 2 == 0 then lease:release() end"
    "  end"
    "  reply:send(total)"
    "end)");
  shared = box_of(L, "mailbox");
  for (intptr_t i = 0; i < THREADS; i++) {
    uring->hold(shared);
    pthread_create(&thread[i], NULL, poster, (void *)i);
  }
  uring->release(shared);
  step(L);
  while ((rc = uring->inbox_take(inbox, &m)) == -EAGAIN) {
    if (!CHECK(readable(fd, 60000))) break;
    step(L);
  }
  CHECK(rc == 0 && uring->values(m, &n)->u.i == THREADS * EACH * 8);
  if (rc == 0) uring->message_free(m);
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  lua_close(L);
  CHECK(released == THREADS * EACH);
  CHECK(uring->inbox_close(inbox) == 0);
}

static _Atomic unsigned accepted;

static void *poster_until_closed (void *arg) {
  uring_value v = block("bbbbbbbb");
  int rc;
  (void)arg;
  while ((rc = uring->post(shared, &v, 1)) != -EPIPE) {
    if (rc == 0) atomic_fetch_add(&accepted, 1);
    else sched_yield();
  }
  uring->release(shared);
  return NULL;
}

static void *close_state (void *L) {
  lua_close(L);
  return NULL;
}

static void a_state_closes_under_posts (void) {
  for (int round = 0; round < 20; round++) {
    lua_State *L = new_state();
    pthread_t thread[2], closer;
    accepted = released = 0;
    must_run(L, "mailbox = uring.mailbox()"
                "uring.spawn(function()"
                "  kept = {}"
                "  for lease in mailbox:messages() do"
                "    if #kept < 10 then kept[#kept + 1] = lease end"
                "  end "
                "end)");
    shared = box_of(L, "mailbox");
    for (int i = 0; i < 2; i++) {
      uring->hold(shared);
      pthread_create(&thread[i], NULL, poster_until_closed, NULL);
    }
    while (accepted < 500) {
      struct uring_step s = usual_step();
      CHECK(uring->step(L, &s) == 0);
    }
    if (round % 3 == 0) CHECK(uring->close(L, 1) == 0);
    if (round % 2 == 0) lua_close(L);
    else {
      pthread_create(&closer, NULL, close_state, L);
      pthread_join(closer, NULL);
    }
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    CHECK(released == accepted);
    uring->release(shared);
  }
}

static void a_forked_child_is_told (void) {
  lua_State *L = new_state();
  struct uring_step s = usual_step();
  struct uring_loop_options options = { .size = sizeof(options) };
  uring_value v = integer(1);
  struct uring_stats stats = { .size = sizeof(stats) };
  uring_inbox *inbox;
  uring_box *box, *other;
  int status = -1;
  pid_t pid;
  must_run(L, "mailbox = uring.mailbox{ name = 'parent' }");
  box = box_of(L, "mailbox");
  step(L);
  pid = fork();
  if (pid == 0) {
    alarm(30);
    CHECK(uring->step(L, &s) == -ESTALE && uring->fd(L) == -ESTALE);
    CHECK(uring->timeout(L) == -ESTALE && uring->close(L, 1) == -ESTALE);
    lua_getglobal(L, "print");
    CHECK(uring->spawn(L, 0) == -ESTALE && lua_gettop(L) == 0);
    lua_getglobal(L, "mailbox");
    CHECK(uring->to_box(L, -1, &other) == -ESTALE);
    CHECK(uring->push_address(L, box) == -ESTALE && lua_gettop(L) == 1);
    lua_settop(L, 0);
    CHECK(uring->post(box, &v, 1) == -ESTALE);
    CHECK(uring->stats(box, &stats) == -ESTALE);
    CHECK(uring->wanting(box, 0) == -ESTALE);
    CHECK(uring->inbox_new(NULL, &inbox) == 0);
    CHECK(uring->monitor(box, inbox, 0) == -ESTALE);
    CHECK(uring->inbox_close(inbox) == 0);
    uring->hold(box);
    uring->release(box);
    CHECK(uring->find(NULL, "parent", 6, &other) == -ENOENT);
    options.memory = 1 << 24;
    CHECK(uring->open(L, &options) == 0);  /* a loop of its own */
    step(L);
    must_run(L, "mine = uring.mailbox{ name = 'parent' }");
    CHECK(uring->find(NULL, "parent", 6, &other) == 0);
    CHECK(uring->post(other, &v, 1) == 0);
    must_run(L, "assert(mine:try_receive() == 1)");
    uring->release(other);
    lua_close(L);
    fflush(stdout);
    _exit(broken > 0);
  }
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "assert(mailbox:try_receive() == 1)");
  uring->release(box);
  lua_close(L);
}

/* The table, boxes and kept blocks are valid without any state. */
static void all_is_valid_after_the_state (void) {
  lua_State *L = new_state();
  uring_inbox *inbox;
  uring_box *box, *dead;
  uring_message *m;
  uring_value v = block("bbbb"), *got;
  uint32_t n;
  must_run(L, "mailbox = uring.mailbox()");
  dead = box_of(L, "mailbox");
  lua_close(L);
  CHECK(uring->post(dead, &v, 1) == -EPIPE && released == 0);
  uring->release(dead);
  CHECK(uring->inbox_new(NULL, &inbox) == 0);
  box = uring->inbox_box(inbox);
  CHECK(uring->post(box, &v, 1) == 0);
  uring->release(box);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  CHECK(uring->inbox_take(inbox, &m) == -EPIPE);
  CHECK(uring->inbox_close(inbox) == 0);
  got = uring->values(m, &n);
  v = got[0];
  got[0].release = NULL;
  uring->message_free(m);
  CHECK(released == 0 && memcmp(v.u.s.p, "bbbb", 4) == 0);
  v.release(v.ud, v.u.s.p, v.u.s.len);
  CHECK(released == 1);
}


const struct test threads_tests[] = {
  {"threads post to a host that polls", threads_post_to_a_host_that_polls},
  {"a state closes under posts", a_state_closes_under_posts},
  {"a forked child is told", a_forked_child_is_told},
  {"all is valid after the state", all_is_valid_after_the_state},
  {NULL, NULL}
};
