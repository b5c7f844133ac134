/*
** game.h: what the files of this example share.
**
** host.c     the threads, and the report
** zone.c     a zone: a Lua state with its actors, stepped 60 times a second
** network.c  the thread between a UDP socket and the actors, without Lua
** players.c  the thread that plays the players
*/

#ifndef game_h
#define game_h

#ifndef _GNU_SOURCE
#define _GNU_SOURCE         /* clock_nanosleep, RUSAGE_THREAD */
#endif

#include <stdatomic.h>
#include <stdint.h>
#include <stdbool.h>

#include <uring_lua.h>

#define ZONES     4
#define THREADS   2           /* zone i is stepped by thread i % THREADS */
#define HZ        60
#define BUDGET    0.002       /* seconds, of each zone's step */
#define SLACK     0.0002      /* ... that its last resume may take more */
#define REALM     "game"      /* of the actors' names */

struct options {
  const char *script;
  double seconds;
  int actors;
  bool flood;
};

extern const struct uring_api *uring;  /* the process's, set by main */
extern struct options options;

int64_t nanoseconds (int clock);
void wait_until (int64_t t);  /* by CLOCK_MONOTONIC */
void die (const char *what, int err);  /* says why, and ends the process */


/* ---- zones ------------------------------------------------------------- */

/* What the actors of a zone have counted, in the order of actors.lua. */
enum { RECEIVED, UNDELIVERED, SENT, ANSWERED, REFUSED, TIMEOUTS, COUNTS };

struct step_time {
  int64_t ns;
  bool preempted;             /* the core was given to another thread */
  bool waited;                /* for a lock that another thread had */
};

struct zones {                /* of a thread */
  int first;                  /* zones first, first + THREADS, ... */
  uring_box *answers;         /* counted for this thread */
  struct step_time *steps;    /* of all its zones */
  int64_t n, resumed;
  int64_t *reloads, n_reloads;  /* nanoseconds */
  int64_t pause;              /* nanoseconds: the machine's longest */
  int64_t counts[COUNTS];     /* of all states that it has closed */
  int64_t errors, unfreed;
  int64_t lua_most, c_most;   /* bytes: the largest state's */
};

void zones_run (struct zones *zs);


/* ---- network and players ----------------------------------------------- */

struct network {
  int fd;                     /* a UDP socket */
  int stop;                   /* an eventfd */
  uring_inbox *inbox;         /* what actors answer */
  int64_t datagrams;          /* received: each one was */
  int64_t posted, full, away; /* taken, refused, or without a mailbox */
  int64_t taken, undelivered; /* answers */
};

void network_open (struct network *net);
void *network_run (void *net);  /* a thread's: until `stop` is readable */

struct players {
  uint16_t port;              /* the network's */
  double seconds;
  _Atomic bool stop;          /* no more answers will come */
  int64_t sent, answers;
};

void *players_run (void *players);

#endif
