/* inbox, box, values, name_table: what C posts arrives in C as it was; limits;
 * each block is released once, and each descriptor closed once; the
 * descriptor to poll; names; forked children; threads. */

#include "check.h"
#include "base/clock.h"
#include "worker/box.h"
#include "worker/inbox.h"
#include "worker/values.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uring_inbox *new_inbox (uint32_t capacity, uint32_t bytes) {
  struct uring_inbox_options o = { .size = sizeof(o), .capacity = capacity,
                                   .bytes = bytes };
  uring_inbox *inbox = NULL;
  if (!CHECK(inbox_new(&o, &inbox) == 0)) exit(1);
  return inbox;
}

static uring_value integer (int64_t i) {
  uring_value v = { .type = URING_INTEGER, .u.i = i };
  return v;
}

static uring_value string (const char *s) {
  uring_value v = { .type = URING_STRING };
  v.u.s.p = s;
  v.u.s.len = strlen(s);
  return v;
}

static uring_value descriptor (int fd) {
  uring_value v = { .type = URING_FD, .u.fd = fd };
  return v;
}

static uring_value array (uring_value *items, uint32_t n) {
  uring_value v = { .type = URING_ARRAY, .n = n };
  v.u.items = items;
  return v;
}

static _Atomic unsigned released;

static void on_release (void *ud, const void *p, size_t len) {
  CHECK(ud == &released && len > 0 && *(const char *)p == 'b');
  atomic_fetch_add(&released, 1);
}

static uring_value block (size_t len) {
  uring_value v = { .type = URING_BLOCK, .release = on_release,
                    .ud = &released };
  v.u.s.p = "bbbbbbbbbbbbbbbb";
  v.u.s.len = len;
  return v;
}

/* The one message that there must be. */
static uring_value *take (uring_inbox *inbox, uring_message **m, uint32_t *n) {
  if (!CHECK(inbox_take(inbox, m) == 0)) exit(1);
  return values_of(*m, n);
}

static int64_t take_integer (uring_inbox *inbox) {
  uring_message *m;
  uint32_t n;
  const uring_value *v = take(inbox, &m, &n);
  int64_t i = v->type == URING_INTEGER ? v->u.i : -1;
  values_free(m);
  return i;
}

static bool readable (uring_inbox *inbox) {
  struct pollfd p = { .fd = inbox_fd(inbox), .events = POLLIN };
  return poll(&p, 1, 0) == 1;
}

static bool is_open (int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

static int new_fd (void) {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}


/* ---- values ------------------------------------------------------------ */

static void values_arrive_as_they_were (void) {
  uring_inbox *inbox = new_inbox(0, 0);
  uring_box *box = inbox_box(inbox);
  uring_value items[3] = { integer(7), string("in"), { .type = URING_NIL } };
  uring_value v[8] = {
    { .type = URING_BOOLEAN, .u.i = 1 }, { .type = URING_NIL },
    integer(INT64_MIN), { .type = URING_NUMBER, .u.d = 0.1 }, string("a\0b"),
    array(items, 3), array(NULL, 0), { .type = URING_BOOLEAN }
  };
  const uring_value *got;
  uring_message *m;
  uint32_t n;
  v[4].u.s.len = 3;
  CHECK(box_post(box, v, 8) == 0);
  got = take(inbox, &m, &n);
  CHECK(n == 8);
  CHECK(got[0].type == URING_BOOLEAN && got[0].u.i == 1);
  CHECK(got[1].type == URING_NIL);
  CHECK(got[2].type == URING_INTEGER && got[2].u.i == INT64_MIN);
  CHECK(got[3].type == URING_NUMBER && got[3].u.d == 0.1);
  CHECK(got[4].type == URING_STRING && got[4].u.s.len == 3
        && memcmp(got[4].u.s.p, "a\0b", 4) == 0);
  CHECK(got[5].type == URING_ARRAY && got[5].n == 3);
  CHECK(got[5].u.items[0].u.i == 7);
  CHECK(strcmp(got[5].u.items[1].u.s.p, "in") == 0);
  CHECK(got[5].u.items[2].type == URING_NIL);
  CHECK(got[6].type == URING_ARRAY && got[6].n == 0);
  CHECK(got[7].type == URING_BOOLEAN && got[7].u.i == 0);
  values_free(m);
  CHECK(inbox_take(inbox, &m) == -EAGAIN);
  box_release(box);
  CHECK(inbox_take(inbox, &m) == -EPIPE);
  CHECK(inbox_close(inbox) == 0);
}

/* Arrays in arrays: the value in the innermost is at `level`. */
static int post_at_level (uring_box *box, unsigned level) {
  uring_value v[16] = { integer(1) };
  for (unsigned i = 1; i <= level; i++) v[i] = array(&v[i - 1], 1);
  return box_post(box, &v[level], 1);
}

static void what_cannot_travel_is_refused (void) {
  struct uring_inbox_options o = { .size = sizeof(o),
                                   .types = 1u << URING_INTEGER
                                            | 1u << URING_ARRAY };
  uring_inbox *inbox = new_inbox(0, 0), *picky;
  uring_box *box = inbox_box(inbox), *other;
  uring_value many[256], v[2] = { integer(1), descriptor(-1) };
  int fd = new_fd();
  for (int i = 0; i < 256; i++) many[i] = integer(i);
  CHECK(box_post(box, many, 255) == 0);
  CHECK(box_post(box, many, 256) == -EINVAL);
  CHECK(box_post(box, many, 0) == -EINVAL);
  CHECK(box_post(box, NULL, 1) == -EINVAL);
  CHECK(box_post(box, v, 2) == -EINVAL);
  v[0] = v[1] = descriptor(fd);
  CHECK(box_post(box, v, 2) == -EINVAL && is_open(fd));
  v[0] = (uring_value){ .type = URING_NIL };
  CHECK(box_post(box, v, 1) == -EINVAL);
  v[0] = (uring_value){ .type = URING_TABLE };  /* not by default */
  CHECK(box_post(box, v, 1) == -EINVAL);
  v[0] = (uring_value){ .type = -1 };
  CHECK(box_post(box, v, 1) == -EINVAL);
  v[0] = (uring_value){ .type = 77 };
  CHECK(box_post(box, v, 1) == -EINVAL);
  v[0] = (uring_value){ .type = URING_STRING, .u.s = { NULL, 1 } };
  CHECK(box_post(box, v, 1) == -EINVAL);
  v[0] = (uring_value){ .type = URING_STRING, .u.s = { NULL, 0 } };
  CHECK(box_post(box, v, 1) == 0);
  CHECK(post_at_level(box, 8) == 0);
  CHECK(post_at_level(box, 9) == -EINVAL);
  CHECK(inbox_new(&o, &picky) == 0);
  other = inbox_box(picky);
  CHECK(box_post(other, many, 1) == 0);
  CHECK(post_at_level(other, 2) == 0);
  v[0] = string("s");
  CHECK(box_post(other, v, 1) == -EINVAL);
  v[1] = array(v, 1);
  CHECK(box_post(other, v + 1, 1) == -EINVAL);
  box_release(box);
  box_release(other);
  CHECK(inbox_close(inbox) == 3);
  CHECK(inbox_close(picky) == 2);
  close(fd);
}

static void counting_a_message_ends_at_the_limit (void) {
  uring_inbox *inbox = new_inbox(0, 256);
  uring_box *box = inbox_box(inbox);
  uring_value v[7][16];
  int64_t began = clock_now();
  v[0][0] = string("");
  v[0][0].u.s.p = calloc(1, 200);
  v[0][0].u.s.len = 176;  /* 32 + 48 + 176 */
  CHECK(box_post(box, v[0], 1) == 0);
  v[0][0].u.s.len = 177;
  CHECK(box_post(box, v[0], 1) == -EMSGSIZE);
  v[0][0].u.s.len = SIZE_MAX;
  CHECK(box_post(box, v[0], 1) == -EMSGSIZE);
  free((void *)(uintptr_t)v[0][0].u.s.p);
  for (int i = 0; i < 16; i++) v[0][i] = integer(i);
  for (int k = 1; k < 7; k++)
    for (int i = 0; i < 16; i++) v[k][i] = array(v[k - 1], 16);
  CHECK(box_post(box, v[6], 16) == -EMSGSIZE);
  CHECK(clock_now() - began < 10000000000);
  box_release(box);
  CHECK(inbox_close(inbox) == 1);
}

static void posts_have_an_eighth_more_room (void) {
  uring_inbox *inbox = new_inbox(16, 0), *small = new_inbox(1, 0);
  uring_box *box = inbox_box(inbox), *other = inbox_box(small);
  uring_value v = integer(1);
  for (int i = 0; i < 18; i++) CHECK(box_post(box, &v, 1) == 0);
  CHECK(box_post(box, &v, 1) == -EAGAIN);
  CHECK(take_integer(inbox) == 1);
  CHECK(box_post(box, &v, 1) == 0);
  CHECK(box_post(box, &v, 1) == -EAGAIN);
  CHECK(box_post(other, &v, 1) == 0);
  CHECK(box_post(other, &v, 1) == 0);
  CHECK(box_post(other, &v, 1) == -EAGAIN);
  box_release(box);
  box_release(other);
  CHECK(inbox_close(inbox) == 18);
  CHECK(inbox_close(small) == 2);
}


/* ---- blocks and descriptors -------------------------------------------- */

static void each_block_is_released_once (void) {
  uring_inbox *inbox = new_inbox(4, 1000);
  uring_box *box = inbox_box(inbox);
  uring_value in[2] = { block(3), block(4) };
  uring_value v[2] = { block(1), array(in, 2) };
  uring_value *got;
  uring_message *m;
  uint32_t n;
  atomic_store(&released, 0);
  CHECK(box_post(box, v, 2) == 0);
  got = take(inbox, &m, &n);
  CHECK(n == 2 && got[1].u.items[1].u.s.len == 4);
  got[1].u.items[0].release = NULL;  /* kept */
  values_free(m);
  CHECK(released == 2);
  in[1].u.s.len = 1001;  /* refused: not released */
  CHECK(box_post(box, v, 2) == -EMSGSIZE);
  CHECK(released == 2);
  in[1].u.s.len = 4;
  CHECK(box_post(box, v, 2) == 0);
  CHECK(box_post(box, v, 2) == 0);
  CHECK(inbox_close(inbox) == 2);
  CHECK(released == 8);
  CHECK(box_post(box, v, 2) == -EPIPE);
  CHECK(released == 8);
  box_release(box);
}

/* A release may post, hold, release and find. */
static void release_posts (void *ud, const void *p, size_t len) {
  uring_box *box = ud;
  uring_value v = integer(5);
  (void)p; (void)len;
  box_hold(box);
  box_post(box, &v, 1);
  box_release(box);
}

static void a_release_may_post (void) {
  uring_inbox *inbox = new_inbox(4, 0);
  uring_box *box = inbox_box(inbox);
  uring_value v = { .type = URING_BLOCK, .release = release_posts,
                    .ud = box };
  uring_message *m;
  CHECK(box_post(box, &v, 1) == 0);
  CHECK(inbox_take(inbox, &m) == 0);
  values_free(m);
  CHECK(take_integer(inbox) == 5);
  CHECK(box_post(box, &v, 1) == 0);
  CHECK(inbox_close(inbox) == 1);
  box_release(box);
}

static void each_descriptor_is_closed_once (void) {
  uring_inbox *inbox = new_inbox(8, 0);
  uring_box *box = inbox_box(inbox);
  uring_value v[65], *got;
  uring_message *m;
  uint32_t n;
  int fd[4];
  for (int i = 0; i < 4; i++) {
    fd[i] = new_fd();
    v[i] = descriptor(fd[i]);
  }
  CHECK(box_post(box, v, 2) == 0);
  got = take(inbox, &m, &n);
  CHECK(got[0].u.fd == fd[0] && got[1].u.fd == fd[1]);
  got[0].u.fd = -1;  /* kept */
  values_free(m);
  CHECK(is_open(fd[0]) && !is_open(fd[1]));
  close(fd[0]);
  CHECK(box_post(box, v + 2, 1) == 0);
  for (int i = 0; i < 65; i++) v[i] = descriptor(1000 + i);
  CHECK(box_post(box, v, 17) == -EMSGSIZE);
  CHECK(box_post(box, v, 65) == -EMSGSIZE);
  CHECK(inbox_close(inbox) == 1);
  CHECK(!is_open(fd[2]) && is_open(fd[3]));
  close(fd[3]);
  box_release(box);
}


/* ---- the reader -------------------------------------------------------- */

static void the_descriptor_tells_the_truth (void) {
  uring_inbox *inbox = new_inbox(8, 0);
  uring_box *box = inbox_box(inbox);
  uring_value v = integer(1);
  uring_message *m;
  CHECK(!readable(inbox));
  CHECK(box_post(box, &v, 1) == 0);
  CHECK(readable(inbox));
  CHECK(take_integer(inbox) == 1);
  CHECK(readable(inbox));  /* until -EAGAIN */
  CHECK(inbox_take(inbox, &m) == -EAGAIN);
  CHECK(!readable(inbox));
  CHECK(box_post(box, &v, 1) == 0 && box_post(box, &v, 1) == 0);
  CHECK(take_integer(inbox) == 1 && take_integer(inbox) == 1);
  CHECK(inbox_take(inbox, &m) == -EAGAIN && !readable(inbox));
  box_hold(box);
  box_release(box);
  CHECK(!readable(inbox));
  box_release(box);  /* no sender is left */
  CHECK(readable(inbox) && inbox_take(inbox, &m) == -EPIPE);
  box = inbox_box(inbox);
  CHECK(inbox_take(inbox, &m) == -EAGAIN && !readable(inbox));
  CHECK(inbox_close(inbox) == 0);
  box_release(box);
}

static void options_are_checked (void) {
  struct { struct uring_inbox_options o; char more[8]; } o;
  uring_inbox *inbox;
  memset(&o, 0, sizeof(o));
  CHECK(inbox_new(&o.o, &inbox) == -EINVAL);
  o.o.size = sizeof(o);
  CHECK(inbox_new(&o.o, &inbox) == 0 && inbox_close(inbox) == 0);
  o.more[7] = 1;
  CHECK(inbox_new(&o.o, &inbox) == -E2BIG);
  o.o.size = UINT32_MAX;
  CHECK(inbox_new(&o.o, &inbox) == -E2BIG);
  o.o.size = sizeof(o.o);
  o.o.bytes = 255;
  CHECK(inbox_new(&o.o, &inbox) == -EINVAL);
  o.o.bytes = 0;
  o.o.types = 1u << 20;
  CHECK(inbox_new(&o.o, &inbox) == -EINVAL);
  o.o.types = 0;
  o.o.name = "";
  CHECK(inbox_new(&o.o, &inbox) == -EINVAL);
  CHECK(inbox_new(NULL, &inbox) == 0 && inbox_close(inbox) == 0);
}

static void names_find_their_inbox (void) {
  struct uring_inbox_options o = { .size = sizeof(o), .name = "n",
                                   .realm = "r" };
  uring_inbox *inbox, *second;
  uring_box *box;
  uring_value v = integer(3);
  uring_message *m;
  char name[256];
  memset(name, 'x', sizeof(name));
  CHECK(box_find("r", "n", 1, &box) == -ENOENT);
  CHECK(inbox_new(&o, &inbox) == 0);
  CHECK(inbox_new(&o, &second) == -EEXIST);
  CHECK(box_find("", "n", 1, &box) == -ENOENT);
  CHECK(box_find(NULL, "n", 1, &box) == -ENOENT);
  CHECK(box_find("r", "nn", 2, &box) == -ENOENT);
  CHECK(box_find("r", "", 0, &box) == -EINVAL);
  CHECK(box_find("r", name, 256, &box) == -EINVAL);
  CHECK(box_find("r", name, 255, &box) == -ENOENT);
  CHECK(box_find("r", "n\0n", 3, &box) == -EINVAL);
  CHECK(box_find("r", "n", 1, &box) == 0);
  CHECK(box_post(box, &v, 1) == 0);
  box_release(box);
  CHECK(take_integer(inbox) == 3);
  CHECK(inbox_take(inbox, &m) == -EAGAIN);  /* there may be other senders */
  CHECK(box_find("r", "n", 1, &box) == 0);
  CHECK(inbox_close(inbox) == 0);
  CHECK(box_post(box, &v, 1) == -EPIPE);
  box_release(box);
  CHECK(box_find("r", "n", 1, &box) == -ENOENT);
}

static void a_forked_child_is_told (void) {
  struct uring_inbox_options o = { .size = sizeof(o), .name = "parent" };
  uring_inbox *inbox, *own;
  uring_box *box, *found;
  uring_message *m;
  uring_value v[2] = { integer(1), block(2) };
  int status = -1;
  pid_t pid;
  atomic_store(&released, 0);
  CHECK(inbox_new(&o, &inbox) == 0);
  box = inbox_box(inbox);
  CHECK(box_post(box, v, 2) == 0 && inbox_take(inbox, &m) == 0);
  CHECK(box_post(box, v, 2) == 0);
  lock_take(&box_queue(box)->lock);  /* another thread of the parent's */
  pid = fork();
  if (pid == 0) {
    alarm(30);
    check_broken = 0;
    box_hold(box);
    box_release(box);
    CHECK(box_post(box, v, 1) == -ESTALE);
    CHECK(inbox_box(inbox) == NULL);
    CHECK(inbox_fd(inbox) == -ESTALE);
    values_free(m);
    CHECK(inbox_take(inbox, &m) == -ESTALE);
    CHECK(box_find(NULL, "parent", 6, &found) == -ENOENT);
    CHECK(inbox_new(&o, &own) == 0 && inbox_close(own) == 0);
    CHECK(inbox_close(inbox) == -ESTALE);
    CHECK(released == 0);
    _exit(check_broken > 0);
  }
  lock_free(&box_queue(box)->lock);
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  values_free(m);
  CHECK(released == 1);
  box_release(box);
  CHECK(inbox_close(inbox) == 1 && released == 2);
}


#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

static size_t address_space (void) {
  size_t pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  CHECK(f != NULL && fscanf(f, "%zu", &pages) == 1);
  fclose(f);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void run_without_memory (void) {
  uring_inbox *inbox = new_inbox(0, 1 << 30);
  uring_box *box = inbox_box(inbox);
  uint32_t n = 500000;  /* 8 MB as a message, 28 MB as values */
  uring_value *items = calloc(n, sizeof(*items)), v = array(items, n);
  struct rlimit limit;
  uring_message *m;
  if (!CHECK(items != NULL)) return;
  for (uint32_t i = 0; i < n; i++) items[i] = integer(i);
  CHECK(box_post(box, &v, 1) == 0);
  CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
  limit.rlim_cur = address_space() + (10 << 20);
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  CHECK(inbox_take(inbox, &m) == -ENOMEM);
  CHECK(inbox_take(inbox, &m) == -ENOMEM);
  limit.rlim_cur = limit.rlim_max;
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  CHECK(take(inbox, &m, &n)->u.items[9].u.i == 9);
  values_free(m);
  free(items);
  box_release(box);
  CHECK(inbox_close(inbox) == 0);
}

static void without_memory_a_message_stays_the_first (void) {
  int status = -1;
  pid_t pid = fork();
  if (pid == 0) {
    check_broken = 0;
    run_without_memory();
    _exit(check_broken > 0);
  }
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

#else

static void without_memory_a_message_stays_the_first (void) {
}

#endif


/* ---- threads ----------------------------------------------------------- */

#define THREADS 4
#define EACH    20000

static uring_box *shared;

/* Posts its numbers in order, a third of them with a block, and again until
 * they are accepted. */
static void *poster (void *arg) {
  int64_t self = (int64_t)(intptr_t)arg;
  for (int64_t i = 0; i < EACH; i++) {
    uring_value v[2] = { integer(self * EACH + i), block(8) };
    int rc;
    while ((rc = box_post(shared, v, i % 3 == 0 ? 2 : 1)) == -EAGAIN)
      sched_yield();
    CHECK(rc == 0);
  }
  box_release(shared);
  return NULL;
}

static bool sleep_on (uring_inbox *inbox) {
  struct pollfd p = { .fd = inbox_fd(inbox), .events = POLLIN };
  return CHECK(poll(&p, 1, 60000) == 1);  /* a lost wakeup */
}

static void all_posts_of_threads_arrive_in_order (void) {
  uring_inbox *inbox = new_inbox(64, 0);
  pthread_t thread[THREADS];
  int64_t next[THREADS] = { 0 };
  uring_message *m;
  uint32_t n;
  int rc;
  atomic_store(&released, 0);
  shared = inbox_box(inbox);
  for (intptr_t i = 0; i < THREADS; i++) {
    box_hold(shared);
    pthread_create(&thread[i], NULL, poster, (void *)i);
  }
  box_release(shared);
  while ((rc = inbox_take(inbox, &m)) != -EPIPE) {
    if (rc == -EAGAIN) {
      if (!sleep_on(inbox)) break;
      continue;
    }
    if (!CHECK(rc == 0)) break;
    {
      int64_t i = values_of(m, &n)->u.i;
      CHECK(i % EACH == next[i / EACH]++);
    }
    values_free(m);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(thread[i], NULL);
    CHECK(next[i] == EACH);
  }
  CHECK(released == THREADS * ((EACH + 2) / 3));
  CHECK(inbox_close(inbox) == 0);
}

/* The inbox closes while threads post: each post was accepted, and received or
 * counted; or it was refused. */
static _Atomic unsigned accepted;

static void *poster_until_closed (void *arg) {
  uring_value v = block(8);
  int rc;
  (void)arg;
  while ((rc = box_post(shared, &v, 1)) != -EPIPE) {
    if (rc == 0) atomic_fetch_add(&accepted, 1);
    else sched_yield();
  }
  box_release(shared);
  return NULL;
}

static void a_close_under_posts_loses_none (void) {
  for (int round = 0; round < 30; round++) {
    uring_inbox *inbox = new_inbox(64, 0);
    pthread_t thread[2];
    uring_message *m;
    unsigned got = 0;
    int64_t left;
    atomic_store(&released, 0);
    atomic_store(&accepted, 0);
    shared = inbox_box(inbox);
    for (int i = 0; i < 2; i++) {
      box_hold(shared);
      pthread_create(&thread[i], NULL, poster_until_closed, NULL);
    }
    while (got < 200)
      if (inbox_take(inbox, &m) == 0) {
        got++;
        values_free(m);
      }
      else sched_yield();
    left = inbox_close(inbox);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    CHECK(accepted == got + left && released == accepted);
    box_release(shared);
  }
}


static const struct check_test tests[] = {
  TEST(values_arrive_as_they_were),
  TEST(what_cannot_travel_is_refused),
  TEST(counting_a_message_ends_at_the_limit),
  TEST(posts_have_an_eighth_more_room),
  TEST(each_block_is_released_once),
  TEST(a_release_may_post),
  TEST(each_descriptor_is_closed_once),
  TEST(the_descriptor_tells_the_truth),
  TEST(options_are_checked),
  TEST(names_find_their_inbox),
  TEST(a_forked_child_is_told),
  TEST(without_memory_a_message_stays_the_first),
  TEST(all_posts_of_threads_arrive_in_order),
  TEST(a_close_under_posts_loses_none)
};

int main (void) {
  return RUN(tests);
}
