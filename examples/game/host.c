/*
** host: a game server in miniature, as a host of uring. Four zones, which are
** Lua states, on two threads of 60 frames a second; 200 actors in them, which
** are tasks; a thread for the network, which has no Lua; and one that plays
** the players. Each second one zone is loaded again while the others go on.
**
** In the end it reports how long the steps took, and whether each message that
** was sent is accounted for. Its status is 1 where one is not, 77 where
** io_uring is refused.
*/

#include "game.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#define NO_IO_URING 77

const struct uring_api *uring;
struct options options = { .seconds = 20, .actors = 200 };

int64_t nanoseconds (int clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void wait_until (int64_t t) {
  struct timespec at = { .tv_sec = t / 1000000000, .tv_nsec = t % 1000000000 };
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR);
}

void die (const char *what, int err) {
  fprintf(stderr, "%s: %s\n", what, strerror(err));
  exit(1);
}


/* ---- the start --------------------------------------------------------- */

static void usage (void) {
  fputs("usage: host [--seconds N] [--actors N] [--flood] actors.lua\n",
        stderr);
  exit(2);
}

static void read_options (char **arg) {
  for (; *arg != NULL; arg++) {
    if (strcmp(*arg, "--flood") == 0) options.flood = true;
    else if (strcmp(*arg, "--seconds") == 0 && arg[1] != NULL)
      options.seconds = atof(*++arg);
    else if (strcmp(*arg, "--actors") == 0 && arg[1] != NULL)
      options.actors = atoi(*++arg);
    else if (**arg != '-' && options.script == NULL) options.script = *arg;
    else usage();
  }
  if (options.script == NULL || options.actors < 1 || options.actors > 4000
      || !(options.seconds >= 1 && options.seconds <= 3600)) usage();
}

/* The table is the process's: it stays when this state is closed. */
static void find_uring (void) {
  lua_State *L = luaL_newstate();
  if (L == NULL) die("a Lua state", ENOMEM);
  luaL_openlibs(L);
  if (luaL_dostring(L, "uring = require 'uring'") != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
  }
  lua_getfield(L, LUA_REGISTRYINDEX, URING_LUA_KEY);
  uring = lua_touserdata(L, -1);
  if (uring == NULL || uring->size < sizeof(*uring)) {
    fputs("this uring is older than uring_lua.h\n", stderr);
    exit(1);
  }
  if (luaL_dostring(L, "local _, why = uring.loop() return why") != LUA_OK
      || lua_isstring(L, -1)) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(NO_IO_URING);
  }
  lua_close(L);
}

static void open_zones (struct zones *zs, int first, uring_inbox *inbox) {
  size_t seconds = (size_t)options.seconds + 1;
  zs->first = first;
  zs->answers = uring->inbox_box(inbox);
  zs->steps = calloc(seconds * HZ * ZONES, sizeof(*zs->steps));
  zs->reloads = calloc(seconds, sizeof(*zs->reloads));
  if (zs->steps == NULL || zs->reloads == NULL) die("times", ENOMEM);
}

static uint16_t port_of (int fd) {
  struct sockaddr_in a;
  socklen_t size = sizeof(a);
  if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
    die("getsockname", errno);
  return ntohs(a.sin_port);
}

static pthread_t start (void *(*f) (void *), void *arg) {
  pthread_t thread;
  int err = pthread_create(&thread, NULL, f, arg);
  if (err != 0) die("pthread_create", err);
  return thread;
}


/* ---- the report -------------------------------------------------------- */

/* Of what all threads had. */
struct sums {
  struct step_time *steps;
  int64_t n, resumed, *sorted, *reloads, n_reloads, pause;
  int64_t counts[COUNTS], errors, unfreed, lua_most, c_most;
  bool wrong;
};

static int64_t larger (int64_t a, int64_t b) { return a > b ? a : b; }

static void sum_up (struct sums *all, const struct zones *zs) {
  for (int64_t i = 0; i < zs->n; i++) all->steps[all->n++] = zs->steps[i];
  for (int64_t i = 0; i < zs->n_reloads; i++)
    all->reloads[all->n_reloads++] = zs->reloads[i];
  for (int i = 0; i < COUNTS; i++) all->counts[i] += zs->counts[i];
  all->resumed += zs->resumed;
  all->errors += zs->errors;
  all->unfreed += zs->unfreed;
  all->pause = larger(all->pause, zs->pause);
  all->lua_most = larger(all->lua_most, zs->lua_most);
  all->c_most = larger(all->c_most, zs->c_most);
}

static int by_size (const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Of sorted times, in microseconds. */
static double at (const int64_t *times, int64_t n, double share) {
  return n == 0 ? 0 : (double)times[(int64_t)((double)(n - 1) * share)] / 1e3;
}

static bool undisturbed (const struct step_time *t) {
  return !t->preempted && !t->waited;
}

static void report_times (struct sums *all, const char *name, bool disturbed) {
  int64_t n = 0;
  for (int64_t i = 0; i < all->n; i++)
    if (disturbed || undisturbed(&all->steps[i]))
      all->sorted[n++] = all->steps[i].ns;
  qsort(all->sorted, (size_t)n, sizeof(*all->sorted), by_size);
  printf("%-10s %jd; p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  longest %.0f\n",
         name, (intmax_t)n, at(all->sorted, n, 0.5), at(all->sorted, n, 0.9),
         at(all->sorted, n, 0.99), at(all->sorted, n, 0.999),
         at(all->sorted, n, 1));
}

static void report_overruns (const struct sums *all) {
  int64_t limit = (int64_t)((BUDGET + SLACK) * 1e9), own = 0, preempted = 0,
          waited = 0;
  for (int64_t i = 0; i < all->n; i++) {
    const struct step_time *t = &all->steps[i];
    if (t->ns <= limit) continue;
    if (undisturbed(t)) own++;
    else if (t->preempted) preempted++;
    else waited++;
  }
  printf("overruns   %jd, and %jd of threads that were preempted, %jd that"
         " waited for such\n"
         "           (of a budget of %.0f, and %.0f for the last resume)\n",
         (intmax_t)own, (intmax_t)preempted, (intmax_t)waited, BUDGET * 1e6,
         SLACK * 1e6);
}

/* All in microseconds. */
static void report_steps (struct sums *all) {
  qsort(all->reloads, (size_t)all->n_reloads, sizeof(int64_t), by_size);
  report_times(all, "steps", true);
  report_times(all, "  alone", false);
  report_overruns(all);
  printf("machine    a loop that only reads the clock stood still for %.0f\n",
         (double)all->pause / 1e3);
  printf("reloads    %jd; p50 %.0f  longest %.0f\n",
         (intmax_t)all->n_reloads, at(all->reloads, all->n_reloads, 0.5),
         at(all->reloads, all->n_reloads, 1));
}

/* Kilobytes that the process has in memory. */
static int64_t resident (void) {
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f == NULL) return 0;
  if (fscanf(f, "%*d %ld", &pages) != 1) pages = 0;
  fclose(f);
  return (int64_t)pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void equal (struct sums *all, int64_t a, int64_t b, const char *what) {
  if (a == b) return;
  printf("WRONG      %s: %jd is not %jd\n", what, (intmax_t)a, (intmax_t)b);
  all->wrong = true;
}

static void report_counts (struct sums *all, const struct network *net,
                           const struct players *p) {
  const int64_t *c = all->counts;
  printf("datagrams  %jd sent = %jd posted + %jd full + %jd away"
         " + %jd lost in the socket\n", (intmax_t)p->sent,
         (intmax_t)net->posted, (intmax_t)net->full, (intmax_t)net->away,
         (intmax_t)(p->sent - net->datagrams));
  printf("messages   %jd posted + %jd sent = %jd received"
         " + %jd undelivered\n", (intmax_t)net->posted, (intmax_t)c[SENT],
         (intmax_t)c[RECEIVED], (intmax_t)c[UNDELIVERED]);
  printf("answers    %jd sent = %jd taken + %jd undelivered; %jd heard\n",
         (intmax_t)c[ANSWERED], (intmax_t)net->taken,
         (intmax_t)net->undelivered, (intmax_t)p->answers);
  printf("actors     %jd waits timed out; %jd messages were refused\n",
         (intmax_t)c[TIMEOUTS], (intmax_t)c[REFUSED]);
  equal(all, net->datagrams, net->posted + net->full + net->away,
        "datagrams");
  equal(all, net->posted + c[SENT], c[RECEIVED] + c[UNDELIVERED], "messages");
  equal(all, c[ANSWERED], net->taken + net->undelivered, "answers");
  equal(all, all->errors, 0, "errors of scripts");
  equal(all, all->unfreed, 0, "bytes of closed states");
  if (!all->wrong) puts("all counts add up");
}


/* ---- the run ----------------------------------------------------------- */

static void *run_zones (void *zs) {
  zones_run(zs);
  return NULL;
}

static bool report (struct zones *zs, struct network *net, struct players *p,
                    int64_t early, int64_t late) {
  struct sums all = { 0 };
  size_t n = (size_t)(zs[0].n + zs[1].n);
  all.steps = calloc(n, sizeof(*all.steps));
  all.sorted = calloc(n, sizeof(*all.sorted));
  all.reloads = calloc((size_t)options.seconds + 1, sizeof(*all.reloads));
  if (all.steps == NULL || all.sorted == NULL || all.reloads == NULL)
    die("the report", ENOMEM);
  for (int i = 0; i < THREADS; i++) sum_up(&all, &zs[i]);
  printf("%.0f seconds of %d frames; %d zones on %d threads, %d actors%s\n"
         "(times in microseconds; %jd tasks resumed)\n",
         options.seconds, HZ, ZONES, THREADS, options.actors,
         options.flood ? "; a flood of datagrams" : "",
         (intmax_t)all.resumed);
  report_steps(&all);
  printf("memory     the largest zone %jd KB of Lua, %jd KB of C;\n"
         "           the process %jd KB, and %jd KB later\n",
         (intmax_t)(all.lua_most / 1024), (intmax_t)(all.c_most / 1024),
         (intmax_t)early, (intmax_t)late);
  report_counts(&all, net, p);
  free(all.steps);
  free(all.sorted);
  free(all.reloads);
  return !all.wrong;
}

int main (int argc, char **argv) {
  struct network net = { 0 };
  struct players players = { 0 };
  struct zones zs[THREADS] = { { 0 } };
  pthread_t zone_threads[THREADS], network_thread, players_thread;
  int64_t began, early, late;
  bool good;
  if (argc < 2) usage();
  read_options(argv + 1);
  find_uring();
  began = nanoseconds(CLOCK_MONOTONIC);
  network_open(&net);
  players.port = port_of(net.fd);
  players.seconds = options.seconds - 0.3;
  for (int i = 0; i < THREADS; i++) {
    open_zones(&zs[i], i, net.inbox);
    zone_threads[i] = start(run_zones, &zs[i]);
  }
  network_thread = start(network_run, &net);
  players_thread = start(players_run, &players);
  wait_until(began + (int64_t)(options.seconds * 0.3e9));
  early = resident();
  wait_until(began + (int64_t)(options.seconds * 0.9e9));
  late = resident();
  for (int i = 0; i < THREADS; i++) pthread_join(zone_threads[i], NULL);
  (void)!write(net.stop, &(uint64_t){ 1 }, sizeof(uint64_t));
  pthread_join(network_thread, NULL);
  atomic_store(&players.stop, true);
  pthread_join(players_thread, NULL);
  close(net.fd);
  close(net.stop);
  good = report(zs, &net, &players, early, late);
  for (int i = 0; i < THREADS; i++) {
    free(zs[i].steps);
    free(zs[i].reloads);
  }
  return good ? 0 : 1;
}
