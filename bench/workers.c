/*
** workers: what two threads in C take that share bounded queues, under
** a mutex and two condition variables each.
**
**     build/bench/workers N
**
** Prints the nanoseconds of a number in a stream of N from one thread to
** another (capacity 1024), and of a round trip, in which both wait in turn.
*/

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CAPACITY 1024

struct queue {
  pthread_mutex_t lock;
  pthread_cond_t filled, drained;
  uint64_t item[CAPACITY];
  unsigned head, n;
};

static struct queue there, back;
static unsigned long count;

static void queue_init (struct queue *q) {
  pthread_mutex_init(&q->lock, NULL);
  pthread_cond_init(&q->filled, NULL);
  pthread_cond_init(&q->drained, NULL);
}

static void put (struct queue *q, uint64_t item) {
  pthread_mutex_lock(&q->lock);
  while (q->n == CAPACITY) pthread_cond_wait(&q->drained, &q->lock);
  q->item[(q->head + q->n++) % CAPACITY] = item;
  pthread_cond_signal(&q->filled);
  pthread_mutex_unlock(&q->lock);
}

static uint64_t take (struct queue *q) {
  uint64_t item;
  pthread_mutex_lock(&q->lock);
  while (q->n == 0) pthread_cond_wait(&q->filled, &q->lock);
  item = q->item[q->head];
  q->head = (q->head + 1) % CAPACITY;
  q->n--;
  pthread_cond_signal(&q->drained);
  pthread_mutex_unlock(&q->lock);
  return item;
}

static void *add_up (void *unused) {
  uint64_t sum = 0;
  for (unsigned long i = 0; i < count; i++) sum += take(&there);
  put(&back, sum);
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

static double stream (void) {
  pthread_t thread;
  double began = now();
  pthread_create(&thread, NULL, add_up, NULL);
  for (unsigned long i = 1; i <= count; i++) put(&there, i);
  if (take(&back) != (uint64_t)count * (count + 1) / 2) exit(1);
  pthread_join(thread, NULL);
  return (now() - began) / (double)count;
}

static double round_trip (void) {
  pthread_t thread;
  double began = now();
  pthread_create(&thread, NULL, echo, NULL);
  for (unsigned long i = 1; i <= count; i++) {
    put(&there, i);
    if (take(&back) != i) exit(1);
  }
  pthread_join(thread, NULL);
  return (now() - began) / (double)count;
}

int main (int argc, char **argv) {
  double took;
  count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
  queue_init(&there);
  queue_init(&back);
  took = stream();
  count = count / 10 + 1;
  printf("%.1f %.1f\n", took, round_trip());
  return 0;
}
