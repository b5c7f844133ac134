/*
** mailbox: see the header. It makes mailboxes and closes them. What must not
** break: the end of a mailbox wakes all that wait, and its collection leaves
** the queue without a reader.
*/

#include "compat.h"
#include "worker/mailbox_internal.h"

#include "base/fork_id.h"
#include "lua/errors.h"
#include "lua/options.h"
#include "worker/mail_address.h"
#include "worker/name_table.h"
#include "worker/realm.h"

#define MEMORY 4096        /* the size of a mailbox, for the collector */
#define BYTES_USUAL   (1 << 20)  /* that it may hold; and where the state's
                                    memory is bounded: */
#define BYTES_BOUNDED (1 << 16)


/* ---- what the collector is told ---------------------------------------- */

/* The messages in the queue go with the mailbox, if that is garbage, so they
** count. (The new comes first, or the sum seems to fall.) */
static void count_load (struct state *s, struct mailbox *m, size_t bytes,
                        unsigned fds) {
  pressure_hold(&s->pressure, bytes, fds);
  pressure_drop(&s->pressure, m->bytes, m->fds);
  m->bytes = bytes;
  m->fds = fds;
}

void mailbox_count_queue (struct state *s, struct mailbox *m) {
  size_t bytes;
  unsigned fds;
  queue_load(m->q, &bytes, &fds);
  count_load(s, m, bytes, fds);
}

void mailbox_count (lua_State *L, struct queue *q) {
  struct state *s = state_of(L);
  struct mailbox *m = atomic_load(&q->reader_state) == s ? q->reader : NULL;
  if (m && !m->closed) mailbox_count_queue(s, m);
}


/* ---- waking ------------------------------------------------------------ */

/* A message has come, or no sender is left. */
static void mailbox_woken (void *reader, struct loop *loop) {
  struct mailbox *m = reader;
  struct turnq *q = &m->waitq.q;
  uint64_t messages = queue_count(m->q, UINT64_MAX);
  if (messages == 0 && queue_is_over(m->q)) turnq_wake_all(loop, q);
  else do turnq_wake(loop, q);  /* (one in any case: it asks anew) */
  while (q->waiting.last && q->turns < messages);
}


/* ---- checks ------------------------------------------------------------ */

struct mailbox *mailbox_check_fork (lua_State *L, struct mailbox *m) {
  if (m->q && m->q->fork_id != fork_id())
    luaL_argerror(L, 1, "this mailbox belongs to another process: a forked "
                  "child makes its own");
  return m;
}

struct mailbox *mailbox_check (lua_State *L) {
  return mailbox_check_fork(L, class_check(L, 1, CLASS_MAILBOX));
}

bool mailbox_at (lua_State *L, const struct state *s, int index,
                 struct queue **q) {
  const struct mailbox *m = class_at(L, s, index, CLASS_MAILBOX);
  *q = m && !m->closed ? m->q : NULL;
  return m != NULL;
}

struct mailbox *mailbox_check_open (lua_State *L) {
  struct mailbox *m = mailbox_check(L);
  if (m->closed || m->q == NULL)
    luaL_argerror(L, 1, "attempt to use a closed mailbox");
  return m;
}


/* ---- its life ---------------------------------------------------------- */

static void describe_mailbox (lua_State *L, const struct object_waitq *waitq,
                              lua_State *co) {
  const struct mailbox *m = (const struct mailbox *)waitq;
  uint64_t messages = m->q->limits.messages;
  const char *name = NULL;
  (void)co;
  if (m->q->named) name = name_of(m->q);
  if (name) lua_pushfstring(L, "to receive from mailbox '%s'", name);
  else lua_pushfstring(L, "to receive from a mailbox (capacity %I)",
                       (LUAI_UACINT)messages);
}

static unsigned mailbox_own_doorbells (const struct object_waitq *waitq,
                                       const struct doorbell *doorbell) {
  return queue_own_doorbells(((const struct mailbox *)waitq)->q, doorbell);
}

size_t mailbox_usual_bytes (const struct account *a) {
  return account_limit(a) == SIZE_MAX ? BYTES_USUAL : BYTES_BOUNDED;
}

static void read_limits (lua_State *L, struct queue_limits *l) {
  l->messages = (uint64_t)options_integer(L, 1, "capacity", 1024, 1,
                                          1 << 30);
  l->bytes = (uint64_t)options_integer(L, 1, "bytes",
    (lua_Integer)mailbox_usual_bytes(state_of(L)->account), 256, 1 << 30);
  l->fds = (uint64_t)options_integer(L, 1, "fds", 16, 0, 1 << 16);
}

static void open_mailbox (struct state *s, struct mailbox *m) {
  pressure_hold(&s->pressure, MEMORY, 0);
  m->waitq.what = "to receive from a mailbox";
  m->waitq.describe = describe_mailbox;
  m->waitq.fd = -1;
  m->waitq.rung = true;
  m->waitq.own_doorbells = mailbox_own_doorbells;
  m->q->reader = m;
  atomic_store(&m->q->reader_state, s);
  m->q->woken = mailbox_woken;
  object_waitq_open(s, &m->waitq);
}

void mailbox_push (lua_State *L, struct queue *q) {
  struct mailbox *m = class_new(L, CLASS_MAILBOX, sizeof(*m), MAILBOX_EVENT);
  refblock_retain(&q->block);
  m->q = q;
  open_mailbox(state_of(L), m);
}

/* Charge all that the mailbox may hold now, for posts must never fail for the
** limit of its reader. */
static bool charge (struct mailbox *m, struct account *a, size_t bytes) {
  if (!account_charge(a, bytes))
    return false;
  m->account = a;
  m->charged = bytes;
  return true;
}

static void refund (struct mailbox *m) {
  account_refund(m->account, m->charged);
  m->account = NULL;
}

/* Closed, it has no messages, or keeps none any more. */
void mailbox_end_load (struct state *s, struct mailbox *m) {
  count_load(s, m, 0, 0);
  refund(m);
}

/* uring.mailbox{ name =, capacity =, bytes =, fds = } */
int mailbox_new (lua_State *L) {
  static const char *const names[] = { "name", "capacity", "bytes", "fds",
                                       NULL };
  struct queue_limits limits;
  struct mailbox *m;
  int rc;
  pressure_tell(L, MEMORY, 0);
  lua_settop(L, 1);
  options_open(L, 1, names);
  read_limits(L, &limits);
  realm_option(L, 1);
  pressure_make_room(L, limits.bytes);
  m = class_new(L, CLASS_MAILBOX, sizeof(*m), MAILBOX_EVENT);
  if (!charge(m, state_of(L)->account, limits.bytes))
    return fail(L, ENOMEM, "uring.mailbox: %llu bytes, and all of them count"
                "%s", (unsigned long long)limits.bytes, state_memory_note(L));
  if ((m->q = queue_new(&limits)) == NULL)
    return luaL_error(L, "not enough memory for a mailbox");
  m->q->made_in = state_of(L);
  queue_own(m->q, m->q->made_in);
  open_mailbox(state_of(L), m);
  if (!lua_isnil(L, 2) && (rc = realm_add(L, 2, m->q)) > 0)
    return rc;
  return 1;
}

/* Close it, once: how many messages were not delivered; they are kept, or
** disposed of. */
static uint64_t close_mailbox (lua_State *L, struct mailbox *m, bool keep) {
  struct state *s = state_of(L);
  uint64_t undelivered;
  if (m->q == NULL)
    return 0;
  if (!keep) mailbox_end_load(s, m);
  if (m->closed)
    return queue_close(m->q, keep);
  m->closed = true;
  pressure_drop(&s->pressure, MEMORY, 0);
  name_remove(m->q);  /* guard: first; found now, it gives EPIPE */
  undelivered = queue_close(m->q, keep);
  if (undelivered == 0) mailbox_end_load(s, m);
  turnq_wake_all(s->loop, &m->waitq.q);
  return undelivered;
}

/* mailbox:close(keep): true, undelivered */
static int mailbox_close (lua_State *L) {
  struct mailbox *m = mailbox_check(L);
  uint64_t undelivered;
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TBOOLEAN);
  undelivered = close_mailbox(L, m, lua_toboolean(L, 2));
  lua_pushboolean(L, 1);
  lua_pushinteger(L, (lua_Integer)undelivered);
  return 2;
}

static int mailbox_scope_end (lua_State *L) {
  close_mailbox(L, mailbox_check(L), false);
  return 0;
}

static int mailbox_gc (lua_State *L) {
  struct mailbox *m = class_check(L, 1, CLASS_MAILBOX);
  if (m->q == NULL) {
    refund(m);
    return 0;
  }
  pressure_collected(&state_of(L)->pressure,
                     m->bytes + (m->closed ? 0 : MEMORY), m->fds);
  object_waitq_close(&m->waitq);
  close_mailbox(L, m, false);
  m->q->reader = NULL;
  queue_disown(m->q, state_of(L));
  refblock_release(&m->q->block);
  m->q = NULL;
  return 0;
}

/* mailbox:address() */
static int mailbox_address (lua_State *L) {
  struct mailbox *m = mailbox_check_open(L);
  struct mail_address *a = mail_address_new(L);
  if (m->closed)
    return luaL_argerror(L, 1, "attempt to use a closed mailbox");
  refblock_retain(&m->q->block);
  mail_address_set(a, m->q);
  return 1;
}

static int internal_address_of (lua_State *L) {
  struct mail_address *a;
  struct queue *q;
  lua_settop(L, 1);
  a = mail_address_new(L);
  if (!mailbox_at(L, state_of(L), 1, &q)) {  /* (as it is now) */
    const struct mail_address *other = mail_address_at(L, state_of(L), 1);
    q = other ? other->q : NULL;
  }
  if (q == NULL)
    return 0;
  refblock_retain(&q->block);
  mail_address_set(a, q);
  return 1;
}

/* check_open_mailbox(mailbox): raises if it is not */
static int internal_check_open (lua_State *L) {
  mailbox_check_open(L);
  return 0;
}

/* The methods of a class, for call.lua to add to. */
static void give_methods (lua_State *L, enum class c, const char *name) {
  int functions = lua_gettop(L);
  class_push_methods(L, functions - 1, c);
  lua_setfield(L, functions, name);
  lua_settop(L, functions);
}

void mailbox_functions (lua_State *L) {
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, internal_address_of, 1);
  lua_setfield(L, -2, "address_of");
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, internal_check_open, 1);
  lua_setfield(L, -2, "check_open_mailbox");
  give_methods(L, CLASS_MAILBOX, "Mailbox");
}

static void set_count (lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

int mailbox_push_stats (lua_State *L, struct queue *q) {
  struct queue_stats s;
  queue_stats(q, &s);
  lua_createtable(L, 0, 10);
  set_count(L, "accepted", s.accepted.messages);
  set_count(L, "received", s.received);
  set_count(L, "undelivered", s.undelivered);
  set_count(L, "messages", s.queued.messages);
  set_count(L, "bytes", s.queued.bytes);
  set_count(L, "fds", s.queued.fds);
  set_count(L, "high_water", s.most.messages);
  set_count(L, "high_water_bytes", s.most.bytes);
  set_count(L, "senders", s.senders);
  set_count(L, "waiting", s.waiting);
  return 1;
}

/* mailbox:stats() */
static int mailbox_stats (lua_State *L) {
  const struct mailbox *m = mailbox_check(L);
  if (m->q == NULL)  /* guard: a finalizer may have one that was collected */
    return luaL_argerror(L, 1, "attempt to use a closed mailbox");
  return mailbox_push_stats(L, m->q);
}

static int mailbox_tostring (lua_State *L) {
  struct mailbox *m = class_check(L, 1, CLASS_MAILBOX);
  const char *name = m->q && m->q->named ? name_of(m->q) : NULL;
  if (m->closed || m->q == NULL) lua_pushliteral(L, "uring.Mailbox (closed)");
  else if (name) lua_pushfstring(L, "uring.Mailbox ('%s')", name);
  else lua_pushfstring(L, "uring.Mailbox (%p)", (void *)m->q);
  return 1;
}


static const luaL_Reg methods[] = {
  {"address", mailbox_address},
  {"stats", mailbox_stats},
  {"close", mailbox_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__gc", mailbox_gc},
  {"__close", mailbox_scope_end},
  {"__tostring", mailbox_tostring},
  {NULL, NULL}
};

void mailbox_open (lua_State *L) {
  class_define(L, CLASS_MAILBOX, methods, meta, NULL);
}
