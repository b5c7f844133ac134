/*
** host_storm: a hostile host in C. Scripts do whatever comes to mind, in tasks
** and in every callback that there is, finalizers and hooks included; threads
** post, find names and read inboxes meanwhile; blocks, when they are released,
** do so too; each state is closed where it stands. spec/host_storm_spec.lua
** builds it, and runs it with the script and the numbers of its states: the
** first, and the one after the last.
**
** It says how many blocks were accepted, and fails unless as many were
** released.
*/

#include <uring_lua.h>

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BOXES   4
#define POSTERS 2
#define DEEP    3          /* releases in releases */

static const struct uring_api *uring;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uring_box *boxes[BOXES];  /* under the lock; counted */

static _Atomic unsigned long accepted, released;
static _Atomic bool over;

static _Thread_local unsigned chance = 1;
static _Thread_local unsigned depth;

static unsigned draw (unsigned n) {
  chance = chance * 1103515245u + 12345u;
  return (chance >> 8) % n;
}

static void must (bool ok, const char *what) {
  if (ok)
    return;
  fprintf(stderr, "%s\n", what);
  abort();
}


/* ---- boxes ------------------------------------------------------------- */

static uring_box *take_box (void) {
  uring_box *b;
  pthread_mutex_lock(&lock);
  b = boxes[draw(BOXES)];
  if (b) uring->hold(b);
  pthread_mutex_unlock(&lock);
  return b;
}

/* Put a box, or none, in the place of another. */
static void put_box (uring_box *b) {
  unsigned i = draw(BOXES);
  uring_box *old;
  pthread_mutex_lock(&lock);
  old = boxes[i];
  boxes[i] = b;
  pthread_mutex_unlock(&lock);
  if (old) uring->release(old);
}

static const char *draw_name (void) {
  static const char *const names[] = { "n1", "n2", "n3", "n4", "n5", "n6" };
  return names[draw(6)];
}

static void find_box (void) {
  uring_box *b;
  if (uring->find(NULL, draw_name(), 2, &b) != 0)
    return;
  if (draw(2)) put_box(b);
  else uring->release(b);
}


/* ---- posts ------------------------------------------------------------- */

static const char bytes[3000];

static void on_release (void *ud, const void *p, size_t len);

static uring_value value (int type, size_t len) {
  uring_value v;
  memset(&v, 0, sizeof(v));
  v.type = type;
  if (type == URING_STRING || type == URING_BLOCK) {
    v.u.s.p = bytes;
    v.u.s.len = len;
  }
  if (type == URING_BLOCK) {
    v.release = on_release;
    v.ud = &released;
  }
  return v;
}

/* Post one of some kinds of messages. */
static void post (void) {
  uring_box *b = take_box();
  uring_value items[2] = { value(URING_BLOCK, 4), value(URING_STRING, 16) };
  uring_value v[2] = { value(URING_BOOLEAN, 0), value(URING_BOOLEAN, 0) };
  unsigned long blocks = 0;
  int pipe_fds[2] = { -1, -1 }, rc;
  if (b == NULL)
    return;
  switch (draw(5)) {
    case 0: v[0] = value(URING_STRING, draw(sizeof(bytes))); break;
    case 1: v[0] = value(URING_BLOCK, 16); blocks = 1; break;
    case 2:
      v[0] = value(URING_ARRAY, 0);
      v[0].n = 2;
      v[0].u.items = items;
      blocks = 1;
      break;
    case 3:
      if (pipe(pipe_fds) < 0) break;
      close(pipe_fds[1]);
      v[0] = value(URING_FD, 0);
      v[0].u.fd = pipe_fds[0];
      break;
    default: break;
  }
  atomic_fetch_add(&accepted, blocks);
  rc = uring->post(b, v, 2);
  if (rc < 0) {
    atomic_fetch_sub(&accepted, blocks);
    if (pipe_fds[0] >= 0) close(pipe_fds[0]);
  }
  uring->release(b);
}

/* It may post, hold, release and find, wherever it runs. */
static void on_release (void *ud, const void *p, size_t len) {
  must(ud == &released && p == bytes && len > 0, "a block without an owner");
  atomic_fetch_add(&released, 1);
  if (depth++ < DEEP) {
    unsigned what = draw(6);
    if (what == 0) post();
    else if (what == 1) find_box();
    else if (what == 2) put_box(NULL);
    else if (what == 3) put_box(take_box());
  }
  depth--;
}


/* ---- threads ----------------------------------------------------------- */

static void *posts (void *arg) {
  chance = (unsigned)(uintptr_t)arg;
  while (!over) {
    if (draw(8)) post();
    else find_box();
    if (draw(20) == 0) sched_yield();
  }
  return NULL;
}

/* Read an inbox for a while, and keep a message of it for longer. */
static void read_inbox (uring_inbox *inbox) {
  uring_message *m, *kept = NULL;
  put_box(uring->inbox_box(inbox));
  for (unsigned i = draw(100); i > 0 && !over; i--) {
    struct pollfd p = { .fd = uring->inbox_fd(inbox), .events = POLLIN };
    poll(&p, 1, 1);
    while (uring->inbox_take(inbox, &m) == 0) {
      if (kept) uring->message_free(kept);
      kept = m;
    }
  }
  uring->inbox_close(inbox);
  if (kept) uring->message_free(kept);
}

static void *reads (void *arg) {
  chance = (unsigned)(uintptr_t)arg;
  while (!over) {
    struct uring_inbox_options o = { .size = sizeof(o) };
    uring_inbox *inbox;
    o.capacity = 1 + draw(20);
    if (draw(2)) o.name = draw_name();
    if (uring->inbox_new(&o, &inbox) == 0) read_inbox(inbox);
    else sched_yield();
  }
  return NULL;
}


/* ---- for the script ---------------------------------------------------- */

static double host_time;   /* NaN: the clock's */

/* step(): the result of it. The time of a host may jump. */
static int lua_step (lua_State *L) {
  static const double jumps[] = { 0, 1e-9, 0.01, 1, 1e3, -1, 1e6, INFINITY,
                                  1e300 };
  struct uring_step s = { .size = sizeof(s), .now = host_time };
  int top = lua_gettop(L), rc;
  if (draw(3) == 0) s.max = 1 + draw(5);
  if (draw(2)) s.seconds = 0.0005;
  s.gc = draw(4) == 0;
  if (!isnan(s.now)) s.now += jumps[draw(9)];
  rc = uring->step(L, &s);
  if (rc == 0) host_time = s.now;
  must(lua_gettop(L) == top + (rc == 0 && s.failed), "step leaves values");
  lua_settop(L, top);
  lua_pushinteger(L, rc);
  return 1;
}

static int lua_host_close (lua_State *L) {
  int top = lua_gettop(L), rc = uring->close(L, draw(2) ? 0 : 0.01);
  must(lua_gettop(L) == top, "close leaves values");
  lua_pushinteger(L, rc);
  return 1;
}

static int lua_spawn (lua_State *L) {
  int rc = uring->spawn(L, lua_gettop(L) - 1);
  must(lua_gettop(L) == 0, "spawn leaves values");
  lua_pushinteger(L, rc);
  return 1;
}

static int lua_look (lua_State *L) {
  lua_pushinteger(L, uring->fd(L));
  lua_pushnumber(L, uring->timeout(L));
  return 2;
}

/* give(mailbox): its box may be posted to; take(): the address of one */
static int lua_give (lua_State *L) {
  uring_box *b;
  if (uring->to_box(L, 1, &b) == 0) put_box(b);
  return 0;
}

static int lua_take (lua_State *L) {
  uring_box *b = take_box();
  int rc = -1;
  if (b) {
    rc = uring->push_address(L, b);
    uring->release(b);
  }
  return rc == 0;
}

static int lua_post (lua_State *L) {
  (void)L;
  post();
  find_box();
  return 0;
}

static int lua_draw (lua_State *L) {
  lua_pushinteger(L, 1 + (lua_Integer)draw((unsigned)luaL_checkinteger(L, 1)));
  return 1;
}

static const luaL_Reg functions[] = {
  {"step", lua_step}, {"close", lua_host_close}, {"spawn", lua_spawn},
  {"look", lua_look}, {"give", lua_give}, {"take", lua_take},
  {"post", lua_post}, {"draw", lua_draw},
  {NULL, NULL}
};


/* ---- states ------------------------------------------------------------ */

static lua_State *new_state (void) {
  lua_State *L = luaL_newstate();
  must(L != NULL, "no state");
  luaL_openlibs(L);
  must(luaL_dostring(L, "uring = require 'uring'") == LUA_OK, "no uring");
  return L;
}

static void *close_state (void *L) {
  lua_close(L);
  return NULL;
}

/* Run the script in a state, and close that where it stands, sometimes by
** another thread. */
static void run_state (const char *script, unsigned number) {
  lua_State *L = new_state();
  pthread_t thread;
  chance = number * 7919 + 1;
  host_time = number % 4 == 0 ? 0 : NAN;
  luaL_newlib(L, functions);
  lua_setglobal(L, "host");
  lua_pushboolean(L, !isnan(host_time));
  lua_setglobal(L, "host_time");
  must(luaL_loadfile(L, script) == LUA_OK, "no script");
  lua_pcall(L, 0, 0, 0);  /* (any of its callbacks may raise) */
  lua_settop(L, 0);
  lua_pushboolean(L, 1);
  lua_setglobal(L, "closing");
  if (number % 3 > 0) lua_close(L);
  else {
    must(pthread_create(&thread, NULL, close_state, L) == 0, "no thread");
    pthread_join(thread, NULL);
  }
}

int main (int argc, char **argv) {
  pthread_t threads[POSTERS + 1];
  lua_State *L = new_state();
  if (argc < 4)
    return 2;
  lua_getfield(L, LUA_REGISTRYINDEX, URING_LUA_KEY);
  uring = lua_touserdata(L, -1);
  lua_close(L);
  for (uintptr_t i = 0; i <= POSTERS; i++)
    must(pthread_create(&threads[i], NULL, i < POSTERS ? posts : reads,
                        (void *)(i + 1)) == 0, "no thread");
  for (int i = atoi(argv[2]); i < atoi(argv[3]); i++)
    run_state(argv[1], (unsigned)i);
  over = true;
  for (int i = 0; i <= POSTERS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < BOXES; i++)
    if (boxes[i]) uring->release(boxes[i]);
  printf("%lu accepted, %lu released\n", atomic_load(&accepted),
         atomic_load(&released));
  return accepted != released;
}
