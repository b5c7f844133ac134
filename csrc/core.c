/*
** core: the module `uring.core`: makes the state's classes once, and a table
** of the library's functions and constants each time it is opened.
*/

#include "compat.h"
#include "state.h"

#include "buf_ring.h"
#include "buffer.h"
#include "constants.h"
#include "fd.h"
#include "msghdr.h"
#include "operation.h"
#include "probe.h"
#include "ref_lua.h"
#include "register.h"
#include "ring_lua.h"
#include "run.h"
#include "socket.h"
#include "sockaddr.h"
#include "sqe.h"
#include "task.h"
#include "wait.h"

static const luaL_Reg functions[] = {
  {"ring", ring_new_lua},
  {"sqe", sqe_new},
  {"buffer", buffer_new},
  {"fd", fd_new},
  {"sockaddr", sockaddr_new},
  {"socket", socket_new},
  {"socketpair", socket_pair},
  {"msghdr", msghdr_new},
  {"recvmsg_out", msghdr_recvmsg_out},
  {"register_sync_msg", register_sync_msg},
  {"probe", probe_lua},
  {"run", run},
  {"spawn", task_spawn},
  {"sleep", wait_sleep},
  {"await", wait_await},
  {"loop", run_loop},
  {NULL, NULL}
};

static void open_classes (lua_State *L) {
  ring_lua_open(L);
  register_open(L);
  reference_open(L);
  sqe_open(L);
  operation_open(L);
  buffer_open(L);
  fd_open(L);
  sockaddr_open(L);
  buf_ring_open(L);
  msghdr_open(L);
  task_open(L);
  run_open(L);
  wait_open(L);
  socket_open(L);
  receive_open(L);
  send_open(L);
}

__attribute__((visibility("default")))
int luaopen_uring_core (lua_State *L);

int luaopen_uring_core (lua_State *L) {
  luaL_checkversion(L);
  if (state_push(L))
    open_classes(L);
  lua_newtable(L);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, functions, 1);
  constants_open(L);
  lua_getiuservalue(L, -2, SHARED_CANCELLED);
  lua_setfield(L, -2, "cancelled");
  return 1;
}
