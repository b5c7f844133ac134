/*
** realm: the names that Lua gives and asks for, in the realm of its state.
** What must not break: a wait for a name keeps an empty address, so that
** finding the mailbox needs no memory; it clears `owner` of its record before
** it is freed.
*/

#include "compat.h"
#include "worker/realm.h"

#include "lua/args.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "task/ring_watch.h"
#include "task/wait.h"
#include "worker/mail_address.h"
#include "worker/name_table.h"

#include <stdlib.h>

struct name_wait {         /* the userdata */
  struct object_waitq waitq;  /* first: its task, as a WAIT_QUEUE */
  struct name_waiter *w;
  struct queue_name *n;
};

/* ---- for Lua ----------------------------------------------------------- */

/* Raise if the value at `index`, part of `arg`, is not a name. */
static void check_name (lua_State *L, int index, int arg) {
  size_t len;
  const char *s;
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_argerror(L, arg, lua_pushfstring(L,
      arg == index ? "a name, a string, expected, got %s"
                   : "option 'name' must be a string, got %s",
      arg_typename(L, index)));
  s = lua_tolstring(L, index, &len);
  if (len == 0 || len > NAME_LENGTH || strlen(s) != len)
    luaL_argerror(L, arg, "a name must have 1 to 255 bytes, and no zero byte");
}

void realm_option (lua_State *L, int arg) {
  if (options_push(L, arg, "name") != LUA_TNIL)
    check_name(L, lua_gettop(L), arg);
}

/* The name at `index` in the state's realm: 0, or -errno. */
static int prepare_name (lua_State *L, int index, struct queue_name **n) {
  size_t nrealm = 0, nname;
  const char *realm = "", *name = lua_tolstring(L, index, &nname);
  int type;
  state_shared(L, SHARED_REALM);
  type = lua_type(L, -1);
  if (type == LUA_TSTRING) realm = lua_tolstring(L, -1, &nrealm);
  lua_pop(L, 1);  /* (the state has it) */
  if (type == LUA_TBOOLEAN)
    return -EPERM;
  *n = name_new(realm, nrealm, name, nname);
  return *n ? 0 : -ENOMEM;
}

static int fail_name (lua_State *L, const char *what, int name, int err) {
  const char *why = "";
  if (err == EEXIST) why = ": a mailbox has this name already";
  else if (err == ENOENT) why = ": no mailbox has this name";
  else if (err == EPERM) why = ": this state's realm has no names";
  else if (err == ENOSPC) why = ": 4096 mailboxes have names";
  return fail(L, err, "%s '%s'%s", what, lua_tostring(L, name), why);
}

int realm_add (lua_State *L, int name, struct queue *q) {
  struct queue_name *n;
  int rc = prepare_name(L, name, &n);
  if (rc == 0 && (rc = name_add(n, q)) < 0) free(n);
  return rc < 0 ? fail_name(L, "mailbox", name, -rc) : 0;
}


/* ---- uring.address ----------------------------------------------------- */

static void name_wait_woken (void *owner, struct loop *loop) {
  struct name_wait *wait = owner;
  waitq_wake_all(loop, &wait->waitq.q.waiting);
}

static void end_name_wait (struct name_wait *wait) {
  struct name_waiter *w = wait->w;
  if (w == NULL)
    return;
  wait->w = NULL;
  w->owner = NULL;  /* guard: it may be in the ready list */
  name_waiter_unlist(w);
  refblock_release(&w->block);
  free(wait->n);
}

static int name_wait_gc (lua_State *L) {
  end_name_wait(class_check(L, 1, CLASS_NAME_WAIT));
  return 0;
}

static void describe_name_wait (lua_State *L, const struct object_waitq *waitq,
                                lua_State *co) {
  const struct queue_name *n = ((const struct name_wait *)waitq)->n;
  (void)co;
  if (n) lua_pushfstring(L, "for a mailbox with the name '%s'",
                         n->key + n->realm + 1);
  else lua_pushliteral(L, "for a mailbox");
}

/* The stack has the name wait and an empty address. */
static int name_wait_try (lua_State *L, struct task *t,
                          struct wait_node *node) {
  const struct name_wait *wait = class_raw(L, 1, CLASS_NAME_WAIT);
  struct queue *q = name_find(wait->n);
  (void)t; (void)node;
  if (q == NULL)
    return 0;
  mail_address_set(class_raw(L, 2, CLASS_ADDRESS), q);
  lua_pushvalue(L, 2);
  return 1;
}

static int name_wait_block (lua_State *L, struct task *t,
                            struct blocking *b) {
  struct name_wait *wait = class_raw(L, 1, CLASS_NAME_WAIT);
  struct queue *q = name_find_or_wait(wait->n, wait->w,
                                      state_of(L)->loop->ring->doorbell);
  if (q) {
    mail_address_set(class_raw(L, 2, CLASS_ADDRESS), q);
    lua_pushvalue(L, 2);
    return 1;
  }
  (void)t;
  wait_join_plain(b, &wait->waitq.q.waiting, WAIT_QUEUE, &wait->waitq);
  return 0;
}

static void name_wait_cancel (lua_State *L, struct task *t,
                              struct wait_node *node) {
  (void)t; (void)node;
  end_name_wait(class_raw(L, 1, CLASS_NAME_WAIT));
}

static const struct wait_kind name_kind = {
  "address", name_wait_try, name_wait_block, name_wait_cancel,
  WAITS_OUTSIDE, NULL
};

static int name_wait_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &name_kind, (int64_t)ctx, name_wait_again);
}

/* Wait for the name at 1, with an empty address at 2. */
static int wait_for_name (lua_State *L, int64_t ns, struct queue_name *n) {
  struct name_wait *wait = class_raw(L, 3, CLASS_NAME_WAIT);
  struct task *t = state_of(L)->loop->current;
  wait->n = n;
  wait->w = name_waiter_new();
  if (wait->w == NULL) {
    free(n);
    return luaL_error(L, "not enough memory to wait for a name");
  }
  wait->w->owner = wait;
  wait->w->woken = name_wait_woken;
  wait->waitq.describe = describe_name_wait;
  lua_replace(L, 1);
  return wait_perform(L, t, &name_kind, loop_deadline(state_of(L)->loop, ns),
                      name_wait_again);
}

static int found_again (lua_State *L, int status, lua_KContext ctx) {
  struct task *t = loop_resumed(L);
  (void)status; (void)ctx;
  if (t == NULL)
    return loop_yield_again(L, 0, found_again);
  loop_check(L, t);
  lua_settop(L, 2);  /* guard: a script may resume it with values */
  return 1;
}

/* uring.address(name, timeout): without a timeout it does not wait */
int realm_address (lua_State *L) {
  int64_t ns = lua_isnoneornil(L, 2) ? 0 : arg_duration(L, 2);
  struct queue_name *n;
  struct mail_address *a;
  struct queue *q;
  int rc;
  check_name(L, 1, 1);
  if (ns > 0) loop_enter(L, state_of(L)->loop, "uring.address");
  lua_settop(L, 1);
  a = mail_address_new(L);
  if (ns > 0) {
    class_new(L, CLASS_NAME_WAIT, sizeof(struct name_wait), 0);
    if (loop_doorbell(state_of(L)->loop) == NULL)
      return fail(L, errno, "address: no doorbell for the loop");
  }
  if ((rc = prepare_name(L, 1, &n)) < 0)
    return fail_name(L, "address", 1, -rc);
  if ((q = name_find(n)) == NULL && ns > 0)
    return wait_for_name(L, ns, n);
  free(n);
  if (q == NULL)
    return fail_name(L, "address", 1, ENOENT);
  mail_address_set(a, q);
  lua_settop(L, 2);
  if (ns > 0 && loop_unfair(state_of(L)->loop->current))
    return loop_wait(L, state_of(L)->loop->current, WAIT_YIELD, NULL,
                     CLOCK_NEVER, 0, found_again);
  return 1;
}


static const luaL_Reg none[] = { {NULL, NULL} };

static const luaL_Reg meta[] = {
  {"__gc", name_wait_gc},
  {NULL, NULL}
};

void realm_open (lua_State *L) {
  class_define(L, CLASS_NAME_WAIT, none, meta, NULL);
}
