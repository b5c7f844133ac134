/*
** core: the module `uring.core`. It makes the state's classes once, and its
** table each time it is opened: the functions that only lua/uring may call,
** and in the field `public` the table that `require "uring"` returns. And the
** module `uring`, for hosts: the same with the Lua files that are embedded.
**
** A public function is in that table alone. luaL_traceback and luaL_argerror
** name a function after the table of package.loaded that has it; if two had
** it, either name could appear.
*/

#include "compat.h"
#include "lua/state.h"

#include "lua/args.h"
#include "lua/constants.h"
#include "lua/embedded.h"
#include "lua/options.h"
#include "api/buf_ring.h"
#include "api/buffer.h"
#include "api/fd.h"
#include "api/msghdr.h"
#include "api/operation.h"
#include "api/probe.h"
#include "api/ref_object.h"
#include "api/register.h"
#include "api/ring_object.h"
#include "api/ring_wait.h"
#include "api/sockaddr.h"
#include "api/sqe.h"
#include "task/channel.h"
#include "task/event.h"
#include "task/inspect.h"
#include "task/join.h"
#include "task/loop_object.h"
#include "task/run.h"
#include "task/scope.h"
#include "task/select.h"
#include "task/semaphore.h"
#include "task/task.h"
#include "task/wall_timer.h"
#include "task/wait_await.h"
#include "task/watchdog.h"
#include "task/wrap.h"
#include "net/socket.h"
#include "net/socket_calls.h"
#include "net/socket_option.h"
#include "os/file.h"
#include "os/child_job.h"
#include "os/process.h"
#include "os/signals.h"
#include "os/file_job.h"
#include "os/job_wait.h"
#include "os/resolve.h"
#include "os/stream.h"
#include "os/stream_calls.h"
#include "os/stream_read.h"
#include "os/stream_write.h"
#include "os/watch.h"
#include "worker/mail_address.h"
#include "worker/mail_call.h"
#include "worker/mail_send.h"
#include "worker/decode.h"
#include "worker/mailbox.h"
#include "worker/mailbox_receive.h"
#include "worker/monitor.h"
#include "worker/realm.h"
#include "worker/send_wait.h"
#include "worker/sending.h"
#include "worker/served_call.h"
#include "worker/worker.h"
#include "worker/worker_join.h"
#include "worker/worker_state.h"
#include "host/c_api.h"
#include "host/loop_close.h"
#include "host/step.h"

#include <string.h>

__attribute__((visibility("default")))
int luaopen_uring_core (lua_State *L);
__attribute__((visibility("default")))
int luaopen_uring (lua_State *L);

static const luaL_Reg public_functions[] = {
  {"ring", ring_new_lua},
  {"sqe", sqe_new},
  {"buffer", buffer_new},
  {"fd", fd_new},
  {"sockaddr", sockaddr_new},
  {"socket", socket_new},
  {"socketpair", socket_pair},
  {"pipe", stream_pipe},
  {"stream", stream_calls_stream},
  {"msghdr", msghdr_new},
  {"recvmsg_out", msghdr_recvmsg_out},
  {"register_sync_msg", register_sync_msg},
  {"probe", probe_lua},
  {"run", run},
  {"spawn", scope_spawn},
  {"daemon", scope_daemon},
  {"current", scope_current},
  {"root", scope_root},
  {"now", event_now},
  {"time", wall_time},
  {"wrap", wrap_new},
  {"tasks", inspect_tasks},
  {"sleep", wait_sleep},
  {"await", wait_await},
  {"channel", channel_new},
  {"semaphore", semaphore_new},
  {"loop", loop_lua},
  {"mailbox", mailbox_new},
  {"address", realm_address},
  {"inbox", worker_inbox},
  {NULL, NULL}
};

static void open_classes (lua_State *L) {
  ((struct state *)lua_touserdata(L, -1))->open = luaopen_uring;
  ring_object_open(L);
  ring_wait_open(L);
  register_open(L);
  register_buffers_open(L);
  register_settings_open(L);
  ref_object_open(L);
  sqe_open(L);
  prep_msg_open(L);
  prep_file_open(L);
  prep_path_open(L);
  prep_wait_open(L);
  prep_socket_open(L);
  operation_open(L);
  buffer_open(L);
  fd_open(L);
  sockaddr_open(L);
  buf_ring_open(L);
  msghdr_open(L);
  loop_object_open(L);
  task_open(L);
  join_open(L);
  scope_open(L);
  event_open(L);
  channel_open(L);
  semaphore_open(L);
  wrap_open(L);
  watchdog_open(L);
  wall_timer_open(L);
  run_open(L);
  wait_open(L);
  wait_chain_open(L);
  wait_message_open(L);
  wait_operation_open(L);
  socket_open(L);
  socket_calls_open(L);
  socket_option_open(L);
  recv_open(L);
  recv_input_open(L);
  send_open(L);
  send_event_open(L);
  sendfile_open(L);
  socket_try_open(L);
  stream_open(L);
  stream_read_open(L);
  stream_write_open(L);
  process_open(L);
  signals_open(L);
  job_wait_open(L);
  decode_open(L);
  mailbox_open(L);
  mailbox_receive_open(L);
  realm_open(L);
  worker_open(L);
  worker_join_open(L);
  worker_state_open(L);
  mail_address_open(L);
  mail_send_open(L);
  monitor_open(L);
  send_wait_open(L);
  sending_open(L);
  served_call_open(L);
  mail_call_open(L);
  step_open(L);
  loop_close_open(L);
  c_api_open(L);
}

/* set_lua_dir(): the caller is lua/uring.lua; the library's other Lua files
** are in the folder beside it. Error positions skip their functions. */
static int set_lua_dir (lua_State *L) {
  lua_Debug ar;
  if (lua_getstack(L, 1, &ar) && lua_getinfo(L, "S", &ar)
      && strncmp(ar.source, EMBEDDED, sizeof(EMBEDDED) - 1) != 0) {
    luaL_gsub(L, ar.source, ".lua", "");
    lua_setiuservalue(L, lua_upvalueindex(1), SHARED_LUA_DIR);
  }
  return 0;
}

/* traceback(message, level): as debug.traceback, which a host may withhold */
static int traceback (lua_State *L) {
  luaL_traceback(L, L, luaL_optstring(L, 1, NULL),
                 (int)luaL_checkinteger(L, 2));
  return 1;
}

/* Push the table of the functions for lua/uring alone. The state is on top. */
static void push_internal (lua_State *L) {
  lua_newtable(L);
  lua_getiuservalue(L, -2, SHARED_MSGH);
  lua_setfield(L, -2, "note");
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, task_note_as, 1);
  lua_setfield(L, -2, "note_as");
  args_functions(L);
  options_functions(L);
  errors_functions(L);
  scope_functions(L);
  event_functions(L);
  select_functions(L);
  wall_timer_functions(L);
  mailbox_functions(L);
  mailbox_receive_functions(L);
  worker_functions(L);
  worker_join_functions(L);
  worker_state_functions(L);
  socket_calls_functions(L);
  stream_functions(L);
  stream_calls_functions(L);
  stream_read_functions(L);
  watch_functions(L);
  file_functions(L);
  process_functions(L);
  child_job_functions(L);
  signals_functions(L);
  file_job_functions(L);
  resolve_functions(L);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, set_lua_dir, 1);
  lua_setfield(L, -2, "set_lua_dir");
  lua_pushcfunction(L, traceback);
  lua_setfield(L, -2, "traceback");
}

/* Push the public table. The state is on top. */
static void push_public (lua_State *L) {
  lua_newtable(L);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, public_functions, 1);
  constants_open(L);
  lua_getiuservalue(L, -2, SHARED_CANCELLED);
  lua_setfield(L, -2, "cancelled");
}

int luaopen_uring_core (lua_State *L) {
  luaL_checkversion(L);
  if (!state_push(L)) {
    state_new(L);
    open_classes(L);
    state_keep(L);  /* guard: half of it would be there for good */
  }
  c_api_publish(L);  /* (each time: it may have raised) */
  class_names(L);
  push_internal(L);
  lua_pushvalue(L, -2);
  push_public(L);
  lua_setfield(L, -3, "public");
  lua_pop(L, 1);
  return 1;
}

int luaopen_uring (lua_State *L) {
  lua_settop(L, 0);
  lua_pushcfunction(L, luaopen_uring_core);
  lua_call(L, 0, 1);
  embedded_open(L);
  return 1;
}
