/*
** encode_table: see the header. There is a `level` for each table that the
** walk is inside of. A table's header is filled in when the walk leaves it:
** only then is it known how many items and pairs there are.
**
** What must not break: no recursion, for the depth of tables is the program's;
** and nothing allocates in Lua but stack.
*/

#include "compat.h"
#include "worker/encode_table.h"

#include "worker/path.h"

#include <errno.h>
#include <stdlib.h>


static bool takes_tables (const struct encoder *c) {
  return (c->kinds & 1u << MESSAGE_TABLE) != 0;
}

static struct level *innermost (struct encoder *c) {
  return &c->levels[c->depth - 1];
}

static bool grow_levels (struct encoder *c) {
  unsigned room = c->levels_room * 2;
  bool few = c->levels == c->few;
  struct level *p = realloc(few ? NULL : c->levels, room * sizeof(*p));
  if (p == NULL)
    return encode_plain_stop(c, ENOMEM);
  if (few) memcpy(p, c->few, c->depth * sizeof(*p));
  c->levels = p;
  c->levels_room = room;
  return true;
}

/* Are the keys of the table at `index` 1 to `n`? */
static bool is_array (lua_State *L, int index, lua_Integer n) {
  lua_Integer found = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    lua_pop(L, 1);
    if (i < 1 || i > n) {
      lua_pop(L, 1);
      return false;
    }
    found++;
  }
  return found == n;
}

/* The reader takes arrays alone. */
static bool check_is_array (struct encoder *c, struct level *l) {
  l->by_index = true;
  l->most = (lua_Integer)lua_rawlen(c->L, l->table);
  if (c->depth == MESSAGE_LEVELS)
    return encode_plain_unwanted(c, "arrays in arrays more than 8 deep");
  return is_array(c->L, l->table, l->most)
         || encode_plain_unwanted(c, "a table whose keys are not 1 to n");
}

/* The walk enters the table on top of the stack, for the first time. */
static bool enter (struct encoder *c) {
  lua_State *L = c->L;
  int index = lua_gettop(L);
  struct level *l;
  if (!lua_checkstack(L, 2 * ENCODE_TABLE_SLOTS))  /* (and for an error) */
    return encode_plain_refuse(c, "a table in more tables than Lua's stack "
                               "has room for");
  if (c->depth == c->levels_room && !grow_levels(c))
    return false;
  if (!encode_plain_cell(c, MESSAGE_ARRAY, 0))
    return false;
  l = &c->levels[c->depth];
  *l = (struct level){ .header = c->n - 1, .table = index };
  if (!takes_tables(c) && !check_is_array(c, l))
    return false;
  if (++c->depth > MESSAGE_DEEP) c->flags |= MESSAGE_GRAPH;
  c->flags |= MESSAGE_BUILDS;
  lua_pushnil(L);
  return true;
}

/* The table on top of the stack. Then it is no more there, or the walk is
** inside of it. */
static bool put_table (struct encoder *c) {
  lua_State *L = c->L;
  const void *table = lua_topointer(L, -1);
  uint32_t number;
  if (lua_getmetatable(L, -1))
    return encode_plain_refuse(c, "a table with a metatable");
  if (takes_tables(c)) {
    if (seen_find(&c->seen, table, &number)) {
      lua_settop(L, -2);
      c->flags |= MESSAGE_GRAPH;
      return encode_plain_cell(c, MESSAGE_SHARED, number);
    }
    if (!seen_add(&c->seen, table))
      return encode_plain_stop(c, ENOMEM);
  }
  return enter(c);
}

/* All of it was sent. */
static void leave (struct encoder *c) {
  const struct level *l = innermost(c);
  c->cells[l->header] = l->pairs == 0
    ? message_cell(MESSAGE_ARRAY, (uint64_t)l->items)
    : message_cell(MESSAGE_TABLE, message_table((uint64_t)l->items,
                                                (uint64_t)l->pairs));
  lua_settop(c->L, l->table - 1);
  c->depth--;
}

/* Push the key (or nil) and the value of the next item or pair; false: there
** is none. Items are those with the keys 1, 2, 3... as long as `next` gives
** them in this order. */
static bool push_next (lua_State *L, struct level *l) {
  if (l->by_index) {
    if (l->items == l->most)
      return false;
    lua_rawgeti(L, l->table, ++l->items);
    return true;
  }
  if (!lua_next(L, l->table))
    return false;
  if (!l->in_pairs && lua_isinteger(L, -2)) {
    lua_Integer n;
    if (lua_tointeger(L, -2) == l->items + 1) {
      l->items++;
      return true;
    }
    n = (lua_Integer)lua_rawlen(L, l->table);
    if (is_array(L, l->table, n)) {  /* (whose items are in disorder) */
      l->by_index = true;
      l->most = n;
      lua_settop(L, l->table);
      lua_pushnil(L);
      return push_next(L, l);
    }
  }
  l->in_pairs = true;
  l->pairs++;
  return true;
}

/* Send the key below the top of the stack; if it is a table it is entered. */
static bool put_key (struct encoder *c, struct level *l) {
  int type = lua_type(c->L, l->table + 1);
  if (type == LUA_TTABLE) {
    l->key_sent = true;
    lua_pushvalue(c->L, -2);
    return put_table(c);
  }
  c->is_key = true;
  if (!encode_plain_value(c, l->table + 1, type))
    return false;
  c->is_key = false;
  return true;
}

/* Send the value on top of the stack, and remove it. */
static bool put_item (struct encoder *c) {
  lua_State *L = c->L;
  int type = lua_type(L, -1);
  if (type == LUA_TTABLE)
    return put_table(c);
  if (!encode_plain_value(c, lua_gettop(L), type))
    return false;
  lua_settop(L, -2);
  return true;
}

/* Send the next item or pair of the innermost table; of a pair whose key is
** a table, the key or the value. */
static bool put_next (struct encoder *c) {
  struct level *l = innermost(c);
  if (l->key_sent) {
    l->key_sent = false;
    return put_item(c);
  }
  if (!push_next(c->L, l)) {
    leave(c);
    return true;
  }
  if (l->in_pairs) {
    bool is_table = lua_type(c->L, -2) == LUA_TTABLE;
    if (!put_key(c, l))
      return false;
    if (is_table)
      return true;  /* (the levels may have moved) */
  }
  return put_item(c);
}

bool encode_table_value (struct encoder *c, int index) {
  int type = lua_type(c->L, index);
  if (type != LUA_TTABLE)
    return encode_plain_value(c, index, type);
  lua_pushvalue(c->L, index);
  if (!put_table(c))
    return false;
  while (c->depth > 0)
    if (!put_next(c))
      return false;
  return true;
}


/* The path of all levels; of many the first and the last ones. */
void encode_table_path (struct encoder *c) {
  unsigned depth = c->is_key ? c->depth - 1 : c->depth;
  char *to = c->path, *end = to + sizeof(c->path);
  for (unsigned i = 0; i < depth; i++) {
    char step[40];
    size_t len;
    if (depth > 5 && i == 2) {
      i = depth - 2;
      to = stpcpy(to, "...");
    }
    path_step(c->L, c->levels[i].in_pairs ? c->levels[i].table + 1 : 0,
              c->levels[i].items, step, sizeof(step));
    len = strlen(step);
    if (len >= (size_t)(end - to)) break;
    memcpy(to, step, len + 1);
    to += len;
  }
}
