/* Calls, monitors, counts and room. */

#include "host.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>

static bool is_string (const uring_value *v, const char *s) {
  return v->type == URING_STRING && v->u.s.len == strlen(s)
         && memcmp(v->u.s.p, s, v->u.s.len) == 0;
}

/* A call from Lua: its results, or its error, are the global `got`. */
static void call_from_lua (lua_State *L, const char *arguments) {
  char code[300];
  snprintf(code, sizeof(code), "got = nil task = uring.spawn(function()"
           " got = table.pack(pcall(address.call, address%s)) end)",
           arguments);
  must_run(L, code);
  step(L);
}

static uring_message *take (uring_inbox *inbox) {
  uring_message *m = NULL;
  if (!CHECK(uring->inbox_take(inbox, &m) == 0)) exit(1);
  return m;
}

static void calls_are_answered (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o) };
  uring_inbox *inbox;
  uring_message *m;
  uring_box *box;
  uring_value many[300], v[3] = { integer(1), string("two"), string("") };
  uint32_t n;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  call_from_lua(L, ", 'add', { 1, 2 }");
  m = take(inbox);
  uring_value *got = uring->values(m, &n);
  CHECK(n == 2 && is_string(&got[0], "add") && got[1].type == URING_ARRAY
        && got[1].n == 2 && got[1].u.items[1].u.i == 2);
  memset(many, 0, sizeof(many));
  CHECK(uring->reply(m, many, 255) == -EINVAL);
  CHECK(uring->reply(m, NULL, 1) == -EINVAL);
  CHECK(uring->reply(m, v, 3) == 0);
  CHECK(uring->reply(m, v, 3) == -ENOENT);
  CHECK(uring->refuse(m, "late") == -ENOENT);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got.n == 4 and got[1] and got[2] == 1"
              " and got[3] == 'two' and got[4] == '')");
  call_from_lua(L, "");
  m = take(inbox);
  uring->values(m, &n);
  CHECK(n == 0 && uring->reply(m, NULL, 0) == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got.n == 1 and got[1])");
  call_from_lua(L, ", 1");
  m = take(inbox);
  CHECK(uring->reply(m, many, 254) == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got.n == 255 and got[1] and got[2] == nil)");
  call_from_lua(L, ", 'fails'");
  m = take(inbox);
  CHECK(uring->refuse(m, "no such thing") == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(not got[1] and got[2] == 'no such thing')");
  call_from_lua(L, ", 'forgotten'");
  uring->message_free(take(inbox));
  step(L);
  must_run(L, "assert(not got[1] and got[2]:find 'and not answered')");
  call_from_lua(L, ", 'in vain'");
  must_run(L, "task:cancel()");
  step(L);
  m = take(inbox);
  CHECK(uring->reply(m, v, 1) == -EPIPE && uring->reply(m, v, 1) == -ENOENT);
  uring->message_free(m);
  must_run(L, "assert(address:try_send 'no call')");
  m = take(inbox);
  CHECK(uring->reply(m, v, 1) == -ENOENT);
  uring->message_free(m);
  call_from_lua(L, ", 'unread'");
  uring->release(box);
  CHECK(uring->inbox_close(inbox) == 1);
  step(L);
  must_run(L, "assert(got[1] and not got[2] and got[4] == 32)");  /* EPIPE */
  lua_close(L);
}

/* An answer with what moves: it is the caller's, or stays the replier's. */
static void answers_own_what_they_give (void) {
  lua_State *L = new_state();
  uring_inbox *inbox;
  uring_message *m;
  uring_box *box;
  uring_value v = block("bbbb"), large = string("x");
  CHECK(uring->inbox_new(NULL, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  uring->release(box);
  call_from_lua(L, ", 'block'");
  m = take(inbox);
  large.u.s.p = calloc(1, 2 << 20);
  large.u.s.len = 2 << 20;
  CHECK(uring->reply(m, &large, 1) == -EMSGSIZE);
  free((void *)(uintptr_t)large.u.s.p);
  CHECK(uring->reply(m, &v, 1) == 0 && released == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got[2]:string() == 'bbbb') got[2]:release()");
  CHECK(released == 1);
  call_from_lua(L, ", 'block'");
  must_run(L, "task:cancel()");
  step(L);
  m = take(inbox);
  v = block("bbbb");
  CHECK(uring->reply(m, &v, 1) == -EPIPE && released == 1);
  uring->message_free(m);
  CHECK(uring->inbox_close(inbox) == 0);
  lua_close(L);
}

#define RACES 400

struct answerer {
  uring_inbox *inbox;
  int answered, left;
};

/* Takes calls, and answers each with a block. */
static void *answer_calls (void *ud) {
  struct answerer *a = ud;
  while (a->answered + a->left < RACES) {
    uring_value v = block("bbbb");
    uring_message *m;
    int rc = uring->inbox_take(a->inbox, &m);
    if (rc == -EAGAIN) readable(uring->inbox_fd(a->inbox), 10);
    if (rc < 0)
      continue;
    rc = uring->reply(m, &v, 1);
    if (CHECK(rc == 0 || rc == -EPIPE) && rc == 0) a->answered++;
    else {
      a->left++;
      on_release(v.ud, v.u.s.p, v.u.s.len);  /* (it is still C's) */
    }
    uring->message_free(m);
  }
  return NULL;
}

/* A call ends once: answered on one thread, or left on the other. */
static void answers_race_with_the_caller (void) {
  lua_State *L = new_state();
  struct answerer a = { .answered = 0 };
  pthread_t thread;
  uring_box *box;
  released = 0;
  CHECK(uring->inbox_new(NULL, &a.inbox) == 0);
  box = uring->inbox_box(a.inbox);
  set_address(L, "address", box);
  uring->release(box);
  pthread_create(&thread, NULL, answer_calls, &a);
  must_run(L, "got = 0");
  for (int i = 0; i < RACES; i++) {
    must_run(L, "task = uring.spawn(function()"
                " local ok, lease = pcall(address.call, address)"
                " if ok then got = got + 1 lease:release() end end)");
    step(L);
    for (int spins = i % 8 * 200; spins > 0; spins--) sched_yield();
    must_run(L, "task:cancel()");
    step(L);
  }
  pthread_join(thread, NULL);
  step(L);
  CHECK(a.answered + a.left == RACES);
  CHECK(global_integer(L, "got") <= a.answered);
  CHECK(uring->inbox_close(a.inbox) == 0);
  lua_close(L);
  CHECK(released == RACES);
}

static bool is_closed (uring_message *m, int64_t token) {
  uint32_t n;
  const uring_value *v = uring->values(m, &n);
  bool ok = n == 1 && v->type == URING_CLOSED && v->u.i == token;
  uring->message_free(m);
  return ok;
}

static void monitors_tell_of_the_end (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o), .capacity = 1 };
  uring_inbox *inbox, *other;
  uring_box *box, *own;
  uring_message *m;
  uring_value v = integer(7);
  uint32_t n;
  int fd;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  fd = uring->inbox_fd(inbox);
  own = uring->inbox_box(inbox);
  must_run(L, "a, b = uring.mailbox(), uring.mailbox()");
  box = box_of(L, "a");
  CHECK(uring->monitor(box, inbox, -5) == 0);
  CHECK(uring->monitor(box, inbox, 6) == 0);
  CHECK(uring->inbox_take(inbox, &m) == -EAGAIN && !readable(fd, 0));
  while (uring->post(own, &v, 1) == 0)
    ;  /* (full) */
  must_run(L, "a:close()");
  CHECK(readable(fd, 0));
  CHECK(is_closed(take(inbox), -5) && is_closed(take(inbox), 6));
  CHECK(uring->monitor(box, inbox, 8) == 0);  /* (closed before) */
  CHECK(is_closed(take(inbox), 8));
  while (uring->inbox_take(inbox, &m) == 0) {
    CHECK(uring->values(m, &n)->u.i == 7);
    uring->message_free(m);
  }
  CHECK(!readable(fd, 0));
  uring->release(box);
  box = box_of(L, "b");
  CHECK(uring->monitor(box, inbox, 9) == 0);
  /* an inbox that goes first, with a monitor, and with a notice */
  CHECK(uring->inbox_new(NULL, &other) == 0);
  CHECK(uring->monitor(box, other, 1) == 0);
  CHECK(uring->inbox_close(other) == 0);
  CHECK(uring->inbox_new(NULL, &other) == 0);
  CHECK(uring->monitor(box, other, 2) == 0);
  CHECK(uring->monitor(own, other, 3) == 0);
  uring->release(own);
  CHECK(uring->inbox_take(inbox, &m) == -EAGAIN);  /* (a monitor sends) */
  lua_close(L);
  CHECK(readable(fd, 0) && is_closed(take(inbox), 9));
  CHECK(uring->inbox_close(other) == 0);
  CHECK(uring->inbox_take(inbox, &m) == -EPIPE);
  CHECK(uring->inbox_close(inbox) == 0);
  uring->release(box);
}

static _Atomic bool closing;

static void *close_inboxes (void *ud) {
  uring_inbox **inbox = ud;
  while (!atomic_load(&closing))
    sched_yield();
  for (int i = 0; i < 8; i++) uring->inbox_close(inbox[i]);
  return NULL;
}

/* Each end is told once, while the monitors' inbox is read or closed. */
static void monitors_race_with_the_end (void) {
  lua_State *L = new_state_only();
  for (int round = 0; round < 200; round++) {
    uring_inbox *watched[8], *inbox;
    uring_message *m;
    pthread_t thread;
    int told = 0, rc;
    atomic_store(&closing, false);
    CHECK(uring->inbox_new(NULL, &inbox) == 0);
    for (int i = 0; i < 8; i++) {
      uring_box *box;
      CHECK(uring->inbox_new(NULL, &watched[i]) == 0);
      box = uring->inbox_box(watched[i]);
      CHECK(uring->monitor(box, inbox, i) == 0);
      uring->release(box);
    }
    pthread_create(&thread, NULL, close_inboxes, watched);
    atomic_store(&closing, true);
    if (round % 2 == 0)
      while ((rc = uring->inbox_take(inbox, &m)) != -EPIPE) {
        if (rc == 0) {
          told++;
          uring->message_free(m);
        }
        else CHECK(rc == -EAGAIN && readable(uring->inbox_fd(inbox), 60000));
      }
    CHECK(told == (round % 2 == 0 ? 8 : 0));
    CHECK(uring->inbox_close(inbox) == 0);
    pthread_join(thread, NULL);
  }
  lua_close(L);
}

static void counts_are_told (void) {
  lua_State *L = new_state();
  struct uring_stats s = { .size = sizeof(s) };
  uring_value v = integer(1);
  uring_box *box;
  must_run(L, "mailbox = uring.mailbox{ capacity = 2 }");
  box = box_of(L, "mailbox");
  for (int i = 0; i < 3; i++) CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "address = mailbox:address() mailbox:try_receive()"
              " uring.spawn(function() address:send(1) end)");
  step(L);
  CHECK(uring->stats(box, &s) == 0 && s.size == sizeof(s));
  CHECK(s.senders == 2 && s.waiting == 1 && s.accepted == 3
        && s.received == 1 && s.undelivered == 0 && s.messages == 2
        && s.bytes == 2 * 80 && s.fds == 0);
  must_run(L, "mailbox:close()");
  CHECK(uring->stats(box, &s) == 0);
  CHECK(s.messages == 0 && s.undelivered == 2
        && s.accepted == s.received + s.undelivered);
  s.size = 8;
  CHECK(uring->stats(box, &s) == -EINVAL);
  uring->release(box);
  lua_close(L);
}

static uint64_t count_of (int fd) {
  uint64_t n = 0;
  return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void room_is_told_of (void) {
  lua_State *L = new_state();
  uring_value v = integer(1);
  uring_box *box;
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), closed;
  must_run(L, "mailbox = uring.mailbox{ capacity = 2 }");
  box = box_of(L, "mailbox");
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 1);  /* (there is) */
  while (uring->post(box, &v, 1) == 0)
    ;
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 0);
  must_run(L, "mailbox:try_receive()");
  CHECK(count_of(fd) == 1);  /* (there is room for a post) */
  CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "mailbox:try_receive() mailbox:try_receive()");
  must_run(L, "mailbox:try_receive()");
  CHECK(count_of(fd) == 0);  /* (once) */
  while (uring->post(box, &v, 1) == 0)
    ;
  /* the number may be another file's when there is room */
  closed = dup(fd);
  CHECK(uring->wanting(box, closed) == 0);
  close(closed);
  CHECK(uring->wanting(box, closed) == -EBADF);
  must_run(L, "for i = 1, 3 do mailbox:try_receive() end");
  CHECK(count_of(fd) == 1);
  while (uring->post(box, &v, 1) == 0)
    ;
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 0);
  must_run(L, "mailbox:close()");
  CHECK(count_of(fd) == 1);
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 1);
  uring->release(box);
  /* Lua's senders wait for more room; they are served after it */
  must_run(L, "mailbox = uring.mailbox{ capacity = 1 }"
              " address = mailbox:address() address:try_send(1)");
  box = box_of(L, "mailbox");
  CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "sent = false"
              " uring.spawn(function() sent = address:send(2) end)");
  step(L);
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 0);
  must_run(L, "assert(not sent and mailbox:try_receive() == 1)");
  CHECK(count_of(fd) == 1);
  step(L);
  must_run(L, "assert(not sent and mailbox:try_receive() == 1)");
  step(L);
  must_run(L, "assert(sent and mailbox:try_receive() == 2)");
  lua_close(L);
  uring->release(box);
  close(fd);
}


const struct test calls_tests[] = {
  {"calls are answered", calls_are_answered},
  {"answers own what they give", answers_own_what_they_give},
  {"answers race with the caller", answers_race_with_the_caller},
  {"monitors tell of the end", monitors_tell_of_the_end},
  {"monitors race with the end", monitors_race_with_the_end},
  {"counts are told", counts_are_told},
  {"room is told of", room_is_told_of},
  {NULL, NULL}
};
