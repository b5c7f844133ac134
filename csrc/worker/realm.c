/*
** realm: one table of buckets, made by the first name of a process. Nothing is
** called under its lock but memcmp.
*/

#include "compat.h"
#include "worker/realm.h"

#include "base/fork_id.h"
#include "lua/errors.h"
#include "worker/mail_address.h"

#include <stdlib.h>

#define BUCKETS 512

struct queue_name {
  struct queue_name *next;
  struct queue *q;         /* counted */
  size_t realm, name;      /* lengths */
  char key[];              /* the realm, a 0, the name, a 0 */
};

struct table {
  struct lock lock;
  uint32_t fork_id;
  unsigned count;
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
    luaL_argerror(L, arg, lua_pushfstring(L, "a name is a string, got %s",
                                          luaL_typename(L, index)));
  s = lua_tolstring(L, index, &len);
  if (len == 0 || len > REALM_NAME_LENGTH || strlen(s) != len)
    luaL_argerror(L, arg, "a name has 1 to 255 bytes, and no zero byte");
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

/* uring.address(name) */
int realm_address (lua_State *L) {
  struct table *t;
  struct queue_name *n;
  struct mail_address *a;
  struct queue *q = NULL;
  int rc;
  check_name(L, 1, 1);
  lua_settop(L, 1);
  a = mail_address_new(L);
  rc = prepare_name(L, 1, &n, &t);
  if (rc == 0) {
    q = table_find(t, n);
    free(n);
    rc = q ? 0 : -ENOENT;
  }
  if (rc < 0)
    return fail_name(L, "address", 1, -rc);
  mail_address_set(a, q);
  return 1;
}
