/* Steps: by which thread, with which budget, and what they tell. */

#include "host.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>

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


const struct test steps_tests[] = {
  {"a step is not nested, nor another thread's",
   a_step_is_not_nested_nor_another_threads},
  {"a thread that has ended keeps its loop",
   a_thread_that_has_ended_keeps_its_loop},
  {"a movable state goes from thread to thread",
   a_movable_state_goes_from_thread_to_thread},
  {"a step keeps to its budget", a_step_keeps_to_its_budget},
  {"errors are told", errors_are_told},
  {"a slow task is told of", a_slow_task_is_told_of},
  {NULL, NULL}
};
