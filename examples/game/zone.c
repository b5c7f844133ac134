/*
** zone: Lua states that are stepped 60 times a second. One of all zones is
** closed and loaded again each second, while others send to its actors.
**
** The time of its tasks is the game's: that of the frame. A step has a budget
** of real time, and what is left of it now and then is the collector's.
**
** A closed zone gives its counts, so that in the end each message that was
** sent is known to have been received or not.
*/

#include "game.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#define LUA_MOST  (16 << 20)  /* bytes that a zone may have of Lua's memory */
#define C_MOST    (4 << 20)   /* ... and of the library's */
#define PROBE     200000      /* nanoseconds, in each frame */
#define GC_FRAMES 30          /* a zone collects garbage in one of so many */

struct zone {
  lua_State *L;
  int index;
  int counts;                 /* in the registry: a function */
  size_t used, most;          /* bytes of Lua */
};

static void *bounded (void *ud, void *p, size_t had, size_t size) {
  struct zone *z = ud;
  void *q = NULL;
  if (p == NULL) had = 0;
  if (size > had && z->used + (size - had) > LUA_MOST) return NULL;
  if (size == 0) free(p);
  else if ((q = realloc(p, size)) == NULL) return NULL;
  z->used = z->used + size - had;
  if (z->used > z->most) z->most = z->used;
  return q;
}

static void failed (struct zones *zs, struct zone *z) {
  fprintf(stderr, "zone %d: %s\n", z->index + 1,
          luaL_tolstring(z->L, -1, NULL));
  lua_pop(z->L, 2);
  zs->errors++;
}


/* ---- loading and closing ----------------------------------------------- */

/* load(zone, zones): called protected */
static int load (lua_State *L) {
  struct zone *z = lua_touserdata(L, 1);
  struct zones *zs = lua_touserdata(L, 2);
  struct uring_loop_options o = {
    .size = sizeof(o), .realm = REALM, .memory = C_MOST
  };
  int err;
  luaL_openlibs(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "uring");
  lua_call(L, 1, 0);
  if ((err = uring->open(L, &o)) < 0) luaL_error(L, "open: errno %d", -err);
  if (luaL_loadfile(L, options.script) != LUA_OK) lua_error(L);
  lua_pushinteger(L, z->index + 1);
  lua_pushinteger(L, ZONES);
  lua_pushinteger(L, options.actors);
  if (uring->push_address(L, zs->answers) < 0)
    luaL_error(L, "no address for the answers");
  lua_call(L, 4, 1);
  z->counts = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static void zone_load (struct zones *zs, struct zone *z) {
  lua_State *L = z->L = luaL_newstate();
  if (L == NULL) die("a Lua state", ENOMEM);
  z->used = (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024
            + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
  lua_setallocf(L, bounded, z);
  lua_pushcfunction(L, load);
  lua_pushlightuserdata(L, z);
  lua_pushlightuserdata(L, zs);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    failed(zs, z);
    exit(1);
  }
}

static void add_counts (struct zones *zs, struct zone *z) {
  lua_rawgeti(z->L, LUA_REGISTRYINDEX, z->counts);
  if (lua_pcall(z->L, 0, COUNTS, 0) != LUA_OK) {
    failed(zs, z);
    return;
  }
  for (int i = 0; i < COUNTS; i++)
    zs->counts[i] += lua_tointeger(z->L, i - COUNTS);
  lua_pop(z->L, COUNTS);
}

/* What the library holds for it in C. */
static void see_memory (struct zones *zs, struct zone *z) {
  int64_t bytes;
  if (luaL_dostring(z->L, "return require('uring').loop():stats().memory")
      != LUA_OK) {
    failed(zs, z);
    return;
  }
  bytes = lua_tointeger(z->L, -1);
  lua_pop(z->L, 1);
  if (bytes > zs->c_most) zs->c_most = bytes;
}

/* All its tasks end; then it counts; then the state goes. */
static void zone_close (struct zones *zs, struct zone *z) {
  int err;
  see_memory(zs, z);
  err = uring->close(z->L, 0.05);
  if (err < 0) {
    fprintf(stderr, "zone %d: close: errno %d\n", z->index + 1, -err);
    zs->errors++;
  }
  add_counts(zs, z);
  lua_close(z->L);
  zs->unfreed += (int64_t)z->used;
  if ((int64_t)z->most > zs->lua_most) zs->lua_most = (int64_t)z->most;
}

static void zone_reload (struct zones *zs, struct zone *z) {
  int64_t start = nanoseconds(CLOCK_MONOTONIC);
  zone_close(zs, z);
  zone_load(zs, z);
  zs->reloads[zs->n_reloads++] = nanoseconds(CLOCK_MONOTONIC) - start;
}


/* ---- steps ------------------------------------------------------------- */

/* How often this thread has lost its core to another, and given it away. */
static struct rusage switches (void) {
  struct rusage r = { .ru_nivcsw = 0 };
  getrusage(RUSAGE_THREAD, &r);
  return r;
}

static void zone_step (struct zones *zs, struct zone *z, int64_t frame) {
  struct uring_step s = {
    .size = sizeof(s), .max = 1000, .seconds = BUDGET,
    .now = (double)frame / HZ, .gc = (frame + z->index) % GC_FRAMES == 0
  };
  struct step_time *t = &zs->steps[zs->n++];
  struct rusage before = switches(), after;
  int64_t start = nanoseconds(CLOCK_MONOTONIC);
  int err = uring->step(z->L, &s);
  t->ns = nanoseconds(CLOCK_MONOTONIC) - start;
  after = switches();
  t->preempted = after.ru_nivcsw > before.ru_nivcsw;
  t->waited = after.ru_nvcsw > before.ru_nvcsw;
  if (err < 0) die("uring->step", -err);
  zs->resumed += s.resumed;
  if (s.failed) failed(zs, z);
}

/* How long the machine stands still (interrupts, a hypervisor) in a loop that
** only reads the clock, and is not preempted: what no budget can bound. */
static int64_t longest_pause (void) {
  struct rusage before = switches();
  int64_t start = nanoseconds(CLOCK_MONOTONIC), t = start, last, longest = 0;
  do {
    last = t;
    t = nanoseconds(CLOCK_MONOTONIC);
    if (t - last > longest) longest = t - last;
  } while (t < start + PROBE);
  return switches().ru_nivcsw > before.ru_nivcsw ? 0 : longest;
}

void zones_run (struct zones *zs) {
  struct zone zones[ZONES] = { { 0 } };
  int64_t frames = (int64_t)(options.seconds * HZ);
  int64_t start, pause;
  int i;
  for (i = zs->first; i < ZONES; i += THREADS) {
    zones[i].index = i;
    zone_load(zs, &zones[i]);
  }
  start = nanoseconds(CLOCK_MONOTONIC);
  for (int64_t frame = 1; frame <= frames; frame++) {
    int again = frame % HZ == 0 ? (int)(frame / HZ - 1) % ZONES : -1;
    wait_until(start + frame * 1000000000 / HZ);
    for (i = zs->first; i < ZONES; i += THREADS) {
      if (i == again) zone_reload(zs, &zones[i]);
      zone_step(zs, &zones[i], frame);
    }
    pause = longest_pause();
    if (pause > zs->pause) zs->pause = pause;
  }
  for (i = zs->first; i < ZONES; i += THREADS) zone_close(zs, &zones[i]);
  uring->release(zs->answers);
}
