/* name_table: a name is of one mailbox until that closes; a waiter that has
** not found it is woken by the next name. */

#include "check.h"
#include "check_polled.h"
#include "worker/name_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

static struct queue *new_queue (void) {
  struct queue_limits limits = { 4, 1000, 4 };
  struct queue *q = queue_new(&limits);
  if (!CHECK(q != NULL)) exit(1);
  return q;
}

static struct queue_name *new_name (const char *name) {
  struct queue_name *n = name_new("realm", 5, name, strlen(name));
  if (!CHECK(n != NULL)) exit(1);
  return n;
}

/* What is found is counted. */
static bool finds (const struct queue_name *n, const struct queue *q) {
  struct queue *found = name_find(n);
  if (found) refblock_release(&found->block);
  return found == q;
}

static void a_name_is_of_one_queue (void) {
  struct queue *q = new_queue(), *other = new_queue();
  struct queue_name *n = new_name("a"), *key = new_name("a");
  struct queue_name *same = new_name("a");
  CHECK(finds(key, NULL) && name_of(q) == NULL);
  CHECK(name_add(n, q) == 0 && finds(key, q));
  CHECK(strcmp(name_of(q), "a") == 0);
  CHECK(name_add(same, other) == -EEXIST && name_of(other) == NULL);
  name_remove(other);  /* (has none) */
  CHECK(finds(key, q));
  name_remove(q);
  CHECK(finds(key, NULL) && name_of(q) == NULL);
  name_remove(q);
  CHECK(name_add(same, other) == 0 && finds(key, other));
  name_remove(other);
  CHECK(refblock_owners(&q->block) == 1);
  refblock_release(&q->block);
  refblock_release(&other->block);
  free(key);
}

static void there_are_as_many_names_as_promised (void) {
  static struct queue *q[NAMES_MOST + 1];
  char text[16];
  for (int i = 0; i <= NAMES_MOST; i++) {
    struct queue_name *n;
    int rc;
    snprintf(text, sizeof(text), "%d", i);
    n = new_name(text);
    q[i] = new_queue();
    rc = name_add(n, q[i]);
    CHECK(rc == (i < NAMES_MOST ? 0 : -ENOSPC));
    if (rc < 0) free(n);
  }
  for (int i = 0; i <= NAMES_MOST; i++) {
    name_remove(q[i]);
    refblock_release(&q[i]->block);
  }
}


/* What the child has of it is no leak. */
static void a_child_keeps_its_parents_table (void) {
  struct queue *q = new_queue();
  int status = -1;
  pid_t pid;
  CHECK(name_add(new_name("parent"), q) == 0);
  pid = fork();
  if (pid == 0) {
    struct queue *own = new_queue();
    struct queue_name *key = new_name("parent");
    check_broken = 0;
    CHECK(finds(key, NULL) && name_add(new_name("child"), own) == 0);
    CHECK(finds(key, NULL));
    name_remove(own);
    refblock_release(&own->block);
    free(key);
    q = NULL;
    CHECK(LEAKS() == 0);
    fflush(stdout);
    _exit(check_broken > 0);
  }
  waitpid(pid, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  name_remove(q);
  refblock_release(&q->block);
}


/* ---- waiters ----------------------------------------------------------- */

static unsigned woken;

static void count_woken (void *owner, struct loop *loop) {
  (void)owner; (void)loop;
  woken++;
}

static struct name_waiter *new_waiter (void) {
  struct name_waiter *w = name_waiter_new();
  if (!CHECK(w != NULL)) exit(1);
  w->owner = w;
  w->woken = count_woken;
  woken = 0;
  return w;
}

static void what_is_there_is_not_waited_for (void) {
  struct doorbell *doorbell = new_doorbell();
  struct queue *q = new_queue(), *other = new_queue(), *found;
  struct queue_name *key = new_name("here");
  struct name_waiter *w = new_waiter();
  CHECK(name_add(new_name("here"), q) == 0);
  found = name_find_or_wait(key, w, doorbell);
  CHECK(found == q && refblock_owners(&w->block) == 1);
  if (found) refblock_release(&found->block);
  CHECK(name_add(new_name("another"), other) == 0);
  CHECK(!doorbell_has_ready(doorbell));
  name_remove(q);
  name_remove(other);
  refblock_release(&q->block);
  refblock_release(&other->block);
  refblock_release(&w->block);
  refblock_release(&doorbell->block);
  free(key);
}

/* However often it has looked it is woken once. */
static void the_next_name_wakes_a_waiter (void) {
  struct doorbell *doorbell = new_doorbell();
  struct queue *q = new_queue();
  struct queue_name *key = new_name("later");
  struct name_waiter *w = new_waiter(), *left = new_waiter();
  CHECK(name_find_or_wait(key, w, doorbell) == NULL);
  CHECK(name_find_or_wait(key, w, doorbell) == NULL);
  CHECK(name_find_or_wait(key, left, doorbell) == NULL);
  name_waiter_unlist(left);
  name_waiter_unlist(left);
  CHECK(refblock_owners(&left->block) == 1);
  CHECK(name_add(new_name("later"), q) == 0);
  CHECK(sleep_on(doorbell) && woken == 1);
  CHECK(refblock_owners(&w->block) == 1);
  CHECK(name_find_or_wait(key, w, doorbell) == q);
  refblock_release(&q->block);
  name_remove(q);
  CHECK(refblock_owners(&doorbell->block) == 1);
  refblock_release(&q->block);
  refblock_release(&w->block);
  refblock_release(&left->block);
  refblock_release(&doorbell->block);
  free(key);
}

static void another_name_does_not (void) {
  struct doorbell *doorbell = new_doorbell();
  struct queue *q = new_queue();
  struct queue_name *key = new_name("this");
  struct name_waiter *w = new_waiter();
  CHECK(name_find_or_wait(key, w, doorbell) == NULL);
  CHECK(name_add(new_name("that"), q) == 0);
  CHECK(!doorbell_has_ready(doorbell));
  name_waiter_unlist(w);
  CHECK(refblock_owners(&w->block) == 1);
  name_remove(q);
  refblock_release(&q->block);
  refblock_release(&w->block);
  refblock_release(&doorbell->block);
  free(key);
}

/* Woken, and gone before its loop has looked. */
static void a_waiter_that_has_left_is_not_woken (void) {
  struct doorbell *doorbell = new_doorbell();
  struct queue *q = new_queue();
  struct queue_name *key = new_name("late");
  struct name_waiter *w = new_waiter();
  CHECK(name_find_or_wait(key, w, doorbell) == NULL);
  CHECK(name_add(new_name("late"), q) == 0);
  w->owner = NULL;
  name_waiter_unlist(w);
  refblock_release(&w->block);
  CHECK(sleep_on(doorbell) && woken == 0);
  name_remove(q);
  refblock_release(&q->block);
  refblock_release(&doorbell->block);
  free(key);
}


static const struct check_test tests[] = {
  TEST(a_name_is_of_one_queue),
  TEST(there_are_as_many_names_as_promised),
  TEST(a_child_keeps_its_parents_table),
  TEST(what_is_there_is_not_waited_for),
  TEST(the_next_name_wakes_a_waiter),
  TEST(another_name_does_not),
  TEST(a_waiter_that_has_left_is_not_woken)
};

int main (void) {
  return RUN(tests);
}
