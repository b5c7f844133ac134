/*
** workers: what threads in C take that share a bounded queue, under a mutex
** and two condition variables.
**
**     build/bench/workers stream KIND SENDERS N
**     build/bench/workers trip N
**
** Prints nanoseconds, those of the processors, and how many arrived. `stream`
** sends N messages to one reader, in a queue for 1024; of a KIND: integers,
** strings of 64 or 1024 bytes, which are copied into memory of their own, and
** structures of an integer, a number and a string. In `trip` two threads wait
** in turn.
*/

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CAPACITY 1024
#define MOST     64

struct item {
  uint64_t value;
  void *bytes;             /* or NULL */
};

struct record {
  int64_t id;
  double weight;
  char *name;
};

struct queue {
  pthread_mutex_t lock;
  pthread_cond_t filled, drained;
  struct item item[CAPACITY];
  unsigned head, n;
};

static struct queue there, back;
static unsigned long count;
static const char *kind;
static char text[1024];

static void queue_init (struct queue *q) {
  pthread_mutex_init(&q->lock, NULL);
  pthread_cond_init(&q->filled, NULL);
  pthread_cond_init(&q->drained, NULL);
}

static void put (struct queue *q, struct item item) {
  pthread_mutex_lock(&q->lock);
  while (q->n == CAPACITY) pthread_cond_wait(&q->drained, &q->lock);
  q->item[(q->head + q->n++) % CAPACITY] = item;
  pthread_cond_signal(&q->filled);
  pthread_mutex_unlock(&q->lock);
}

static struct item take (struct queue *q) {
  struct item item;
  pthread_mutex_lock(&q->lock);
  while (q->n == 0) pthread_cond_wait(&q->filled, &q->lock);
  item = q->item[q->head];
  q->head = (q->head + 1) % CAPACITY;
  q->n--;
  pthread_cond_signal(&q->drained);
  pthread_mutex_unlock(&q->lock);
  return item;
}

static void *have (size_t size) {
  void *p = malloc(size);
  if (p == NULL) exit(1);
  return p;
}

static struct item make (uint64_t value) {
  struct item item = { value, NULL };
  size_t size = (size_t)atoi(kind);
  if (size > 0) {
    item.bytes = have(size);
    memcpy(item.bytes, text, size);
  }
  else if (strcmp(kind, "tables") == 0) {
    struct record *r = item.bytes = have(sizeof(*r));
    r->id = (int64_t)value;
    r->weight = 0.5;
    r->name = strdup("a name");
  }
  return item;
}

static void drop (struct item item) {
  if (strcmp(kind, "tables") == 0) free(((struct record *)item.bytes)->name);
  free(item.bytes);
}

static void *send_all (void *unused) {
  for (unsigned long i = 1; i <= count; i++) put(&there, make(i));
  return unused;
}

static void *echo (void *unused) {
  for (unsigned long i = 0; i < count; i++) put(&back, take(&there));
  return unused;
}

static double now (void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void start (pthread_t *thread, void *(*f)(void *)) {
  if (pthread_create(thread, NULL, f, NULL) != 0) exit(1);
}

static void print (double began, double cpu, unsigned long n) {
  double wall = now() - began, used = (double)clock() / CLOCKS_PER_SEC * 1e9;
  printf("%.1f %.1f %lu\n", wall / (double)n, (used - cpu) / (double)n, n);
}

static void stream (unsigned senders, unsigned long n) {
  pthread_t threads[MOST];
  unsigned long arrived = 0;
  double began = now(), cpu = (double)clock() / CLOCKS_PER_SEC * 1e9;
  count = n / senders;
  for (unsigned i = 0; i < senders; i++) start(&threads[i], send_all);
  for (; arrived < count * senders; arrived++) drop(take(&there));
  print(began, cpu, arrived);
  for (unsigned i = 0; i < senders; i++) pthread_join(threads[i], NULL);
}

static void round_trips (unsigned long n) {
  pthread_t thread;
  unsigned long arrived = 0;
  double began = now(), cpu = (double)clock() / CLOCKS_PER_SEC * 1e9;
  count = n;
  start(&thread, echo);
  for (unsigned long i = 1; i <= n; i++) {
    put(&there, (struct item){ i, NULL });
    if (take(&back).value == i) arrived++;
  }
  print(began, cpu, arrived);
  pthread_join(thread, NULL);
}

int main (int argc, char **argv) {
  queue_init(&there);
  queue_init(&back);
  if (argc == 5 && strcmp(argv[1], "stream") == 0) {
    unsigned senders = (unsigned)atoi(argv[3]);
    kind = argv[2];
    if (senders < 1 || senders > MOST) return 2;
    stream(senders, strtoul(argv[4], NULL, 10));
  }
  else if (argc == 3 && strcmp(argv[1], "trip") == 0)
    round_trips(strtoul(argv[2], NULL, 10));
  else return 2;
  return 0;
}
