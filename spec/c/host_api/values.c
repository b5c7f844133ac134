/* Values that cross between C and Lua, boxes, and inboxes. */

#include "host.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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


const struct test values_tests[] = {
  {"values cross both ways", values_cross_both_ways},
  {"calls say what is wrong", calls_say_what_is_wrong},
  {"names are of realms", names_are_of_realms},
  {"an inbox takes only its types", an_inbox_takes_only_its_types},
  {"tables arrive in C", tables_arrive_in_C},
  {"boxes and buffers travel", boxes_and_buffers_travel},
  {"a full inbox makes Lua wait", a_full_inbox_makes_lua_wait},
  {"posts overtake sends that wait", posts_overtake_sends_that_wait},
  {NULL, NULL}
};
