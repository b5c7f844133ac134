/*
** uring_spec: what a host does: epoll and select on a descriptor; and a thread
** that floods a ring with messages. See helper.c.
*/

#include "helper.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

/* epoll(fd, edge): a new epoll descriptor that watches it, level or edge */
static int l_epoll (lua_State *L) {
  int fd = check_fd(L, 1);
  int ep = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event e;
  memset(&e, 0, sizeof(e));
  e.events = EPOLLIN | (lua_toboolean(L, 2) ? EPOLLET : 0u);
  if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
    return luaL_error(L, "epoll: %s", strerror(errno));
  lua_pushinteger(L, ep);
  return 1;
}

/* epoll_wait(epoll, seconds): did it come within that time? */
static int l_epoll_wait (lua_State *L) {
  struct epoll_event e;
  int ms = (int)(luaL_optnumber(L, 2, 0) * 1000), n;
  do {
    n = epoll_wait(check_fd(L, 1), &e, 1, ms);
  } while (n < 0 && errno == EINTR);
  if (n < 0)
    return luaL_error(L, "epoll_wait: %s", strerror(errno));
  lua_pushboolean(L, n > 0);
  return 1;
}

/* select(fd, seconds): the same by select(2) */
static int l_select (lua_State *L) {
  int fd = check_fd(L, 1), n;
  double seconds = luaL_optnumber(L, 2, 0);
  struct timeval t;
  fd_set set;
  luaL_argcheck(L, fd >= 0 && fd < FD_SETSIZE, 1, "not for select");
  FD_ZERO(&set);
  FD_SET(fd, &set);
  t.tv_sec = (time_t)seconds;
  t.tv_usec = (suseconds_t)((seconds - (double)t.tv_sec) * 1e6);
  n = select(fd + 1, &set, NULL, NULL, &t);
  lua_pushboolean(L, n > 0);
  return 1;
}


/* ---- a flood ----------------------------------------------------------- */

struct flood {
  struct thread thread;  /* first: it is joined as one */
  int fd;
  lua_Integer n;
  uint32_t seed;
};

static uint32_t draw (uint32_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 17;
  *seed ^= *seed << 5;
  return *seed;
}

/* From not at all to some 60 µs, so that a message comes at any point of
** a step and of a host's sleep. */
static void delay (uint32_t *seed) {
  uint32_t kind = draw(seed) % 16;
  if (kind == 0) usleep(draw(seed) % 60);
  else if (kind == 1) sched_yield();
  else if (kind < 8)
    for (volatile uint32_t i = draw(seed) % 4000; i > 0; i--) {}
}

static int send_one (struct io_uring_sqe *sqe, lua_Integer i) {
  sqe->off = (uint64_t)i;
  return io_uring_register((unsigned)-1, IORING_REGISTER_SEND_MSG_RING, sqe,
                           1);
}

static void *flood_main (void *p) {
  struct flood *f = p;
  struct io_uring_sqe sqe;
  memset(&sqe, 0, sizeof(sqe));
  sqe.opcode = IORING_OP_MSG_RING;
  sqe.fd = f->fd;
  sqe.len = 1;
  f->thread.ok = true;
  for (lua_Integer i = 1; i <= f->n && f->thread.ok; i++) {
    delay(&f->seed);
    f->thread.ok = send_one(&sqe, i) >= 0;
  }
  return NULL;
}

/* flood(fd, n, seed): a thread that sends the messages 1 to n to a ring, with
** random delays. Needs the kernel's synchronous messages. */
static int l_flood (lua_State *L) {
  int fd = check_fd(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  uint32_t seed = (uint32_t)luaL_optinteger(L, 3, 1) | 1u;
  struct flood *f = lua_newuserdatauv(L, sizeof(*f), 0);
  memset(f, 0, sizeof(*f));
  luaL_setmetatable(L, THREAD);
  f->fd = fd;
  f->n = n;
  f->seed = seed;
  helper_start(L, &f->thread, flood_main);
  return 1;
}


static const luaL_Reg functions[] = {
  {"epoll", l_epoll}, {"epoll_wait", l_epoll_wait}, {"select", l_select},
  {"flood", l_flood},
  {NULL, NULL}
};

void helper_poll_open (lua_State *L) {
  luaL_setfuncs(L, functions, 0);
}
