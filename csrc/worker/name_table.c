/*
** name_table: one table of buckets, made by the first name of a process.
** Nothing is called under its lock but memcmp.
*/

#include "compat.h"
#include "worker/name_table.h"

#include "base/fork_id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 512

struct bucket {
  struct queue_name *names;
  struct name_waiter *waiters;
};

struct table {
  struct lock lock;
  uint32_t fork_id;
  struct table *of_parent;  /* unused: for leak checkers */
  unsigned count;
  struct bucket buckets[BUCKETS];
};

static struct table *_Atomic process_names;


/* This process's; NULL: there is none yet. (A parent's is left alone.) */
static struct table *table_here (void) {
  struct table *t = atomic_load(&process_names);
  return t && t->fork_id == fork_id() ? t : NULL;
}

/* The same, made if need be; NULL: no memory. */
static struct table *make_table (void) {
  struct table *t = atomic_load(&process_names), *made;
  if (t && t->fork_id == fork_id())
    return t;
  made = calloc(1, sizeof(*made));
  if (made == NULL)
    return NULL;
  made->fork_id = fork_id();
  made->of_parent = t;
  if (!atomic_compare_exchange_strong(&process_names, &t, made)) {
    free(made);
    return t;
  }
  return made;
}

struct queue_name *name_new (const char *realm, size_t nrealm,
                             const char *name, size_t nname) {
  struct queue_name *n = make_table()
                         ? malloc(sizeof(*n) + nrealm + nname + 2) : NULL;
  if (n) name_fill(n, realm, nrealm, name, nname);
  return n;
}

void name_fill (struct queue_name *n, const char *realm, size_t nrealm,
                const char *name, size_t nname) {
  n->realm = nrealm;
  n->name = nname;
  memcpy(n->key, realm, nrealm);
  n->key[nrealm] = 0;
  memcpy(n->key + nrealm + 1, name, nname);
  n->key[nrealm + 1 + nname] = 0;
}

static bool same (const struct queue_name *a, const struct queue_name *b) {
  return a->realm == b->realm && a->name == b->name
         && memcmp(a->key, b->key, a->realm + a->name + 2) == 0;
}

static struct bucket *bucket_for (struct table *t,
                                  const struct queue_name *n) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < n->realm + n->name + 1; i++)
    hash = (hash ^ (unsigned char)n->key[i]) * 16777619u;
  return &t->buckets[hash % BUCKETS];
}

static struct queue_name **place (struct table *t,
                                  const struct queue_name *n) {
  struct queue_name **at = &bucket_for(t, n)->names;
  while (*at && !same(*at, n)) at = &(*at)->next;
  return at;
}

/* (locked) The waiter leaves the table, if it is there; its doorbell, or
** NULL. */
static struct doorbell *unlist (struct name_waiter *w) {
  struct doorbell *doorbell = w->doorbell;
  w->doorbell = NULL;
  if (doorbell) {
    *w->back = w->next;
    if (w->next) w->next->back = w->back;
  }
  return doorbell;
}

/* The name was added: wake those that wait for it. Each keeps the table's
** count, in the ready list. */
static void wake_waiters (struct table *t, const struct queue_name *n) {
  struct doorbell *doorbell;
  do {
    struct name_waiter *w;
    lock_take(&t->lock);
    doorbell = NULL;
    w = bucket_for(t, n)->waiters;
    while (w && !same(w->name, n)) w = w->next;
    if (w) {
      doorbell = unlist(w);
      doorbell_link(doorbell, &w->link);
    }
    lock_free(&t->lock);
    if (doorbell) {
      if (doorbell_wanted(doorbell)) doorbell_ring(doorbell);
      refblock_release(&doorbell->block);
    }
  } while (doorbell);
}

/* 0, or -errno */
static int table_add (struct queue_name *n) {
  struct table *t = table_here();
  struct queue_name **at;
  int rc = 0;
  lock_take(&t->lock);
  at = place(t, n);
  if (*at) rc = -EEXIST;
  else if (t->count == NAMES_MOST) rc = -ENOSPC;
  else {
    n->next = NULL;
    *at = n;
    t->count++;
  }
  lock_free(&t->lock);
  if (rc == 0) wake_waiters(t, n);
  return rc;
}

int name_add (struct queue_name *n, struct queue *q) {
  int rc;
  n->q = q;
  refblock_retain(&q->block);
  q->name = n;
  q->named = true;
  rc = table_add(n);
  if (rc < 0) {
    q->name = NULL;
    refblock_release(&q->block);
  }
  return rc;
}

/* (locked) */
static struct queue *find (struct table *t, const struct queue_name *n) {
  struct queue_name *found = *place(t, n);
  if (found == NULL)
    return NULL;
  refblock_retain(&found->q->block);
  return found->q;
}

struct queue *name_find (const struct queue_name *n) {
  struct table *t = table_here();
  struct queue *q;
  if (t == NULL)
    return NULL;
  lock_take(&t->lock);
  q = find(t, n);
  lock_free(&t->lock);
  return q;
}

void name_remove (struct queue *q) {
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

const char *name_of (const struct queue *q) {
  return q->name ? q->name->key + q->name->realm + 1 : NULL;
}


/* ---- waiters ----------------------------------------------------------- */

static void name_waiter_ready (struct ready_link *link, struct loop *loop) {
  struct name_waiter *w = (struct name_waiter *)
    ((char *)link - offsetof(struct name_waiter, link));
  if (loop && w->owner) w->woken(w->owner, loop);
  refblock_release(&w->block);
}

static void name_waiter_end (struct refblock *b) {
  free(b);
}

struct name_waiter *name_waiter_new (void) {
  struct name_waiter *w = calloc(1, sizeof(*w));
  if (w) {
    refblock_init(&w->block, name_waiter_end);
    w->link.ready = name_waiter_ready;
  }
  return w;
}

/* (locked) The waiter joins the table, unless it is there. */
static void list (struct table *t, struct name_waiter *w,
                  const struct queue_name *n, struct doorbell *doorbell) {
  struct name_waiter **first = &bucket_for(t, n)->waiters;
  if (w->doorbell)
    return;
  refblock_retain(&w->block);
  refblock_retain(&doorbell->block);
  w->doorbell = doorbell;
  w->name = n;
  w->next = *first;
  w->back = first;
  if (w->next) w->next->back = &w->next;
  *first = w;
}

struct queue *name_find_or_wait (const struct queue_name *n,
                                 struct name_waiter *w,
                                 struct doorbell *doorbell) {
  struct table *t = table_here();
  struct queue *q;
  if (t == NULL)
    return NULL;  /* (a forked child's: it has no threads that add names) */
  lock_take(&t->lock);
  q = find(t, n);
  if (q == NULL) list(t, w, n, doorbell);
  lock_free(&t->lock);
  return q;
}

void name_waiter_unlist (struct name_waiter *w) {
  struct table *t = table_here();
  struct doorbell *doorbell;
  if (t == NULL)
    return;
  lock_take(&t->lock);
  doorbell = unlist(w);
  lock_free(&t->lock);
  if (doorbell) {
    refblock_release(&doorbell->block);
    refblock_release(&w->block);
  }
}
