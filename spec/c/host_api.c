/*
** host_api: a host in C that uses include/uring_lua.h: spec/c_api_spec.lua
** builds it, and runs it once for each name in the table at the end. It says
** "passed", or what was wrong.
*/

#include <uring_lua.h>

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic unsigned broken;

#define CHECK(what)	check_one((what) ? true : false, #what, __LINE__)

static bool check_one (bool ok, const char *what, int line) {
  if (!ok) {
    atomic_fetch_add(&broken, 1);
    printf("line %d: false: %s\n", line, what);
  }
  return ok;
}

static const struct uring_api *uring;


/* ---- states ------------------------------------------------------------ */

static const struct uring_api *fetch (lua_State *L) {
  const struct uring_api *api;
  lua_getfield(L, LUA_REGISTRYINDEX, URING_LUA_KEY);
  api = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return api;
}

static int must_run (lua_State *L, const char *code) {
  if (luaL_loadstring(L, code) != LUA_OK || lua_pcall(L, 0, 0, 0) != LUA_OK) {
    printf("%s\n", lua_tostring(L, -1));
    exit(1);
  }
  return 0;
}

/* A state that has loaded uring, but has no loop. */
static lua_State *new_state_only (void) {
  lua_State *L = luaL_newstate();
  if (!CHECK(L != NULL)) exit(1);
  luaL_openlibs(L);
  must_run(L, "uring = require 'uring'");
  uring = fetch(L);
  if (!CHECK(uring != NULL && uring->size == sizeof(*uring)
             && uring->version == URING_LUA_VERSION)) exit(1);
  return L;
}

static lua_State *new_state (void) {
  lua_State *L = new_state_only();
  if (!CHECK(uring->open(L, NULL) == 0)) exit(1);
  return L;
}

/* The box of what the global of this name is. */
static uring_box *box_of (lua_State *L, const char *global) {
  uring_box *box = NULL;
  lua_getglobal(L, global);
  if (!CHECK(uring->to_box(L, -1, &box) == 0)) exit(1);
  lua_pop(L, 1);
  return box;
}

static void set_address (lua_State *L, const char *global, uring_box *box) {
  if (!CHECK(uring->push_address(L, box) == 0)) exit(1);
  lua_setglobal(L, global);
}

static struct uring_step usual_step (void) {
  struct uring_step s = { .size = sizeof(s), .now = NAN };
  return s;
}

/* Step until there is nothing to do. The error of a task is shown. */
static void step (lua_State *L) {
  struct uring_step s = usual_step();
  do {
    int rc = uring->step(L, &s);
    if (!CHECK(rc == 0)) exit(1);
    if (!CHECK(!s.failed)) {
      printf("%s\n", lua_tostring(L, -1));
      exit(1);
    }
  } while (s.more);
}

static lua_Integer global_integer (lua_State *L, const char *name) {
  lua_Integer i;
  lua_getglobal(L, name);
  i = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return i;
}

static bool readable (int fd, int ms) {
  struct pollfd p = { .fd = fd, .events = POLLIN };
  return poll(&p, 1, ms) == 1;
}


/* ---- values ------------------------------------------------------------ */

static uring_value integer (int64_t i) {
  uring_value v = { .type = URING_INTEGER, .u.i = i };
  return v;
}

static uring_value string (const char *s) {
  uring_value v = { .type = URING_STRING };
  v.u.s.p = s;
  v.u.s.len = strlen(s);
  return v;
}

static _Atomic unsigned released;

static void on_release (void *ud, const void *p, size_t len) {
  CHECK(p != NULL && len > 0 && ud == &released);
  atomic_fetch_add(&released, 1);
}

static uring_value block (const char *s) {
  uring_value v = string(s);
  v.type = URING_BLOCK;
  v.release = on_release;
  v.ud = &released;
  return v;
}


/* ---- tests ------------------------------------------------------------- */

static void values_cross_both_ways (void) {
  lua_State *L = new_state();
  uring_inbox *inbox;
  uring_box *box, *own;
  uring_message *m;
  uring_value in[2] = { integer(4), string("four") };
  uring_value v[7] = {
    string("echo"), { .type = URING_NIL }, { .type = URING_BOOLEAN, .u.i = 1 },
    { .type = URING_NUMBER, .u.d = 0.5 }, { .type = URING_ARRAY, .n = 2 },
    block("a block"), { .type = URING_FD }
  };
  const uring_value *got;
  uint32_t n = 0;
  char c = 0;
  int fds[2], top = lua_gettop(L);
  v[4].u.items = in;
  CHECK(pipe(fds) == 0);
  v[6].u.fd = fds[1];
  CHECK(uring->inbox_new(NULL, &inbox) == 0);
  own = uring->inbox_box(inbox);
  set_address(L, "reply", own);
  must_run(L,
    "mailbox = uring.mailbox()"
    "uring.spawn(function()"
    "  local s, none, yes, half, list, lease, fd = mailbox:receive()"
    "  assert(s == 'echo' and none == nil and yes == true and half == 0.5)"
    "  assert(#list == 2 and list[1] == 4 and list[2] == 'four')"
    "  assert(lease:string() == 'a block' and #lease == 7)"
    "  assert(tostring(lease) == 'uring.Lease (a block, 7 bytes)')"
    "  lease:release()"
    "  reply:send(s, none, yes, half, list, fd, math.mininteger)"
    "end)");
  box = box_of(L, "mailbox");
  CHECK(uring->post(box, v, 7) == 0);
  step(L);
  CHECK(released == 1);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  got = uring->values(m, &n);
  CHECK(n == 7 && strcmp(got[0].u.s.p, "echo") == 0);
  CHECK(got[1].type == URING_NIL && got[2].u.i == 1 && got[3].u.d == 0.5);
  CHECK(got[4].n == 2 && got[4].u.items[0].u.i == 4);
  CHECK(got[5].type == URING_FD && write(got[5].u.fd, "x", 1) == 1);
  CHECK(read(fds[0], &c, 1) == 1 && c == 'x');
  CHECK(got[6].u.i == INT64_MIN);
  uring->message_free(m);
  CHECK(read(fds[0], &c, 1) == 0);  /* it was closed */
  close(fds[0]);
  uring->release(box);
  uring->release(own);
  CHECK(lua_gettop(L) == top);
  lua_close(L);
  CHECK(uring->inbox_close(inbox) == 0);
}

static void calls_say_what_is_wrong (void) {
  lua_State *L = luaL_newstate();
  struct uring_loop_options o = { .size = sizeof(o) };
  struct uring_step s = usual_step();
  uring_box *box;
  int top;
  luaL_openlibs(L);
  CHECK(fetch(L) == NULL);
  lua_close(L);
  L = new_state_only();
  top = lua_gettop(L);
  CHECK(uring->step(L, &s) == -ENOENT);
  CHECK(uring->fd(L) == -ENOENT && uring->timeout(L) == -ENOENT);
  CHECK(uring->close(L, 1) == -ENOENT);
  lua_getglobal(L, "print");
  CHECK(uring->spawn(L, 0) == -ENOENT && lua_gettop(L) == top);
  o.size = 4;
  CHECK(uring->open(L, &o) == -EINVAL);
  o.size = sizeof(o);
  o.entries = 1u << 30;
  CHECK(uring->open(L, &o) == -EINVAL);
  o.entries = 8;
  o.on_error = top + 1;
  CHECK(uring->open(L, &o) == -EINVAL);
  lua_pushinteger(L, 1);
  CHECK(uring->open(L, &o) == -EINVAL);
  lua_pop(L, 1);
  o.on_error = 0;
  o.memory = 1;
  CHECK(uring->open(L, &o) == -ENOMEM);
  o.memory = 0;
  CHECK(uring->open(L, &o) == 0 && lua_gettop(L) == top);
  CHECK(uring->open(L, NULL) == -EEXIST);
  s.size = 8;
  CHECK(uring->step(L, &s) == -EINVAL);
  s.size = sizeof(s);
  s.now = -1;
  CHECK(uring->step(L, &s) == -EINVAL);
  s.now = 5;
  CHECK(uring->step(L, &s) == 0);
  s.now = 4;
  CHECK(uring->step(L, &s) == -EINVAL);
  s.now = NAN;
  CHECK(uring->step(L, &s) == -EINVAL);
  lua_pushinteger(L, 1);
  CHECK(uring->spawn(L, 0) == -EINVAL && lua_gettop(L) == top);
  CHECK(uring->spawn(L, 1000) == -EINVAL && lua_gettop(L) == top);
  lua_pushinteger(L, 1);
  CHECK(uring->to_box(L, -1, &box) == -EINVAL);
  must_run(L, "mailbox = uring.mailbox() mailbox:close()");
  lua_getglobal(L, "mailbox");
  CHECK(uring->to_box(L, -1, &box) == -EBADF);
  lua_settop(L, top);
  CHECK(uring->close(L, -1) == -EINVAL && uring->close(L, NAN) == -EINVAL);
  CHECK(uring->close(L, 1) == 0 && uring->close(L, 1) == 0);
  CHECK(uring->step(L, &s) == -EBADF && uring->fd(L) == -EBADF);
  CHECK(uring->timeout(L) == -EBADF);
  lua_close(L);
}

/* nested(): a host's function that a task calls */
static int nested (lua_State *L) {
  struct uring_step s = usual_step();
  CHECK(uring->step(L, &s) == -EBUSY);
  CHECK(uring->close(L, 1) == -EBUSY);
  lua_pushinteger(L, 1);
  return 1;
}

static void *step_elsewhere (void *L) {
  struct uring_step s = usual_step();
  CHECK(uring->step(L, &s) == -EPERM);
  CHECK(uring->close(L, 1) == -EPERM);
  CHECK(uring->fd(L) == -EPERM);
  return NULL;
}

static void a_step_is_not_nested_nor_another_threads (void) {
  lua_State *L = new_state();
  pthread_t thread;
  lua_register(L, "nested", nested);
  must_run(L, "uring.spawn(function() result = nested() end)");
  step(L);
  CHECK(global_integer(L, "result") == 1);
  pthread_create(&thread, NULL, step_elsewhere, L);
  pthread_join(thread, NULL);
  lua_close(L);
}

static void *step_here (void *L) {
  step(L);
  return NULL;
}

/* (A new thread often has the pthread_t of one that has ended.) */
static void a_thread_that_has_ended_keeps_its_loop (void) {
  lua_State *L = new_state();
  pthread_t thread;
  must_run(L, "uring.spawn(uring.sleep, 100)");
  pthread_create(&thread, NULL, step_here, L);
  pthread_join(thread, NULL);
  for (int i = 0; i < 10; i++) {
    pthread_create(&thread, NULL, step_elsewhere, L);
    pthread_join(thread, NULL);
  }
  lua_close(L);
}

static void a_movable_state_goes_from_thread_to_thread (void) {
  lua_State *L = new_state_only();
  struct uring_loop_options o = { .size = sizeof(o), .movable = 1 };
  uring_box *box;
  uring_value v = integer(1);
  CHECK(uring->open(L, &o) == 0);
  must_run(L, "mailbox, n = uring.mailbox(), 0 uring.spawn(function()"
              "  for i in mailbox:messages() do n = n + i end end)");
  box = box_of(L, "mailbox");
  for (int i = 0; i < 10; i++) {
    pthread_t thread;
    CHECK(uring->post(box, &v, 1) == 0);
    pthread_create(&thread, NULL, step_here, L);
    pthread_join(thread, NULL);
  }
  CHECK(global_integer(L, "n") == 10);
  uring->release(box);
  lua_close(L);
}

static void a_step_keeps_to_its_budget (void) {
  lua_State *L = new_state();
  struct uring_step s = usual_step();
  double wait;
  must_run(L, "n = 0 for _ = 1, 10 do"
              " uring.spawn(function() n = n + 1 end) end");
  CHECK(uring->timeout(L) == 0);
  s.max = 3;
  CHECK(uring->step(L, &s) == 0 && s.resumed == 3 && s.more && !s.failed);
  s.max = 0;
  s.gc = 1;
  CHECK(uring->step(L, &s) == 0 && s.resumed == 7 && !s.more);
  CHECK(global_integer(L, "n") == 10);
  CHECK(isinf(uring->timeout(L)));
  must_run(L, "uring.spawn(uring.sleep, 100)");
  step(L);
  wait = uring->timeout(L);
  CHECK(wait > 50 && wait <= 100);
  lua_close(L);
}

static void raising_hook (lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "a hook's");
}

static void errors_are_told (void) {
  lua_State *L = new_state();
  struct uring_loop_options o = { .size = sizeof(o) };
  struct uring_step s = usual_step();
  int top = lua_gettop(L);
  luaL_loadstring(L, "local a, b = ... error(a + b, 0)");
  lua_pushinteger(L, 40);
  lua_pushinteger(L, 2);
  CHECK(uring->spawn(L, 2) == 0 && lua_gettop(L) == top);
  CHECK(uring->step(L, &s) == 0 && s.failed && lua_gettop(L) == top + 1);
  CHECK(lua_isinteger(L, -1) && lua_tointeger(L, -1) == 42);
  lua_settop(L, top);
  must_run(L, "uring.spawn(function() uring.pcall(uring.sleep, 100)"
              "  error 'at its end' end)");
  step(L);
  must_run(L, "uring.spawn(function()"
              "  local x <close> = setmetatable({}, { __close = function()"
              "    error 'in close' end })"
              "  uring.sleep(100) end)");
  step(L);
  CHECK(uring->close(L, 1) == -EIO && lua_gettop(L) == top);
  lua_close(L);
  /* what keeps a close from its beginning, and it can be made again */
  L = new_state();
  must_run(L, "uring.spawn(uring.sleep, 100)");
  step(L);
  lua_sethook(L, raising_hook, LUA_MASKCALL, 0);
  CHECK(uring->close(L, 1) == -EINVAL && lua_gettop(L) == 0);
  must_run(L, "assert(#uring.tasks() == 1)");
  CHECK(uring->close(L, 1) == 0);
  must_run(L, "assert(#uring.tasks() == 0)");
  lua_close(L);
  L = new_state_only();
  luaL_loadstring(L, "told = (told or 0) + 1");
  o.on_error = -1;
  CHECK(uring->open(L, &o) == 0);
  lua_settop(L, 0);
  must_run(L, "uring.spawn(error, 'x') uring.spawn(error, 'y')");
  step(L);
  CHECK(global_integer(L, "told") == 2);
  must_run(L, "uring.spawn(uring.shield, 100, uring.sleep, 100)");
  step(L);
  CHECK(uring->close(L, 0.05) == -ETIME && lua_gettop(L) == 0);
  lua_close(L);
}

/* (No Lua function has spawned it: there is no place to tell.) */
static void a_slow_task_is_told_of (void) {
  static const char *const tasks[] = {
    "work()", "work() error 'x'", "work() return 1, 2, 3",
    "work() uring.sleep(0)",
  };
  lua_State *L = new_state_only();
  struct uring_loop_options o = { .size = sizeof(o), .slow = 0.001,
                                  .on_slow = 1, .on_error = 2 };
  luaL_loadstring(L, "told = (told or 0) + 1"
                     " assert(select(3, ...):find('spawned at ?', 1, true))");
  luaL_loadstring(L, "failed = (failed or 0) + 1");
  CHECK(uring->open(L, &o) == 0);
  lua_settop(L, 0);
  must_run(L, "function work()"
              "  local t = uring.now() repeat until uring.now() > t + 0.002 "
              "end");
  for (int i = 0; i < 4; i++) {
    luaL_loadstring(L, tasks[i]);
    CHECK(uring->spawn(L, 0) == 0);
    step(L);
    CHECK(global_integer(L, "told") == i + 1);
  }
  CHECK(global_integer(L, "failed") == 1);
  lua_close(L);
}

static void names_are_of_realms (void) {
  lua_State *L = new_state_only(), *M = new_state_only();
  struct uring_loop_options o = { .size = sizeof(o), .realm = "mine" };
  struct uring_inbox_options in = { .size = sizeof(in), .realm = "mine",
                                    .name = "host" };
  uring_inbox *inbox;
  uring_message *m;
  uring_value v = integer(1);
  uring_box *box;
  uint32_t n;
  CHECK(uring->open(L, &o) == 0);
  o.realm = NULL;
  o.no_names = 1;
  CHECK(uring->open(M, &o) == 0);
  CHECK(uring->inbox_new(&in, &inbox) == 0);
  must_run(L, "mailbox = assert(uring.mailbox{ name = 'jobs' })"
              "assert(uring.address 'host':try_send 'hello')");
  must_run(M, "assert(select(3, uring.address 'host') == uring.errno.EPERM)");
  CHECK(uring->inbox_take(inbox, &m) == 0);
  CHECK(strcmp(uring->values(m, &n)->u.s.p, "hello") == 0 && n == 1);
  uring->message_free(m);
  CHECK(uring->find(NULL, "jobs", 4, &box) == -ENOENT);
  CHECK(uring->find("mine", "jobs", 4, &box) == 0);
  lua_close(L);
  CHECK(uring->post(box, &v, 1) == -EPIPE);
  uring->release(box);
  CHECK(uring->find("mine", "jobs", 4, &box) == -ENOENT);
  CHECK(uring->inbox_close(inbox) == 0);
  lua_close(M);
}

static void an_inbox_takes_only_its_types (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o),
    .types = 1u << URING_INTEGER | 1u << URING_ARRAY };
  uring_inbox *inbox;
  uring_box *box;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  uring->release(box);
  must_run(L,
    "assert(address:try_send(1, { 2, { 3 } }))"
    "local ok, why = pcall(address.try_send, address, 1, { 2, { 'x' } })"
    "assert(not ok and why:find('cannot send [2][1]: a string, which the "
    "reader of this mailbox does not take', 1, true), why)"
    "for _, v in ipairs { true, 1.5, 's' } do"
    "  assert(not pcall(address.try_send, address, v))"
    "end"
    " assert(not pcall(address.try_send, address, 1, nil))"
    " local deep = 1 for _ = 1, 9 do deep = { deep } end"
    " ok, why = pcall(address.try_send, address, deep)"
    "assert(not ok and why:find('[1]: arrays in arrays more than 8 deep, "
    "which the reader', 1, true), why)");
  CHECK(uring->inbox_close(inbox) == 1);
  lua_close(L);
}

/* { 1, 2, x = { "y" }, same = itself } */
static void tables_arrive_in_C (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o),
    .types = 1u << URING_INTEGER | 1u << URING_STRING | 1u << URING_TABLE };
  uring_inbox *inbox;
  uring_message *m;
  uring_box *box;
  const uring_value *v, *items;
  uint32_t n;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  uring->release(box);
  must_run(L,
    "local t = { 1, 2, x = { 'y' } } t.same = t"
    " assert(address:try_send({ 3, 4 }, t))"
    "local ok, why = pcall(address.try_send, address, { x = true })"
    "assert(not ok and why:find('cannot send .x: a boolean, which', 1, true))"
  );
  CHECK(uring->inbox_take(inbox, &m) == 0);
  v = uring->values(m, &n);
  CHECK(n == 2 && v[0].type == URING_ARRAY && v[0].n == 2);
  CHECK(v[0].u.items[1].u.i == 4);
  CHECK(v[1].type == URING_TABLE && v[1].n == 8);
  items = v[1].u.items;
  CHECK(items[0].u.i == 1 && items[1].u.i == 1 && items[3].u.i == 2);
  for (int i = 4; i < 8; i += 2) {
    const uring_value *value = &items[i + 1];
    CHECK(items[i].type == URING_STRING);
    if (items[i].u.s.len == 1)
      CHECK(value->type == URING_ARRAY && value->n == 1
            && strcmp(value->u.items[0].u.s.p, "y") == 0);
    else CHECK(value->type == URING_TABLE && value->u.items == items);
  }
  uring->message_free(m);
  CHECK(uring->inbox_close(inbox) == 0);
  must_run(L, "mailbox = uring.mailbox()");
  box = box_of(L, "mailbox");
  {
    uring_value in[4] = { string("k"), integer(1), integer(1), string("v") };
    uring_value t = { .type = URING_TABLE, .n = 4 };
    t.u.items = in;
    CHECK(uring->post(box, &t, 1) == 0);
  }
  must_run(L, "local t = mailbox:try_receive()"
              " assert(t.k == 1 and t[1] == 'v')");
  uring->release(box);
  lua_close(L);
}

/* Addresses are boxes in C, both ways; a buffer's bytes are not copied. */
static void boxes_and_buffers_travel (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o),
    .types = 1u << URING_BOX | 1u << URING_BUFFER };
  uring_value v[2] = { integer(5), { .type = URING_BOX } }, *got, kept;
  uring_inbox *inbox;
  uring_message *m;
  uring_box *box, *mine;
  uint32_t n;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  must_run(L, "mailbox = uring.mailbox()"
              " buffer = uring.buffer('bytes')"
              " assert(address:try_send(mailbox, buffer, mailbox))"
              " assert(mailbox:stats().senders == 2)"
              " assert(not pcall(buffer.string, buffer))");
  CHECK(uring->inbox_take(inbox, &m) == 0);
  got = uring->values(m, &n);
  CHECK(n == 3 && got[0].type == URING_BOX && got[1].type == URING_BUFFER);
  CHECK(got[1].u.s.len == 5 && memcmp(got[1].u.s.p, "bytes", 5) == 0);
  mine = (uring_box *)(uintptr_t)got[0].u.s.p;
  got[0].release = NULL;
  kept = got[1];
  got[1].release = NULL;
  uring->message_free(m);
  kept.release(kept.ud, kept.u.s.p, kept.u.s.len);
  v[1].u.s.p = box;
  CHECK(uring->post(mine, v, 2) == 0);  /* gives the count of box away */
  CHECK(uring->post(mine, &v[1], 0) == -EINVAL);
  uring->release(mine);
  must_run(L, "local n, back = mailbox:try_receive()"
              " assert(n == 5 and back:try_send(mailbox))"
              " back:close() address:close()"
              " assert(mailbox:stats().senders == 1)");
  CHECK(uring->inbox_take(inbox, &m) == 0);
  uring->message_free(m);
  CHECK(uring->inbox_take(inbox, &m) == -EPIPE);
  must_run(L, "assert(select(3, mailbox:try_receive()) == uring.errno.EPIPE)");
  CHECK(uring->inbox_close(inbox) == 0);
  lua_close(L);
}

/* A full inbox: sends of Lua wait in line, and are served by inbox_take. */
static void a_full_inbox_makes_lua_wait (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o), .capacity = 4 };
  uring_inbox *inbox;
  uring_message *m;
  uring_box *box;
  int64_t next = 1;
  int fd, rc;
  uint32_t n;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  uring->release(box);
  must_run(L, "uring.spawn(function()"
              "  for i = 1, 1000 do assert(address:send(i)) end"
              "  address:close()"
              "end)");
  fd = uring->fd(L);
  step(L);
  while ((rc = uring->inbox_take(inbox, &m)) != -EPIPE) {
    if (rc == 0) {
      CHECK(uring->values(m, &n)->u.i == next++);
      uring->message_free(m);
    }
    else if (!CHECK(rc == -EAGAIN && readable(fd, 60000)))
      break;
    else step(L);
  }
  CHECK(next == 1001);
  CHECK(uring->inbox_close(inbox) == 0);
  lua_close(L);
}

/* ... and posts of C do not stand behind them. */
static void posts_overtake_sends_that_wait (void) {
  lua_State *L = new_state();
  uring_box *box;
  uring_value v = integer(0);
  must_run(L, "mailbox = uring.mailbox{ capacity = 8 }"
              "address = mailbox:address()"
              "uring.spawn(function()"
              "  for i = 1, 9 do address:send(i) end end)");
  step(L);
  must_run(L, "assert(mailbox:stats().waiting == 1)");
  box = box_of(L, "mailbox");
  CHECK(uring->post(box, &v, 1) == 0);
  CHECK(uring->post(box, &v, 1) == -EAGAIN);
  must_run(L, "for i = 1, 8 do assert(mailbox:try_receive() == i) end"
              " assert(mailbox:try_receive() == 0)"
              " assert(mailbox:try_receive() == 9)");
  uring->release(box);
  lua_close(L);
}


/* ---- blocks ------------------------------------------------------------ */

static void post_blocks (uring_box *box, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    uring_value v = block("bbbb");
    CHECK(uring->post(box, &v, 1) == 0);
  }
}

static void each_block_is_released_once (void) {
  lua_State *L = new_state();
  uring_box *box;
  must_run(L, "mailbox = uring.mailbox()");
  box = box_of(L, "mailbox");
  post_blocks(box, 6);
  CHECK(released == 0);
  must_run(L, "local a = mailbox:try_receive()"
              " a:release() a:release() a:close()"
              " assert(not pcall(a.string, a))");
  CHECK(released == 1);
  must_run(L, "do local b <close> = mailbox:try_receive() end");
  CHECK(released == 2);
  must_run(L, "mailbox:try_receive() collectgarbage() collectgarbage()");
  CHECK(released == 3);
  must_run(L, "kept = mailbox:try_receive()"
              " mailbox:close()");  /* two were not delivered */
  CHECK(released == 5);
  lua_close(L);
  CHECK(released == 6);
  uring->release(box);
  released = 0;
  L = new_state();
  must_run(L, "mailbox = uring.mailbox()");
  box = box_of(L, "mailbox");
  post_blocks(box, 3);
  lua_close(L);
  CHECK(released == 3);
  uring->release(box);
}

static size_t room;

static void *bounded (void *ud, void *p, size_t had, size_t size) {
  (void)ud;
  if (size == 0) {
    free(p);
    return NULL;
  }
  if (p == NULL) had = 0;
  if (size > had && room-- == 0) {
    room = 0;
    return NULL;
  }
  return realloc(p, size);
}

/* Lua's memory ends after each number of allocations: the message stays the
 * first, and its block is released once. */
static void no_memory_loses_no_message (void) {
  lua_State *L = new_state();
  lua_Alloc usual = lua_getallocf(L, NULL);
  uring_box *box, *again = NULL;
  bool done = false;
  must_run(L, "mailbox = uring.mailbox()"
              " function get() got = { mailbox:try_receive() } end");
  box = box_of(L, "mailbox");
  for (size_t n = 0; !done && n < 200; n++) {
    uring_value items[2] = { block("bbbb"), string("s") };
    uring_value v[2] = { { .type = URING_ARRAY, .n = 2 }, block("cccc") };
    int rc;
    v[0].u.items = items;
    released = 0;
    CHECK(uring->post(box, v, 2) == 0);
    lua_getglobal(L, "get");
    room = n;
    lua_setallocf(L, bounded, NULL);
    rc = lua_pcall(L, 0, 0, 0);
    lua_setallocf(L, usual, NULL);
    done = rc == LUA_OK;
    if (!done) {
      CHECK(rc == LUA_ERRMEM && released == 0 && lua_gettop(L) == 1);
      lua_settop(L, 0);
      must_run(L, "if mailbox:stats().messages == 1 then get()"
                  "  assert(got[1][1]:string() == 'bbbb')"
                  "  assert(got[2]:string() == 'cccc') end");
    }
    must_run(L, "got = nil collectgarbage() collectgarbage()");
    CHECK(released == 2);
  }
  CHECK(done);
  done = false;
  for (size_t n = 0; !done && n < 50; n++) {
    int rc;
    room = n;
    lua_setallocf(L, bounded, NULL);
    rc = uring->push_address(L, box);
    if (rc == -ENOMEM) {
      CHECK(lua_gettop(L) == 0);
      lua_getglobal(L, "print");
      rc = uring->spawn(L, 0);
      CHECK(rc == -ENOMEM || rc == 0);
    }
    else done = true;
    lua_setallocf(L, usual, NULL);
  }
  CHECK(done && lua_gettop(L) == 1 && uring->to_box(L, 1, &again) == 0);
  CHECK(again == box);
  if (again) uring->release(again);
  uring->release(box);
  lua_close(L);
}

/* A close that has no memory to begin with can be made again. */
static void no_memory_closes_no_loop (void) {
  int rc = -ENOMEM;
  for (size_t n = 0; rc == -ENOMEM && n < 100; n++) {
    lua_State *L = new_state();
    lua_Alloc usual = lua_getallocf(L, NULL);
    must_run(L, "for i = 1, 3 do uring.spawn(function()"
                "  local x <close> = setmetatable({}, { __close = function()"
                "    ended = (ended or 0) + 1 end })"
                "  uring.sleep(100) end) end");
    step(L);
    room = n;
    lua_setallocf(L, bounded, NULL);
    rc = uring->close(L, 1);
    lua_setallocf(L, usual, NULL);
    CHECK(rc == 0 || rc == -ENOMEM);
    CHECK(uring->close(L, 1) == 0);
    must_run(L, "assert(#uring.tasks() == 0)");
    CHECK(n > 0 || global_integer(L, "ended") == 3);
    lua_close(L);
  }
  CHECK(rc == 0);
}

/* Bounds a state to so many bytes. */
static void *capped (void *ud, void *p, size_t had, size_t size) {
  size_t *left = ud;
  if (p == NULL) had = 0;
  if (size > had && size - had > *left)
    return NULL;
  *left = *left + had - size;
  if (size > 0)
    return realloc(p, size);
  free(p);
  return NULL;
}

/* Lua's error for want of memory is the host's, from wherever it comes, and
 * the state works on, with its own allocator. */
static void no_memory_is_lua_errmem (void) {
  static const char *const scripts[] = {
    "return uring.run(big)",
    "return uring.run(function() uring.spawn(big) uring.sleep(9) end)",
    "return uring.run(uring.scope, function(s) s:spawn(big):join() end)",
    "return uring.run(function() uring.timeout(9, big) end)",
    "return uring.run(function() uring.shield(9, big) end)",
    "return uring.run(function() uring.wrap(big)() end)",
    "return uring.run(function() uring.select{ e = uring.event(big) } end)",
    "uring.spawn(big) return uring.loop():step()",
  };
  for (size_t i = 0; i < sizeof(scripts) / sizeof(*scripts); i++) {
    lua_State *L = new_state();
    size_t left = 1 << 20;
    void *ud;
    int rc;
    must_run(L, "function big() return ('x'):rep(1 << 24) end");
    lua_setallocf(L, capped, &left);
    CHECK(luaL_loadstring(L, scripts[i]) == LUA_OK);
    rc = lua_pcall(L, 0, 0, 0);
    if (!CHECK(rc == LUA_ERRMEM)) puts(scripts[i]);
    CHECK(lua_getallocf(L, &ud) == capped && ud == &left);
    must_run(L, "assert(#('x'):rep(1 << 16) == 1 << 16)");
    lua_close(L);
  }
}


/* ---- threads ----------------------------------------------------------- */

#define THREADS 3
#define EACH    5000

static uring_box *shared;

static void *poster (void *arg) {
  intptr_t self = (intptr_t)arg;
  for (int i = 1; i <= EACH; i++) {
    uring_value v[3] = { integer(self), integer(i), block("bbbbbbbb") };
    int rc;
    while ((rc = uring->post(shared, v, 3)) == -EAGAIN) sched_yield();
    CHECK(rc == 0);
  }
  uring->release(shared);
  return NULL;
}

/* A host that polls; threads that post; answers to an inbox. */
static void threads_post_to_a_host_that_polls (void) {
  lua_State *L = new_state();
  pthread_t thread[THREADS];
  uring_inbox *inbox;
  uring_message *m = NULL;
  uint32_t n;
  int fd = uring->fd(L), rc;
  CHECK(uring->inbox_new(NULL, &inbox) == 0);
  {
    uring_box *own = uring->inbox_box(inbox);
    set_address(L, "reply", own);
    uring->release(own);
  }
  must_run(L,
    "mailbox = uring.mailbox{ capacity = 100 }"
    "uring.spawn(function()"
    "  local next, total = {}, 0"
    "  for thread, i, lease in mailbox:messages() do"
    "    assert(i == (next[thread] or 0) + 1)"
    "    next[thread] = i"
    "    total = total + #lease"
    "    if i % 2 == 0 then lease:release() end"
    "  end"
    "  reply:send(total)"
    "end)");
  shared = box_of(L, "mailbox");
  for (intptr_t i = 0; i < THREADS; i++) {
    uring->hold(shared);
    pthread_create(&thread[i], NULL, poster, (void *)i);
  }
  uring->release(shared);
  step(L);
  while ((rc = uring->inbox_take(inbox, &m)) == -EAGAIN) {
    if (!CHECK(readable(fd, 60000))) break;
    step(L);
  }
  CHECK(rc == 0 && uring->values(m, &n)->u.i == THREADS * EACH * 8);
  if (rc == 0) uring->message_free(m);
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  lua_close(L);
  CHECK(released == THREADS * EACH);
  CHECK(uring->inbox_close(inbox) == 0);
}

static _Atomic unsigned accepted;

static void *poster_until_closed (void *arg) {
  uring_value v = block("bbbbbbbb");
  int rc;
  (void)arg;
  while ((rc = uring->post(shared, &v, 1)) != -EPIPE) {
    if (rc == 0) atomic_fetch_add(&accepted, 1);
    else sched_yield();
  }
  uring->release(shared);
  return NULL;
}

static void *close_state (void *L) {
  lua_close(L);
  return NULL;
}

static void a_state_closes_under_posts (void) {
  for (int round = 0; round < 20; round++) {
    lua_State *L = new_state();
    pthread_t thread[2], closer;
    accepted = released = 0;
    must_run(L, "mailbox = uring.mailbox()"
                "uring.spawn(function()"
                "  kept = {}"
                "  for lease in mailbox:messages() do"
                "    if #kept < 10 then kept[#kept + 1] = lease end"
                "  end "
                "end)");
    shared = box_of(L, "mailbox");
    for (int i = 0; i < 2; i++) {
      uring->hold(shared);
      pthread_create(&thread[i], NULL, poster_until_closed, NULL);
    }
    while (accepted < 500) {
      struct uring_step s = usual_step();
      CHECK(uring->step(L, &s) == 0);
    }
    if (round % 3 == 0) CHECK(uring->close(L, 1) == 0);
    if (round % 2 == 0) lua_close(L);
    else {
      pthread_create(&closer, NULL, close_state, L);
      pthread_join(closer, NULL);
    }
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    CHECK(released == accepted);
    uring->release(shared);
  }
}

static void a_forked_child_is_told (void) {
  lua_State *L = new_state();
  struct uring_step s = usual_step();
  struct uring_loop_options options = { .size = sizeof(options) };
  uring_value v = integer(1);
  struct uring_stats stats = { .size = sizeof(stats) };
  uring_inbox *inbox;
  uring_box *box, *other;
  int status = -1;
  pid_t pid;
  must_run(L, "mailbox = uring.mailbox{ name = 'parent' }");
  box = box_of(L, "mailbox");
  step(L);
  pid = fork();
  if (pid == 0) {
    alarm(30);
    CHECK(uring->step(L, &s) == -ESTALE && uring->fd(L) == -ESTALE);
    CHECK(uring->timeout(L) == -ESTALE && uring->close(L, 1) == -ESTALE);
    lua_getglobal(L, "print");
    CHECK(uring->spawn(L, 0) == -ESTALE && lua_gettop(L) == 0);
    lua_getglobal(L, "mailbox");
    CHECK(uring->to_box(L, -1, &other) == -ESTALE);
    CHECK(uring->push_address(L, box) == -ESTALE && lua_gettop(L) == 1);
    lua_settop(L, 0);
    CHECK(uring->post(box, &v, 1) == -ESTALE);
    CHECK(uring->stats(box, &stats) == -ESTALE);
    CHECK(uring->wanting(box, 0) == -ESTALE);
    CHECK(uring->inbox_new(NULL, &inbox) == 0);
    CHECK(uring->monitor(box, inbox, 0) == -ESTALE);
    CHECK(uring->inbox_close(inbox) == 0);
    uring->hold(box);
    uring->release(box);
    CHECK(uring->find(NULL, "parent", 6, &other) == -ENOENT);
    options.memory = 1 << 24;
    CHECK(uring->open(L, &options) == 0);  /* a loop of its own */
    step(L);
    must_run(L, "mine = uring.mailbox{ name = 'parent' }");
    CHECK(uring->find(NULL, "parent", 6, &other) == 0);
    CHECK(uring->post(other, &v, 1) == 0);
    must_run(L, "assert(mine:try_receive() == 1)");
    uring->release(other);
    lua_close(L);
    fflush(stdout);
    _exit(broken > 0);
  }
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "assert(mailbox:try_receive() == 1)");
  uring->release(box);
  lua_close(L);
}

/* The table, boxes and kept blocks are valid without any state. */
static void all_is_valid_after_the_state (void) {
  lua_State *L = new_state();
  uring_inbox *inbox;
  uring_box *box, *dead;
  uring_message *m;
  uring_value v = block("bbbb"), *got;
  uint32_t n;
  must_run(L, "mailbox = uring.mailbox()");
  dead = box_of(L, "mailbox");
  lua_close(L);
  CHECK(uring->post(dead, &v, 1) == -EPIPE && released == 0);
  uring->release(dead);
  CHECK(uring->inbox_new(NULL, &inbox) == 0);
  box = uring->inbox_box(inbox);
  CHECK(uring->post(box, &v, 1) == 0);
  uring->release(box);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  CHECK(uring->inbox_take(inbox, &m) == -EPIPE);
  CHECK(uring->inbox_close(inbox) == 0);
  got = uring->values(m, &n);
  v = got[0];
  got[0].release = NULL;
  uring->message_free(m);
  CHECK(released == 0 && memcmp(v.u.s.p, "bbbb", 4) == 0);
  v.release(v.ud, v.u.s.p, v.u.s.len);
  CHECK(released == 1);
}


/* ---- calls, monitors, counts, room ------------------------------------- */

static bool is_string (const uring_value *v, const char *s) {
  return v->type == URING_STRING && v->u.s.len == strlen(s)
         && memcmp(v->u.s.p, s, v->u.s.len) == 0;
}

/* A call from Lua: its results, or its error, are the global `got`. */
static void call_from_lua (lua_State *L, const char *arguments) {
  char code[300];
  snprintf(code, sizeof(code), "got = nil task = uring.spawn(function()"
           " got = table.pack(pcall(address.call, address%s)) end)",
           arguments);
  must_run(L, code);
  step(L);
}

static uring_message *take (uring_inbox *inbox) {
  uring_message *m = NULL;
  if (!CHECK(uring->inbox_take(inbox, &m) == 0)) exit(1);
  return m;
}

static void calls_are_answered (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o) };
  uring_inbox *inbox;
  uring_message *m;
  uring_box *box;
  uring_value many[300], v[3] = { integer(1), string("two"), string("") };
  uint32_t n;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  call_from_lua(L, ", 'add', { 1, 2 }");
  m = take(inbox);
  uring_value *got = uring->values(m, &n);
  CHECK(n == 2 && is_string(&got[0], "add") && got[1].type == URING_ARRAY
        && got[1].n == 2 && got[1].u.items[1].u.i == 2);
  memset(many, 0, sizeof(many));
  CHECK(uring->reply(m, many, 255) == -EINVAL);
  CHECK(uring->reply(m, NULL, 1) == -EINVAL);
  CHECK(uring->reply(m, v, 3) == 0);
  CHECK(uring->reply(m, v, 3) == -ENOENT);
  CHECK(uring->refuse(m, "late") == -ENOENT);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got.n == 4 and got[1] and got[2] == 1"
              " and got[3] == 'two' and got[4] == '')");
  call_from_lua(L, "");
  m = take(inbox);
  uring->values(m, &n);
  CHECK(n == 0 && uring->reply(m, NULL, 0) == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got.n == 1 and got[1])");
  call_from_lua(L, ", 1");
  m = take(inbox);
  CHECK(uring->reply(m, many, 254) == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got.n == 255 and got[1] and got[2] == nil)");
  call_from_lua(L, ", 'fails'");
  m = take(inbox);
  CHECK(uring->refuse(m, "no such thing") == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(not got[1] and got[2] == 'no such thing')");
  call_from_lua(L, ", 'forgotten'");
  uring->message_free(take(inbox));
  step(L);
  must_run(L, "assert(not got[1] and got[2]:find 'and not answered')");
  call_from_lua(L, ", 'in vain'");
  must_run(L, "task:cancel()");
  step(L);
  m = take(inbox);
  CHECK(uring->reply(m, v, 1) == -EPIPE && uring->reply(m, v, 1) == -ENOENT);
  uring->message_free(m);
  must_run(L, "assert(address:try_send 'no call')");
  m = take(inbox);
  CHECK(uring->reply(m, v, 1) == -ENOENT);
  uring->message_free(m);
  call_from_lua(L, ", 'unread'");
  uring->release(box);
  CHECK(uring->inbox_close(inbox) == 1);
  step(L);
  must_run(L, "assert(got[1] and not got[2] and got[4] == 32)");  /* EPIPE */
  lua_close(L);
}

/* An answer with what moves: it is the caller's, or stays the replier's. */
static void answers_own_what_they_give (void) {
  lua_State *L = new_state();
  uring_inbox *inbox;
  uring_message *m;
  uring_box *box;
  uring_value v = block("bbbb"), large = string("x");
  CHECK(uring->inbox_new(NULL, &inbox) == 0);
  box = uring->inbox_box(inbox);
  set_address(L, "address", box);
  uring->release(box);
  call_from_lua(L, ", 'block'");
  m = take(inbox);
  large.u.s.p = calloc(1, 2 << 20);
  large.u.s.len = 2 << 20;
  CHECK(uring->reply(m, &large, 1) == -EMSGSIZE);
  free((void *)(uintptr_t)large.u.s.p);
  CHECK(uring->reply(m, &v, 1) == 0 && released == 0);
  uring->message_free(m);
  step(L);
  must_run(L, "assert(got[2]:string() == 'bbbb') got[2]:release()");
  CHECK(released == 1);
  call_from_lua(L, ", 'block'");
  must_run(L, "task:cancel()");
  step(L);
  m = take(inbox);
  v = block("bbbb");
  CHECK(uring->reply(m, &v, 1) == -EPIPE && released == 1);
  uring->message_free(m);
  CHECK(uring->inbox_close(inbox) == 0);
  lua_close(L);
}

#define RACES 400

struct answerer {
  uring_inbox *inbox;
  int answered, left;
};

/* Takes calls, and answers each with a block. */
static void *answer_calls (void *ud) {
  struct answerer *a = ud;
  while (a->answered + a->left < RACES) {
    uring_value v = block("bbbb");
    uring_message *m;
    int rc = uring->inbox_take(a->inbox, &m);
    if (rc == -EAGAIN) readable(uring->inbox_fd(a->inbox), 10);
    if (rc < 0)
      continue;
    rc = uring->reply(m, &v, 1);
    if (CHECK(rc == 0 || rc == -EPIPE) && rc == 0) a->answered++;
    else {
      a->left++;
      on_release(v.ud, v.u.s.p, v.u.s.len);  /* (it is still C's) */
    }
    uring->message_free(m);
  }
  return NULL;
}

/* A call ends once: answered on one thread, or left on the other. */
static void answers_race_with_the_caller (void) {
  lua_State *L = new_state();
  struct answerer a = { .answered = 0 };
  pthread_t thread;
  uring_box *box;
  released = 0;
  CHECK(uring->inbox_new(NULL, &a.inbox) == 0);
  box = uring->inbox_box(a.inbox);
  set_address(L, "address", box);
  uring->release(box);
  pthread_create(&thread, NULL, answer_calls, &a);
  must_run(L, "got = 0");
  for (int i = 0; i < RACES; i++) {
    must_run(L, "task = uring.spawn(function()"
                " local ok, lease = pcall(address.call, address)"
                " if ok then got = got + 1 lease:release() end end)");
    step(L);
    for (int spins = i % 8 * 200; spins > 0; spins--) sched_yield();
    must_run(L, "task:cancel()");
    step(L);
  }
  pthread_join(thread, NULL);
  step(L);
  CHECK(a.answered + a.left == RACES);
  CHECK(global_integer(L, "got") <= a.answered);
  CHECK(uring->inbox_close(a.inbox) == 0);
  lua_close(L);
  CHECK(released == RACES);
}

static bool is_closed (uring_message *m, int64_t token) {
  uint32_t n;
  const uring_value *v = uring->values(m, &n);
  bool ok = n == 1 && v->type == URING_CLOSED && v->u.i == token;
  uring->message_free(m);
  return ok;
}

static void monitors_tell_of_the_end (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o), .capacity = 1 };
  uring_inbox *inbox, *other;
  uring_box *box, *own;
  uring_message *m;
  uring_value v = integer(7);
  uint32_t n;
  int fd;
  CHECK(uring->inbox_new(&o, &inbox) == 0);
  fd = uring->inbox_fd(inbox);
  own = uring->inbox_box(inbox);
  must_run(L, "a, b = uring.mailbox(), uring.mailbox()");
  box = box_of(L, "a");
  CHECK(uring->monitor(box, inbox, -5) == 0);
  CHECK(uring->monitor(box, inbox, 6) == 0);
  CHECK(uring->inbox_take(inbox, &m) == -EAGAIN && !readable(fd, 0));
  while (uring->post(own, &v, 1) == 0)
    ;  /* (full) */
  must_run(L, "a:close()");
  CHECK(readable(fd, 0));
  CHECK(is_closed(take(inbox), -5) && is_closed(take(inbox), 6));
  CHECK(uring->monitor(box, inbox, 8) == 0);  /* (closed before) */
  CHECK(is_closed(take(inbox), 8));
  while (uring->inbox_take(inbox, &m) == 0) {
    CHECK(uring->values(m, &n)->u.i == 7);
    uring->message_free(m);
  }
  CHECK(!readable(fd, 0));
  uring->release(box);
  box = box_of(L, "b");
  CHECK(uring->monitor(box, inbox, 9) == 0);
  /* an inbox that goes first, with a monitor, and with a notice */
  CHECK(uring->inbox_new(NULL, &other) == 0);
  CHECK(uring->monitor(box, other, 1) == 0);
  CHECK(uring->inbox_close(other) == 0);
  CHECK(uring->inbox_new(NULL, &other) == 0);
  CHECK(uring->monitor(box, other, 2) == 0);
  CHECK(uring->monitor(own, other, 3) == 0);
  uring->release(own);
  CHECK(uring->inbox_take(inbox, &m) == -EAGAIN);  /* (a monitor sends) */
  lua_close(L);
  CHECK(readable(fd, 0) && is_closed(take(inbox), 9));
  CHECK(uring->inbox_close(other) == 0);
  CHECK(uring->inbox_take(inbox, &m) == -EPIPE);
  CHECK(uring->inbox_close(inbox) == 0);
  uring->release(box);
}

static _Atomic bool closing;

static void *close_inboxes (void *ud) {
  uring_inbox **inbox = ud;
  while (!atomic_load(&closing))
    sched_yield();
  for (int i = 0; i < 8; i++) uring->inbox_close(inbox[i]);
  return NULL;
}

/* Each end is told once, while the monitors' inbox is read or closed. */
static void monitors_race_with_the_end (void) {
  lua_State *L = new_state_only();
  for (int round = 0; round < 200; round++) {
    uring_inbox *watched[8], *inbox;
    uring_message *m;
    pthread_t thread;
    int told = 0, rc;
    atomic_store(&closing, false);
    CHECK(uring->inbox_new(NULL, &inbox) == 0);
    for (int i = 0; i < 8; i++) {
      uring_box *box;
      CHECK(uring->inbox_new(NULL, &watched[i]) == 0);
      box = uring->inbox_box(watched[i]);
      CHECK(uring->monitor(box, inbox, i) == 0);
      uring->release(box);
    }
    pthread_create(&thread, NULL, close_inboxes, watched);
    atomic_store(&closing, true);
    if (round % 2 == 0)
      while ((rc = uring->inbox_take(inbox, &m)) != -EPIPE) {
        if (rc == 0) {
          told++;
          uring->message_free(m);
        }
        else CHECK(rc == -EAGAIN && readable(uring->inbox_fd(inbox), 60000));
      }
    CHECK(told == (round % 2 == 0 ? 8 : 0));
    CHECK(uring->inbox_close(inbox) == 0);
    pthread_join(thread, NULL);
  }
  lua_close(L);
}

static void counts_are_told (void) {
  lua_State *L = new_state();
  struct uring_stats s = { .size = sizeof(s) };
  uring_value v = integer(1);
  uring_box *box;
  must_run(L, "mailbox = uring.mailbox{ capacity = 2 }");
  box = box_of(L, "mailbox");
  for (int i = 0; i < 3; i++) CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "address = mailbox:address() mailbox:try_receive()"
              " uring.spawn(function() address:send(1) end)");
  step(L);
  CHECK(uring->stats(box, &s) == 0 && s.size == sizeof(s));
  CHECK(s.senders == 2 && s.waiting == 1 && s.accepted == 3
        && s.received == 1 && s.undelivered == 0 && s.messages == 2
        && s.bytes == 2 * 80 && s.fds == 0);
  must_run(L, "mailbox:close()");
  CHECK(uring->stats(box, &s) == 0);
  CHECK(s.messages == 0 && s.undelivered == 2
        && s.accepted == s.received + s.undelivered);
  s.size = 8;
  CHECK(uring->stats(box, &s) == -EINVAL);
  uring->release(box);
  lua_close(L);
}

static uint64_t count_of (int fd) {
  uint64_t n = 0;
  return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void room_is_told_of (void) {
  lua_State *L = new_state();
  uring_value v = integer(1);
  uring_box *box;
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), closed;
  must_run(L, "mailbox = uring.mailbox{ capacity = 2 }");
  box = box_of(L, "mailbox");
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 1);  /* (there is) */
  while (uring->post(box, &v, 1) == 0)
    ;
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 0);
  must_run(L, "mailbox:try_receive()");
  CHECK(count_of(fd) == 1);  /* (there is room for a post) */
  CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "mailbox:try_receive() mailbox:try_receive()");
  must_run(L, "mailbox:try_receive()");
  CHECK(count_of(fd) == 0);  /* (once) */
  while (uring->post(box, &v, 1) == 0)
    ;
  /* the number may be another file's when there is room */
  closed = dup(fd);
  CHECK(uring->wanting(box, closed) == 0);
  close(closed);
  CHECK(uring->wanting(box, closed) == -EBADF);
  must_run(L, "for i = 1, 3 do mailbox:try_receive() end");
  CHECK(count_of(fd) == 1);
  while (uring->post(box, &v, 1) == 0)
    ;
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 0);
  must_run(L, "mailbox:close()");
  CHECK(count_of(fd) == 1);
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 1);
  uring->release(box);
  /* Lua's senders wait for more room; they are served after it */
  must_run(L, "mailbox = uring.mailbox{ capacity = 1 }"
              " address = mailbox:address() address:try_send(1)");
  box = box_of(L, "mailbox");
  CHECK(uring->post(box, &v, 1) == 0);
  must_run(L, "sent = false"
              " uring.spawn(function() sent = address:send(2) end)");
  step(L);
  CHECK(uring->wanting(box, fd) == 0 && count_of(fd) == 0);
  must_run(L, "assert(not sent and mailbox:try_receive() == 1)");
  CHECK(count_of(fd) == 1);
  step(L);
  must_run(L, "assert(not sent and mailbox:try_receive() == 1)");
  step(L);
  must_run(L, "assert(sent and mailbox:try_receive() == 2)");
  lua_close(L);
  uring->release(box);
  close(fd);
}


/* A child that was forked has copies of what is behind the descriptor. */
static void a_closed_state_is_polled_no_more (void) {
  for (int close_first = 0; close_first < 2; close_first++) {
    lua_State *L = new_state();
    struct epoll_event e = { .events = EPOLLIN };
    int ep = epoll_create1(EPOLL_CLOEXEC), fds[2];
    pid_t child;
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, uring->fd(L), &e) == 0);
    step(L);
    must_run(L, "uring.spawn(print)");
    CHECK(epoll_wait(ep, &e, 1, 0) == 1 && pipe(fds) == 0);
    child = fork();
    if (child == 0) {
      char c;
      close(fds[1]);
      _exit(read(fds[0], &c, 1) != 0);
    }
    close(fds[0]);
    if (close_first) uring->close(L, 1);
    lua_close(L);
    CHECK(epoll_wait(ep, &e, 1, 0) == 0);
    close(fds[1]);
    CHECK(waitpid(child, NULL, 0) == child);
    close(ep);
  }
}

static unsigned count_fds (void) {
  unsigned n = 0;
  for (int i = 0; i < 100; i++) n += fcntl(i, F_GETFD) >= 0;
  return n;
}

/* What was opened for a task that does not run any more is closed. */
static void a_closed_state_leaves_no_descriptor (void) {
  static const char *const opens[] = {
    "uring.open('/dev/null')",
    "uring.await(openat)",
    "uring.loop():ring():await_chain{ uring.sqe():prep_nop(), openat }",
    "assert(uring.ring()):await(openat)",
  };
  for (size_t i = 0; i < sizeof(opens) / sizeof(*opens); i++) {
    struct uring_step s = usual_step();
    unsigned before = count_fds();
    lua_State *L = new_state();
    must_run(L, "openat = uring.sqe():prep_openat(uring.AT_FDCWD, '/dev/null',"
                "  uring.O_RDONLY, 0)");
    lua_pushfstring(L, "uring.spawn(function() %s ran = 1 end)", opens[i]);
    must_run(L, lua_tostring(L, -1));
    s.max = 1;
    CHECK(uring->step(L, &s) == 0 && s.resumed == 1);
    CHECK(global_integer(L, "ran") == 0);
    lua_close(L);
    CHECK(count_fds() == before);
  }
}

/* Nor what the first of a chain has opened, while its second goes on, on
** a ring that closes after the loop, for it was made before. */
static void a_closed_state_ends_chains (void) {
  struct uring_step s = usual_step();
  unsigned before = count_fds();
  lua_State *L = new_state_only();
  must_run(L, "ring = assert(uring.ring())  uring.spawn(function()"
    "  ring:await_chain{ uring.sqe():prep_openat(uring.AT_FDCWD, '/dev/null',"
    "    uring.O_RDONLY, 0), uring.sqe():prep_timeout(100) } ran = 1 end)");
  for (int i = 0; i < 5; i++) CHECK(uring->step(L, &s) == 0);
  CHECK(global_integer(L, "ran") == 0);
  lua_close(L);
  CHECK(count_fds() == before);
}

static uring_inbox *cancelled_inbox;

/* All that may be called from any thread, by one that is to end at its next
 * cancellation point. */
static void *call_while_cancelled (void *ended) {
  uring_inbox *inbox = cancelled_inbox, *other;
  uring_value v[2] = { block("x"), { .type = URING_FD } };
  struct uring_stats s = { .size = sizeof(s) };
  uring_message *m;
  uring_box *box, *named;
  int fd = eventfd(0, EFD_CLOEXEC);
  v[1].u.fd = dup(fd);
  released = 0;
  pthread_cancel(pthread_self());
  CHECK(uring->find("", "cancelled", 9, &named) == 0);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  CHECK(uring->reply(m, v, 1) == 0);
  uring->message_free(m);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  CHECK(uring->refuse(m, "no") == 0);
  uring->message_free(m);
  CHECK(uring->inbox_take(inbox, &m) == -EAGAIN);
  box = uring->inbox_box(inbox);
  v[0] = block("x");
  CHECK(uring->post(box, v, 2) == 0);
  CHECK(uring->wanting(box, fd) == 0);
  CHECK(uring->inbox_take(inbox, &m) == 0);
  uring->message_free(m);
  v[1].u.fd = dup(fd);
  CHECK(uring->post(named, v, 2) == 0);
  CHECK(uring->stats(named, &s) == 0 && s.messages == 1);
  CHECK(uring->inbox_new(NULL, &other) == 0);
  CHECK(uring->monitor(box, other, 1) == 0);
  v[0] = (uring_value){ .type = URING_BOX };
  uring->hold(box);
  v[0].u.s.p = box;
  v[1].u.fd = dup(fd);
  CHECK(uring->post(box, v, 2) == 0);
  uring->release(box);
  CHECK(uring->inbox_close(inbox) == 1);
  CHECK(uring->inbox_close(other) == 0);
  uring->release(named);
  *(bool *)ended = true;
  pthread_testcancel();
  return NULL;
}

static void a_cancelled_thread_ends_after_its_calls (void) {
  lua_State *L = new_state();
  struct uring_inbox_options o = { .size = sizeof(o),
    .types = 1u << URING_BLOCK | 1u << URING_FD | 1u << URING_BOX
             | 1u << URING_INTEGER };
  pthread_t thread;
  bool ended = false;
  void *result;
  uring_box *box;
  CHECK(uring->inbox_new(&o, &cancelled_inbox) == 0);
  box = uring->inbox_box(cancelled_inbox);
  set_address(L, "address", box);
  uring->release(box);
  must_run(L, "mailbox = uring.mailbox{ name = 'cancelled' }"
              "for i = 1, 2 do"
              "  uring.spawn(function() address:call(i) end)"
              " end"
              " uring.spawn(function() got = mailbox:receive():string() end)"
              " uring.loop():fd()");
  {
    struct uring_step s = usual_step();
    CHECK(uring->step(L, &s) == 0 && !s.failed);
  }
  pthread_create(&thread, NULL, call_while_cancelled, &ended);
  pthread_join(thread, &result);
  if (!CHECK(ended)) exit(1);  /* (it may have kept a lock) */
  CHECK(result == PTHREAD_CANCELED && released == 1);
  {
    struct uring_step s = usual_step();
    CHECK(uring->step(L, &s) == 0 && s.failed);  /* "no" */
    lua_settop(L, 0);
  }
  must_run(L, "assert(got == 'x') collectgarbage() collectgarbage()");
  lua_close(L);
  CHECK(released == 3);
}


static const struct { const char *name; void (*f)(void); } tests[] = {
  {"values cross both ways", values_cross_both_ways},
  {"calls say what is wrong", calls_say_what_is_wrong},
  {"a step is not nested, nor another thread's",
   a_step_is_not_nested_nor_another_threads},
  {"a thread that has ended keeps its loop",
   a_thread_that_has_ended_keeps_its_loop},
  {"a movable state goes from thread to thread",
   a_movable_state_goes_from_thread_to_thread},
  {"a step keeps to its budget", a_step_keeps_to_its_budget},
  {"errors are told", errors_are_told},
  {"a slow task is told of", a_slow_task_is_told_of},
  {"names are of realms", names_are_of_realms},
  {"an inbox takes only its types", an_inbox_takes_only_its_types},
  {"tables arrive in C", tables_arrive_in_C},
  {"boxes and buffers travel", boxes_and_buffers_travel},
  {"a full inbox makes Lua wait", a_full_inbox_makes_lua_wait},
  {"posts overtake sends that wait", posts_overtake_sends_that_wait},
  {"each block is released once", each_block_is_released_once},
  {"no memory loses no message", no_memory_loses_no_message},
  {"no memory closes no loop", no_memory_closes_no_loop},
  {"no memory is LUA_ERRMEM", no_memory_is_lua_errmem},
  {"threads post to a host that polls", threads_post_to_a_host_that_polls},
  {"a state closes under posts", a_state_closes_under_posts},
  {"a forked child is told", a_forked_child_is_told},
  {"all is valid after the state", all_is_valid_after_the_state},
  {"calls are answered", calls_are_answered},
  {"answers own what they give", answers_own_what_they_give},
  {"answers race with the caller", answers_race_with_the_caller},
  {"monitors tell of the end", monitors_tell_of_the_end},
  {"monitors race with the end", monitors_race_with_the_end},
  {"counts are told", counts_are_told},
  {"room is told of", room_is_told_of},
  {"a closed state is polled no more", a_closed_state_is_polled_no_more},
  {"a closed state leaves no descriptor",
   a_closed_state_leaves_no_descriptor},
  {"a closed state ends chains", a_closed_state_ends_chains},
  {"a cancelled thread ends after its calls",
   a_cancelled_thread_ends_after_its_calls},
};

int main (int argc, char **argv) {
  size_t n = sizeof(tests) / sizeof(*tests);
  if (argc == 1)
    for (size_t i = 0; i < n; i++) puts(tests[i].name);
  for (size_t i = 0; i < n; i++)
    if (argc > 1 && strcmp(argv[1], tests[i].name) == 0) {
      tests[i].f();
      if (broken == 0) puts("passed");
      return broken > 0;
    }
  return argc > 1 ? 2 : 0;
}
