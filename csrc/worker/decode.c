/*
** decode: walks over the cells of a message. A new table is first put where it
** belongs, and then filled. While the walk is inside of it, it is on the
** stack. In a message whose tables are shared, or deep, only the innermost
** table is, and a list has them all.
**
** What must not break: the message stays whole until all its values were made;
** only then do descriptors, buffers and sockets get their new owners.
*/

#include "compat.h"
#include "worker/decode.h"

#include "worker/large_string.h"
#include "worker/owned.h"

#include <stdlib.h>

#define SLOTS 6            /* of the stack, for each table */
#define FEW   16           /* places that need no memory */
#define SPARE 4            /* slots that every caller has */

/* A table that the walk is inside of. */
struct place {
  uint32_t items, pairs;   /* so many are left */
  uint32_t next;           /* the key of the next item */
  uint32_t number;
  bool has_key;            /* the key of the next value is on the stack */
  bool is_key;             /* the table itself is a key */
};

struct decoder {
  lua_State *L;
  struct message *m;
  const uint64_t *cell;
  int objects;             /* a list of those of what the message owns */
  lua_Integer nobjects;
  int list;                /* of the tables, by number; 0: none */
  uint32_t tables;
  unsigned depth, room;
  struct place *places, *few;
  struct large_string *large;
};


static bool owns (const struct message *m) {
  return m->fds > 0 || m->flags & MESSAGE_OWNS;
}


/* ---- tables ------------------------------------------------------------ */

static struct place *innermost_place (struct decoder *d) {
  return &d->places[d->depth - 1];
}

static void grow_places (struct decoder *d) {
  unsigned room = d->room * 2;
  bool few = d->places == d->few;
  struct place *p = realloc(few ? NULL : d->places, room * sizeof(*p));
  if (p == NULL)
    luaL_error(d->L, "not enough memory");
  if (few) memcpy(p, d->few, d->depth * sizeof(*p));
  d->places = p;
  d->room = room;
}

/* Is what comes next in this table a key? */
static bool wants_key (const struct place *p) {
  return p->items == 0 && !p->has_key;
}

/* Put the value on top of the stack into the table at `index`, and remove it,
** and its key, which is below it. */
static void put_value (lua_State *L, struct place *p, int index) {
  if (p->items > 0) {
    p->items--;
    lua_rawseti(L, index, ++p->next);
    return;
  }
  p->has_key = false;
  p->pairs--;
  lua_rawset(L, index - 1);
}

/* Push the table, which is one of the list's. */
static void push_listed (struct decoder *d, uint32_t number) {
  lua_rawgeti(d->L, d->list, (lua_Integer)number + 1);
}

/* A value that is no table was pushed: put it where it belongs. */
static void put_plain_value (struct decoder *d) {
  lua_State *L = d->L;
  struct place *p;
  if (d->depth == 0)
    return;
  p = innermost_place(d);
  if (!wants_key(p)) {
    put_value(L, p, -2);
    return;
  }
  if (lua_isnil(L, -1) || !lua_rawequal(L, -1, -1)) {  /* (NaN) */
    lua_pushboolean(L, 0);  /* guard: corrupt, and it would raise for ever */
    lua_replace(L, -2);
  }
  p->has_key = true;
}

/* The table on top of the stack, which is not a key, becomes the value of
** what is below it: [outer, new] is left. */
static void put_table_value (lua_State *L, struct place *p) {
  lua_pushvalue(L, -1);
  if (p->items == 0) lua_insert(L, -3);
  put_value(L, p, -3);
}

/* Make a table, put it where it belongs, and enter it. */
static void enter_table (struct decoder *d, uint64_t items, uint64_t pairs) {
  lua_State *L = d->L;
  struct place *outer;
  bool is_key = d->depth > 0 && wants_key(innermost_place(d));
  luaL_checkstack(L, SLOTS, "too many tables in tables");
  if (d->depth == d->room) grow_places(d);
  lua_createtable(L, (int)items, (int)pairs);
  if (d->list) {
    lua_pushvalue(L, -1);
    lua_rawseti(L, d->list, (lua_Integer)d->tables + 1);
  }
  outer = d->depth > 0 ? innermost_place(d) : NULL;
  if (outer && !is_key) put_table_value(L, outer);
  if (outer && d->list) lua_remove(L, -2);
  d->places[d->depth++] = (struct place){
    (uint32_t)items, (uint32_t)pairs, 0, d->tables++, false, is_key
  };
}

/* The table is whole. What is on the stack then is the outer one, and this
** one if it is a key; or this one, as a value of the message. */
static void leave_table (struct decoder *d) {
  lua_State *L = d->L;
  bool is_key = innermost_place(d)->is_key;
  if (--d->depth == 0)
    return;
  if (d->list) {
    push_listed(d, innermost_place(d)->number);
    if (is_key) lua_insert(L, -2);
    else lua_remove(L, -2);
  }
  else if (!is_key) lua_settop(L, -2);
  if (is_key) innermost_place(d)->has_key = true;
}


/* ---- values ------------------------------------------------------------ */

/* An object for what the message owns; empty: that it is given that is the
** last thing to do. */
static void push_owned (struct decoder *d, const uint64_t *cell) {
  owned_push(d->L, cell);
  lua_pushvalue(d->L, -1);
  lua_rawseti(d->L, d->objects, ++d->nobjects);
}

/* Push the value at this cell, which is neither an array nor a table. */
static void push_plain (struct decoder *d, const uint64_t *cell) {
  lua_State *L = d->L;
  uint64_t n = message_count(*cell);
  lua_Integer i;
  lua_Number number;
  switch (message_kind(*cell)) {
    case MESSAGE_FALSE: lua_pushboolean(L, 0); break;
    case MESSAGE_TRUE: lua_pushboolean(L, 1); break;
    case MESSAGE_INTEGER:
      memcpy(&i, cell + 1, 8);
      lua_pushinteger(L, i);
      break;
    case MESSAGE_NUMBER:
      memcpy(&number, cell + 1, 8);
      lua_pushnumber(L, number);
      break;
    case MESSAGE_STRING:
      if (!large_string_push(L, d->m, (const char *)(cell + 1), (size_t)n,
                             &d->large))
        lua_pushlstring(L, (const char *)(cell + 1), (size_t)n);
      break;
    case MESSAGE_SHARED: push_listed(d, (uint32_t)n); break;
    case MESSAGE_NIL: lua_pushnil(L); break;
    default: push_owned(d, cell);
  }
}

/* Read the next cells; push what they are, or put it where it belongs. */
static void read_next (struct decoder *d) {
  const uint64_t *cell = d->cell;
  d->cell += message_cells(*cell);
  switch (message_kind(*cell)) {
    case MESSAGE_ARRAY: enter_table(d, message_count(*cell), 0); break;
    case MESSAGE_TABLE:
      enter_table(d, message_items(*cell), message_pairs(*cell));
      break;
    default:
      push_plain(d, cell);
      put_plain_value(d);
  }
}

/* Push a value of the message. */
static void push_value (struct decoder *d) {
  read_next(d);
  while (d->depth > 0) {
    const struct place *p = innermost_place(d);
    if (p->items == 0 && p->pairs == 0) leave_table(d);
    else read_next(d);
  }
}

/* decode(decoder): if it owns something a list of the objects; its values; and
** in that case also nil, which is a free slot. */
static int decode (lua_State *L) {
  struct decoder *d = lua_touserdata(L, 1);
  const struct message *m = d->m;
  luaL_checkstack(L, m->n + SLOTS, "too many values in a message");
  lua_settop(L, 0);
  d->L = L;
  if (owns(m)) {
    lua_newtable(L);
    d->objects = 1;
  }
  if (m->flags & MESSAGE_GRAPH) {
    lua_newtable(L);
    d->list = lua_gettop(L);
  }
  for (int i = 0; i < m->n; i++) push_value(d);
  if (d->list) lua_remove(L, d->list);
  if (owns(m)) lua_pushnil(L);
  return lua_gettop(L);
}


/* ---- what it owns ------------------------------------------------------ */

/* Give the objects in the list at `at` what is theirs, in the order of the
** cells, and remove the list. */
static void give_all (lua_State *L, struct message *m, int at) {
  lua_Integer i = 0;
  lua_settop(L, -2);  /* (nil: a slot is free) */
  for (uint64_t *cell = m->cells, *next; cell < message_end(m); cell = next) {
    next = cell + message_cells(*cell);
    if (owned_is(*cell)) {
      lua_rawgeti(L, at, ++i);
      owned_give(L, lua_gettop(L), cell);
      lua_settop(L, -2);
    }
  }
  lua_remove(L, at);
}


/* ---- messages ---------------------------------------------------------- */

/* Push scalars: nothing here allocates. (Others are a corrupt message's.) */
static int decode_scalars (lua_State *L, struct message *m) {
  struct decoder d = { .L = L };
  const uint64_t *cell = m->cells;
  for (int i = 0; i < m->n; i++) {
    if (cell >= message_end(m)  /* (before it is read) */
        || message_kind(*cell) >= MESSAGE_STRING
        || cell + message_cells(*cell) > message_end(m)) lua_pushnil(L);
    else {
      push_plain(&d, cell);
      cell += message_cells(*cell);
    }
  }
  return m->n;
}

int decode_message (lua_State *L, struct message *m) {
  struct place few[FEW];
  struct decoder d = { .m = m, .cell = m->cells, .places = few, .few = few,
                       .room = FEW };
  int top = lua_gettop(L), status;
  bool builds = m->flags & MESSAGE_BUILDS;
  if ((builds || m->n > SPARE) && !lua_checkstack(L, m->n + SLOTS))
    return DECODE_NO_STACK;
  if (!builds)
    return decode_scalars(L, m);
  if (!message_is_sound(m))
    return DECODE_CORRUPT;
  state_shared(L, SHARED_DECODE);
  lua_pushlightuserdata(L, &d);
  status = lua_pcall(L, 1, LUA_MULTRET, 0);
  if (d.places != few) free(d.places);
  large_string_end(d.large, m, status == LUA_OK);
  if (status != LUA_OK)
    return DECODE_FAILED;
  if (owns(m)) give_all(L, m, top + 1);
  return m->n;
}

void decode_open (lua_State *L) {
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, decode, 1);
  lua_setiuservalue(L, -2, SHARED_DECODE);
}
