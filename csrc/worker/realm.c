/*
** realm: one table of buckets, made by the first name of a process. Nothing is
** called under its lock but memcmp.
*/

#include "compat.h"
#include "worker/realm.h"

#include "base/fork_id.h"
#include "lua/args.h"
#include "lua/errors.h"
#include "task/ring_watch.h"
#include "task/wait.h"
#include "worker/mail_address.h"

#include <stdlib.h>

#define BUCKETS 512

struct queue_name {
  struct queue_name *next;
  struct queue *q;         /* counted */
  size_t realm, name;      /* lengths */
  char key[];              /* the realm, a 0, the name, a 0 */
};

/* A task that waits for a name. The task's object and the table count it, and
** so does the ready list. */
struct name_waiter {
  struct refblock block;
  struct ready_link link;
  struct name_waiter *next, **back;  /* in the table; back: NULL if not */
  struct doorbell *bell;   /* in the table: counted */
  struct name_wait *owner; /* NULL: it is gone. Its thread's. */
};

struct name_wait {         /* the userdata */
  struct socket_waitq waitq;  /* first: its task, as a WAIT_QUEUE */
  struct name_waiter *w;
  struct queue_name *n;
};

struct table {
  struct lock lock;
  uint32_t fork_id;
  unsigned count;
  struct name_waiter *waiters;
  struct queue_name *bucket[BUCKETS];
};

static struct table *_Atomic process_names;


/* ---- the table --------------------------------------------------------- */

/* This process's; NULL: no memory. (A parent's is left alone.) */
static struct table *table_here (void) {
  struct table *t = atomic_load(&process_names), *made;
  if (t && t->fork_id == fork_id())
    return t;
  made = calloc(1, sizeof(*made));
  if (made == NULL)
    return NULL;
  made->fork_id = fork_id();
  if (!atomic_compare_exchange_strong(&process_names, &t, made)) {
    free(made);
    return t;
  }
  return made;
}

static struct queue_name *name_new (const char *realm, size_t nrealm,
                                    const char *name, size_t nname) {
  struct queue_name *n = malloc(sizeof(*n) + nrealm + nname + 2);
  if (n) {
    n->realm = nrealm;
    n->name = nname;
    memcpy(n->key, realm, nrealm + 1);
    memcpy(n->key + nrealm + 1, name, nname + 1);
  }
  return n;
}

static bool same (const struct queue_name *a, const struct queue_name *b) {
  return a->realm == b->realm && a->name == b->name
         && memcmp(a->key, b->key, a->realm + a->name + 2) == 0;
}

static struct queue_name **place (struct table *t,
                                  const struct queue_name *n) {
  uint32_t hash = 2166136261u;
  struct queue_name **at;
  for (size_t i = 0; i < n->realm + n->name + 1; i++)
    hash = (hash ^ (unsigned char)n->key[i]) * 16777619u;
  at = &t->bucket[hash % BUCKETS];
  while (*at && !same(*at, n)) at = &(*at)->next;
  return at;
}

/* (locked) The waiter leaves the table, if it is there; its bell, or NULL. */
static struct doorbell *unlist (struct name_waiter *w) {
  struct doorbell *bell = w->bell;
  w->bell = NULL;
  if (bell) {
    *w->back = w->next;
    if (w->next) w->next->back = w->back;
  }
  return bell;
}

/* A name was added: wake all. Each keeps the table's count, in the ready
** list. */
static void wake_waiters (struct table *t) {
  struct doorbell *bell;
  do {
    lock_take(&t->lock);
    bell = NULL;
    if (t->waiters) {
      struct name_waiter *w = t->waiters;
      bell = unlist(w);
      doorbell_link(bell, &w->link);
    }
    lock_free(&t->lock);
    if (bell) {
      if (doorbell_wanted(bell)) doorbell_ring(bell);
      refblock_release(&bell->block);
    }
  } while (bell);
}

/* 0, or -errno */
static int table_add (struct table *t, struct queue_name *n) {
  struct queue_name **at;
  int rc = 0;
  lock_take(&t->lock);
  at = place(t, n);
  if (*at) rc = -EEXIST;
  else if (t->count == REALM_NAMES_MOST) rc = -ENOSPC;
  else {
    n->next = NULL;
    *at = n;
    t->count++;
  }
  lock_free(&t->lock);
  if (rc == 0) wake_waiters(t);
  return rc;
}

/* The queue of this name, counted; or NULL. */
static struct queue *table_find (struct table *t,
                                 const struct queue_name *n) {
  struct queue_name *found;
  struct queue *q = NULL;
  lock_take(&t->lock);
  found = *place(t, n);
  if (found) {
    q = found->q;
    refblock_retain(&q->block);
  }
  lock_free(&t->lock);
  return q;
}

void realm_remove (struct queue *q) {
  struct table *t = table_here();
  struct queue_name *n = q->name, **at;
  if (n == NULL || t == NULL || q->fork_id != fork_id())
    return;
  q->name = NULL;
  lock_take(&t->lock);
  at = place(t, n);
  *at = n->next;
  t->count--;
  lock_free(&t->lock);
  free(n);
  refblock_release(&q->block);
}

const char *realm_name_of (const struct queue *q) {
  return q->name ? q->name->key + q->name->realm + 1 : NULL;
}


/* ---- for Lua ----------------------------------------------------------- */

/* Raise if the value at `index`, part of `arg`, is not a name. */
static void check_name (lua_State *L, int index, int arg) {
  size_t len;
  const char *s;
  if (lua_type(L, index) != LUA_TSTRING)
    luaL_argerror(L, arg, lua_pushfstring(L,
      arg == index ? "a name, a string, expected, got %s"
                   : "option 'name' must be a string, got %s",
      luaL_typename(L, index)));
  s = lua_tolstring(L, index, &len);
  if (len == 0 || len > REALM_NAME_LENGTH || strlen(s) != len)
    luaL_argerror(L, arg, "a name must have 1 to 255 bytes, and no zero byte");
}

void realm_option (lua_State *L, int arg) {
  if (!lua_istable(L, arg)) {
    lua_pushnil(L);
    return;
  }
  lua_pushliteral(L, "name");
  if (lua_rawget(L, arg) != LUA_TNIL) check_name(L, lua_gettop(L), arg);
}

/* The name at `index` in the state's realm, and the table: 0, or -errno. */
static int prepare_name (lua_State *L, int index, struct queue_name **n,
                         struct table **t) {
  size_t nrealm = 0, nname;
  const char *realm = "", *name = lua_tolstring(L, index, &nname);
  int type;
  state_shared(L, SHARED_REALM);
  type = lua_type(L, -1);
  if (type == LUA_TSTRING) realm = lua_tolstring(L, -1, &nrealm);
  lua_pop(L, 1);  /* (the state has it) */
  if (type == LUA_TBOOLEAN)
    return -EPERM;
  *t = table_here();
  *n = *t ? name_new(realm, nrealm, name, nname) : NULL;
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
  struct table *t;
  struct queue_name *n;
  int rc = prepare_name(L, name, &n, &t);
  if (rc == 0) {
    n->q = q;
    refblock_retain(&q->block);
    q->name = n;
    q->named = true;
    if ((rc = table_add(t, n)) < 0) {
      q->name = NULL;
      free(n);
      refblock_release(&q->block);
    }
  }
  return rc < 0 ? fail_name(L, "mailbox", name, -rc) : 0;
}


/* ---- uring.address ----------------------------------------------------- */

static void name_waiter_ready (struct ready_link *link, struct loop *loop) {
  struct name_waiter *w = (struct name_waiter *)
    ((char *)link - offsetof(struct name_waiter, link));
  if (loop && w->owner) waitq_wake_all(loop, &w->owner->waitq.q.waiting);
  refblock_release(&w->block);
}

static void name_waiter_end (struct refblock *b) {
  free(b);
}

/* Be in the table, from before the last look. */
static void list_waiter (struct table *t, struct name_waiter *w,
                         struct doorbell *bell) {
  lock_take(&t->lock);
  if (w->bell == NULL) {
    refblock_retain(&w->block);
    refblock_retain(&bell->block);
    w->bell = bell;
    w->next = t->waiters;
    w->back = &t->waiters;
    if (w->next) w->next->back = &w->next;
    t->waiters = w;
  }
  lock_free(&t->lock);
}

static void end_name_wait (struct name_wait *wait) {
  struct name_waiter *w = wait->w;
  struct table *t = table_here();
  struct doorbell *bell = NULL;
  if (w == NULL)
    return;
  wait->w = NULL;
  w->owner = NULL;  /* guard: it may be in the ready list */
  if (t) {
    lock_take(&t->lock);
    bell = unlist(w);
    lock_free(&t->lock);
  }
  if (bell) {
    refblock_release(&bell->block);
    refblock_release(&w->block);
  }
  refblock_release(&w->block);
  free(wait->n);
}

static int name_wait_gc (lua_State *L) {
  end_name_wait(class_check(L, 1, CLASS_NAME_WAIT));
  return 0;
}

static void describe_name_wait (lua_State *L, const struct socket_waitq *waitq,
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
  const struct name_wait *wait = lua_touserdata(L, 1);
  struct queue *q = table_find(table_here(), wait->n);
  (void)t; (void)node;
  if (q == NULL)
    return 0;
  mail_address_set(lua_touserdata(L, 2), q);
  lua_pushvalue(L, 2);
  return 1;
}

static int name_wait_block (lua_State *L, struct task *t,
                            struct blocking *b) {
  struct name_wait *wait = lua_touserdata(L, 1);
  struct queue *q;
  list_waiter(table_here(), wait->w, state_of(L)->loop->ring->doorbell);
  q = table_find(table_here(), wait->n);  /* guard: the last look */
  if (q) {
    mail_address_set(lua_touserdata(L, 2), q);
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
  end_name_wait(lua_touserdata(L, 1));
}

static const struct wait_kind name_kind = {
  "address", name_wait_try, name_wait_block, name_wait_cancel, false, NULL
};

static int name_wait_again (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &name_kind, (int64_t)ctx, name_wait_again);
}

/* Wait for the name at 1, with an empty address at 2. */
static int wait_for_name (lua_State *L, int64_t ns, struct queue_name *n) {
  struct name_wait *wait = lua_touserdata(L, 3);
  struct task *t = state_of(L)->loop->current;
  wait->n = n;
  wait->w = calloc(1, sizeof(*wait->w));
  if (wait->w == NULL) {
    free(n);
    return luaL_error(L, "not enough memory to wait for a name");
  }
  refblock_init(&wait->w->block, name_waiter_end);
  wait->w->link.ready = name_waiter_ready;
  wait->w->owner = wait;
  wait->waitq.describe = describe_name_wait;
  lua_replace(L, 1);
  return wait_perform(L, t, &name_kind, clock_after(ns), name_wait_again);
}

/* uring.address(name, timeout): without a timeout it does not wait */
int realm_address (lua_State *L) {
  int64_t ns = lua_isnoneornil(L, 2) ? 0 : arg_duration(L, 2);
  struct table *t;
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
  if ((rc = prepare_name(L, 1, &n, &t)) < 0)
    return fail_name(L, "address", 1, -rc);
  if ((q = table_find(t, n)) == NULL && ns > 0)
    return wait_for_name(L, ns, n);
  free(n);
  if (q == NULL)
    return fail_name(L, "address", 1, ENOENT);
  mail_address_set(a, q);
  lua_settop(L, 2);
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
