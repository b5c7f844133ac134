/* Blocks, and what happens where there is no memory. */

#include "host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
** first, and its block is released once. */
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
** the state works on, with its own allocator. */
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


const struct test memory_tests[] = {
  {"each block is released once", each_block_is_released_once},
  {"no memory loses no message", no_memory_loses_no_message},
  {"no memory closes no loop", no_memory_closes_no_loop},
  {"no memory is LUA_ERRMEM", no_memory_is_lua_errmem},
  {NULL, NULL}
};
