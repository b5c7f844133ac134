/*
** uring_spec: messages to rings with any content at all, by a ring of
** liburing's or by none, at once or later. See helper.c.
*/

#include "helper.h"

#include <unistd.h>

static void prepare (struct io_uring_sqe *sqe, int fd, uint64_t data,
                     int32_t res, uint32_t flags) {
  memset(sqe, 0, sizeof(*sqe));
  sqe->opcode = IORING_OP_MSG_RING;
  sqe->fd = fd;
  sqe->len = (uint32_t)res;
  sqe->off = data;
  if (flags != 0) {
    sqe->rw_flags = IORING_MSG_RING_FLAGS_PASS;  /* (a union: msg_flags) */
    sqe->file_index = flags;
  }
}

static int submit_one (struct io_uring *ring, const struct io_uring_sqe *m) {
  struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
  struct io_uring_cqe *cqe;
  int rc;
  *sqe = *m;
  do rc = io_uring_submit_and_wait(ring, 1); while (rc == -EINTR);
  if (rc < 0) return rc;
  while ((rc = io_uring_wait_cqe(ring, &cqe)) == -EINTR) {}
  if (rc < 0) return rc;
  rc = cqe->res;
  io_uring_cqe_seen(ring, cqe);
  return rc;
}

#define SENDER "uring_spec.sender"

struct sender {
  struct io_uring ring;
  bool open;
};

static int sender_close (lua_State *L) {
  struct sender *s = luaL_checkudata(L, 1, SENDER);
  if (s->open) io_uring_queue_exit(&s->ring);
  s->open = false;
  return 0;
}

/* sender(): a plain ring of liburing's, with send and close */
static int l_sender (lua_State *L) {
  struct sender *s = lua_newuserdatauv(L, sizeof(*s), 0);
  int rc;
  s->open = false;
  luaL_setmetatable(L, SENDER);
  rc = io_uring_queue_init(8, &s->ring, 0);
  if (rc < 0)
    return result(L, rc);
  s->open = true;
  return 1;
}

/* s:send(fd, user_data, res, flags): true, or nil, message, errno */
static int sender_send (lua_State *L) {
  struct sender *s = luaL_checkudata(L, 1, SENDER);
  struct io_uring_sqe sqe;
  luaL_argcheck(L, s->open, 1, "closed");
  prepare(&sqe, check_fd(L, 2), (uint64_t)luaL_checkinteger(L, 3),
          (int32_t)luaL_checkinteger(L, 4),
          (uint32_t)luaL_optinteger(L, 5, 0));
  return result(L, submit_one(&s->ring, &sqe));
}

/* send(fd, user_data, res, flags): the same, by a ring for this once */
static int l_send (lua_State *L) {
  lua_pushcfunction(L, l_sender);
  lua_call(L, 0, 1);
  lua_insert(L, 1);
  sender_send(L);
  lua_pushcfunction(L, sender_close);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return lua_isnil(L, -1) || lua_isinteger(L, -1) ? 3 : 1;
}

static int32_t send_without_sender (int fd, uint64_t data, int32_t res) {
  struct io_uring_sqe sqe;
  struct io_uring ring;
  int rc;
  prepare(&sqe, fd, data, res, 0);
  rc = io_uring_register((unsigned)-1, IORING_REGISTER_SEND_MSG_RING, &sqe,
                         1);
  if (rc != -EINVAL && rc != -EBADF) return rc;
  rc = io_uring_queue_init(2, &ring, 0);  /* a kernel before sync messages */
  if (rc < 0) return rc;
  rc = submit_one(&ring, &sqe);
  io_uring_queue_exit(&ring);
  return rc;
}

struct later {
  struct thread thread;  /* first: it is joined as one */
  double seconds;
  int fd;
  uint64_t data;
  int32_t res;
};

static void *later_main (void *p) {
  struct later *l = p;
  sleep_for(l->seconds);
  l->res = send_without_sender(l->fd, l->data, l->res);
  l->thread.ok = l->res >= 0;
  l->thread.n = 1;
  l->thread.value[0].type = INTEGER;
  l->thread.value[0].as.integer = -l->res;
  return NULL;
}

/* send_later(seconds, fd, user_data, res): from a thread without Lua and, if
** the kernel lets it, without a ring; join() gives true or false, errno */
static int l_send_later (lua_State *L) {
  struct later *l;
  double seconds = luaL_checknumber(L, 1);
  int fd = check_fd(L, 2);
  uint64_t data = (uint64_t)luaL_checkinteger(L, 3);
  int32_t res = (int32_t)luaL_checkinteger(L, 4);
  l = lua_newuserdatauv(L, sizeof(*l), 0);
  memset(l, 0, sizeof(*l));
  luaL_setmetatable(L, THREAD);
  l->seconds = seconds;
  l->fd = fd;
  l->data = data;
  l->res = res;
  helper_start(L, &l->thread, later_main);
  return 1;
}

struct write_later {
  struct thread thread;
  double seconds;
  int fd;
};

static void *write_main (void *p) {
  struct write_later *w = p;
  sleep_for(w->seconds);
  w->thread.ok = write(w->fd, "\1\0\0\0\0\0\0\0", 8) == 8;
  return NULL;
}

/* write_later(seconds, fd): eight bytes, 1 to an eventfd */
static int l_write_later (lua_State *L) {
  struct write_later *w;
  double seconds = luaL_checknumber(L, 1);
  int fd = check_fd(L, 2);
  w = lua_newuserdatauv(L, sizeof(*w), 0);
  memset(w, 0, sizeof(*w));
  luaL_setmetatable(L, THREAD);
  w->seconds = seconds;
  w->fd = fd;
  helper_start(L, &w->thread, write_main);
  return 1;
}


static const luaL_Reg functions[] = {
  {"sender", l_sender}, {"send", l_send}, {"send_later", l_send_later},
  {"write_later", l_write_later},
  {NULL, NULL}
};

void helper_messages_open (lua_State *L) {
  helper_class(L, SENDER, sender_close);
  lua_pushcfunction(L, sender_close);
  lua_setfield(L, -2, "close");
  lua_pushcfunction(L, sender_send);
  lua_setfield(L, -2, "send");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
