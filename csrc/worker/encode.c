/*
** encode: see the header. It begins and ends the walk over the values, which
** encode_table and encode_plain do. What must not break: what was allocated is
** freed, and what has moved into the message is put back, before it raises.
*/

#include "compat.h"
#include "worker/encode.h"

#include "worker/encode_table.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER_CELLS (sizeof(struct message) / sizeof(uint64_t))
#define FEW 16             /* levels that need no memory */


/* What the message counts is in its header. */
static void finish (struct encoder *c, int n) {
  struct message *m = (struct message *)(void *)c->cells;
  m->size = (uint32_t)(c->n * 8);
  m->fds = (uint16_t)c->e->moved.nfds;
  m->n = (uint8_t)n;
  m->flags = (uint8_t)c->flags;
  m->cost = c->cost;
  c->e->message = m;
}

static bool in_small (const struct encoded *e) {
  return (const void *)e->message == (const void *)e->small;
}

void encode_free (struct encoded *e) {
  if (!in_small(e)) free(e->message);
  e->message = NULL;
}

void encode_withdraw (lua_State *L, struct encoded *e) {
  if (e->message && e->message->flags & MESSAGE_OWNS)
    owned_withdraw(L, &e->moved, e->message);
  encode_free(e);
}

struct message *encode_keep (struct encoded *e) {
  struct message *m = e->message;
  if (in_small(e)) {
    m = malloc(m->size);
    if (m) memcpy(m, e->message, e->message->size);
  }
  return m;
}

/* (Not by an initializer: it would clear the path, too.) */
static void begin_walk (struct encoder *c, lua_State *L,
                        uint64_t most, uint32_t kinds, struct encoded *e) {
  c->L = L;
  c->e = e;
  c->cells = e->small;
  c->n = HEADER_CELLS;
  c->room = HEADER_CELLS + ENCODE_CELLS;
  c->cost = MESSAGE_COST;
  c->most = most;
  c->kinds = kinds;
  c->flags = 0;
  c->unwanted = c->is_key = false;
  c->depth = 0;
  c->levels_room = FEW;
  c->path[0] = 0;
}

/* Raise why the argument cannot travel. */
static int raise_refused (const struct encoder *c, int arg) {
  lua_State *L = c->L;
  return luaL_argerror(L, arg, lua_pushfstring(L, "cannot send %s%s%s%s%s",
    c->path, *c->path ? ": " : "", c->why, c->is_key ? ", as a key" : "",
    c->unwanted ? ", which the reader of this mailbox does not take" : ""));
}

/* Free what is not the message's. */
static void end_walk (struct encoder *c) {
  if (c->levels != c->few) free(c->levels);
  seen_free(&c->seen);
}

/* It failed with the value at `index`. */
static int give_up (struct encoder *c, int index, int top) {
  if (c->err == EINVAL) encode_table_path(c);
  lua_settop(c->L, top);
  end_walk(c);
  finish(c, 1);
  encode_withdraw(c->L, c->e);
  return c->err == EINVAL ? raise_refused(c, index) : -c->err;
}

int encode_within (lua_State *L, int first, int last,
                   const struct queue_limits *most, uint32_t kinds,
                   struct encoded *e) {
  struct level few[FEW];
  const void *few_seen[SEEN_FEW];
  struct encoder c;
  int top = lua_gettop(L);
  e->message = NULL;
  e->moved.nfds = e->moved.nbuffers = e->moved.nsockets = 0;
  if (last < first || lua_isnil(L, first))
    return luaL_argerror(L, first, "the first value of a message must not be "
                         "nil");
  if (last - first + 1 > MESSAGE_VALUES)
    return luaL_argerror(L, first + MESSAGE_VALUES, "a message has at most "
                         "255 values");
  begin_walk(&c, L, most->bytes, kinds, e);
  c.levels = c.few = few;
  seen_init(&c.seen, few_seen);
  for (int i = first; i <= last; i++)
    if (!encode_table_value(&c, i))
      return give_up(&c, i, top);
  end_walk(&c);
  finish(&c, last - first + 1);
  return 0;
}

int encode_values (lua_State *L, int first, int last, const struct queue *q,
                   struct encoded *e) {
  return encode_within(L, first, last, &q->limits, q->kinds, e);
}
