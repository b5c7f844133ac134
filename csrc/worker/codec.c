/*
** codec: walks over values, and over cells. What an encoder has allocated is
** freed before it raises.
*/

#include "compat.h"
#include "worker/codec.h"

#include "api/buf_ring.h"
#include "api/fd.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER_CELLS (sizeof(struct message) / sizeof(uint64_t))
#define SLOTS 4            /* of the stack, for each level */


/* ---- to a message ------------------------------------------------------ */

struct encoder {
  lua_State *L;
  struct encoded *e;
  uint64_t *cells;         /* with the header */
  size_t n, capacity;          /* in cells */
  uint64_t cost, most;
  uint32_t kinds;          /* that the reader takes */
  int err;                 /* ENOMEM, EMSGSIZE; EINVAL: it cannot travel */
  int depth;               /* of the path to what cannot */
  lua_Integer path[MESSAGE_LEVELS];
  const char *why;         /* and why not; NULL: it is of a `type` */
  const char *type;
  const char *field;       /* the key of a field */
  bool unwanted;           /* it is the reader that does not take it */
};

static bool stop (struct encoder *c, int err) {
  c->err = err;
  return false;
}

static bool refuse (struct encoder *c, const char *type, const char *why) {
  c->type = type;
  c->why = why;
  return stop(c, EINVAL);
}

/* Does the reader take this kind? */
static bool check_kind (struct encoder *c, enum message_kind kind) {
  static const char *const why[] = {
    "nil", "a boolean", "a boolean", "an integer", "a float", "a string",
    "a descriptor", "an array"
  };
  if (c->kinds & 1u << kind)
    return true;
  c->unwanted = true;
  return refuse(c, NULL, why[kind]);
}

static bool is_small (const struct encoder *c) {
  return c->cells == c->e->small;
}

static bool grow (struct encoder *c, size_t more) {
  size_t twice = c->capacity * 2, needed = c->n + more;
  size_t capacity = twice > needed ? twice : needed;
  uint64_t *p = realloc(is_small(c) ? NULL : c->cells, capacity * 8);
  if (p == NULL)
    return stop(c, ENOMEM);
  if (is_small(c)) memcpy(p, c->cells, c->n * 8);
  c->cells = p;
  c->capacity = capacity;
  return true;
}

/* Room for so many cells, of a value that counts `bytes` beside itself. */
static bool reserve (struct encoder *c, enum message_kind kind, size_t cells,
                     size_t bytes) {
  if (!check_kind(c, kind))
    return false;
  c->cost += MESSAGE_COST_OF_VALUE + ((uint64_t)bytes + 7) / 8 * 8;
  if (bytes > c->most || c->cost > c->most)
    return stop(c, EMSGSIZE);
  return c->n + cells <= c->capacity || grow(c, cells);
}

static bool put_cell (struct encoder *c, enum message_kind kind, uint64_t n) {
  if (!reserve(c, kind, 1, 0))
    return false;
  c->cells[c->n++] = message_cell(kind, n);
  return true;
}

static bool put_number (struct encoder *c, enum message_kind kind,
                        const void *value) {
  if (!reserve(c, kind, 2, 0))
    return false;
  c->cells[c->n] = message_cell(kind, 0);
  memcpy(&c->cells[c->n + 1], value, 8);
  c->n += 2;
  return true;
}

static bool put_string (struct encoder *c, int index) {
  size_t len, cells;
  const char *s = lua_tolstring(c->L, index, &len);
  cells = (size_t)message_string_cells(len);
  if (!reserve(c, MESSAGE_STRING, 1 + cells, len))
    return false;
  c->cells[c->n] = message_cell(MESSAGE_STRING, len);
  c->cells[c->n + cells] = 0;  /* (what the bytes do not fill) */
  memcpy(&c->cells[c->n + 1], s, len);
  c->n += 1 + cells;
  return true;
}

static bool put_fd (struct encoder *c, struct fd *f) {
  struct encoded *e = c->e;
  if (f->d == NULL || handle_closed(f->d))
    return refuse(c, NULL, "a closed descriptor");
  for (unsigned i = 0; i < e->nfds; i++)
    if (e->fds[i] == f->d)
      return refuse(c, NULL, "the same descriptor twice");
  if (e->nfds == CODEC_FDS)
    return refuse(c, NULL, "more than 64 descriptors");
  e->fds[e->nfds++] = f->d;
  return put_cell(c, MESSAGE_FD, (uint64_t)handle_number(f->d));
}

static bool put_value (struct encoder *c, int index, int level);

/* Has the table other keys than 1 to n? The first of them is named. */
static bool check_is_array (struct encoder *c, int index, lua_Integer n) {
  lua_Integer found = 0;
  lua_pushnil(c->L);
  while (lua_next(c->L, index)) {
    lua_Integer i = lua_isinteger(c->L, -2) ? lua_tointeger(c->L, -2) : 0;
    lua_pop(c->L, 1);
    if (i < 1 || i > n) {
      if (lua_type(c->L, -1) == LUA_TSTRING)
        c->field = lua_tostring(c->L, -1);  /* (the table has it) */
      lua_pop(c->L, 1);
      return refuse(c, NULL, "a field: only arrays can be sent, tables with "
                    "the keys 1 to n");
    }
    found++;
  }
  return found == n || refuse(c, NULL, "an array with holes");
}

static bool put_array (struct encoder *c, int index, int level) {
  lua_Integer n = (lua_Integer)lua_rawlen(c->L, index);
  if (lua_getmetatable(c->L, index)) {
    lua_pop(c->L, 1);
    return refuse(c, NULL, "a table with a metatable");
  }
  if (level == MESSAGE_LEVELS)
    return refuse(c, NULL, "arrays in arrays, more than 8 deep");
  if (!check_is_array(c, index, n)
      || !put_cell(c, MESSAGE_ARRAY, (uint64_t)n))
    return false;
  for (lua_Integer i = 1; i <= n; i++) {
    bool ok;
    lua_rawgeti(c->L, index, i);
    c->path[level] = i;
    c->depth = level + 1;
    ok = put_value(c, lua_gettop(c->L), level + 1);
    lua_pop(c->L, 1);
    if (!ok)
      return false;
  }
  c->depth = level;
  return true;
}

static bool put_value (struct encoder *c, int index, int level) {
  lua_State *L = c->L;
  struct fd *f;
  lua_Integer i;
  lua_Number d;
  switch (lua_type(L, index)) {
    case LUA_TNIL: return put_cell(c, MESSAGE_NIL, 0);
    case LUA_TBOOLEAN:
      return put_cell(c, lua_toboolean(L, index) ? MESSAGE_TRUE
                                                 : MESSAGE_FALSE, 0);
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) {
        i = lua_tointeger(L, index);
        return put_number(c, MESSAGE_INTEGER, &i);
      }
      d = lua_tonumber(L, index);
      return put_number(c, MESSAGE_NUMBER, &d);
    case LUA_TSTRING: return put_string(c, index);
    case LUA_TTABLE: return put_array(c, index, level);
    case LUA_TUSERDATA:
      f = class_at(L, state_of(L), index, CLASS_FD);
      return f ? put_fd(c, f) : refuse(c, "userdata", NULL);
    default: return refuse(c, luaL_typename(L, index), NULL);
  }
}

/* Raise why the argument cannot travel. */
static int raise_refused (const struct encoder *c, int arg) {
  lua_State *L = c->L;
  int n = 1;
  luaL_checkstack(L, MESSAGE_LEVELS + 4, NULL);
  lua_pushliteral(L, "cannot send ");
  for (int i = 0; i < c->depth; i++, n++)
    lua_pushfstring(L, "[%I]", (LUAI_UACINT)c->path[i]);
  if (c->field) {
    lua_pushfstring(L, ".%s", c->field);
    n++;
  }
  if (n > 1) {
    lua_pushliteral(L, ": ");
    n++;
  }
  if (c->unwanted)
    lua_pushfstring(L, "%s, which the reader of this mailbox does not take",
                    c->why);
  else if (c->why) lua_pushstring(L, c->why);
  else lua_pushfstring(L, "a %s", c->type);
  lua_concat(L, n + 1);
  return luaL_argerror(L, arg, lua_tostring(L, -1));
}

/* What the message counts is in its header. */
static void finish (struct encoder *c, int n) {
  struct message *m = (struct message *)(void *)c->cells;
  m->size = (uint32_t)(c->n * 8);
  m->fds = (uint16_t)c->e->nfds;
  m->n = (uint8_t)n;
  m->flags = 0;
  m->cost = c->cost;
  for (size_t i = HEADER_CELLS; i < c->n; i += message_cells(c->cells[i]))
    if (message_kind(c->cells[i]) >= MESSAGE_STRING)
      m->flags = MESSAGE_BUILDS;
  c->e->message = m;
}

int codec_encode (lua_State *L, int first, int last, const struct queue *q,
                  struct encoded *e) {
  struct encoder c = { .L = L, .e = e, .cells = e->small, .n = HEADER_CELLS,
                       .capacity = HEADER_CELLS + CODEC_CELLS,
                       .cost = MESSAGE_COST, .most = q->limits.bytes,
                       .kinds = q->kinds };
  int top = lua_gettop(L);
  e->message = NULL;
  e->nfds = 0;
  if (last < first || lua_isnil(L, first))
    return luaL_argerror(L, first, "the first value of a message must not be "
                         "nil");
  if (last - first + 1 > MESSAGE_VALUES)
    return luaL_argerror(L, first + MESSAGE_VALUES, "a message has at most "
                         "255 values");
  luaL_checkstack(L, (MESSAGE_LEVELS + 1) * SLOTS, NULL);
  for (int i = first; i <= last; i++) {
    c.depth = 0;
    if (!put_value(&c, i, 0)) {
      lua_settop(L, top);
      if (!is_small(&c)) free(c.cells);
      return c.err == EINVAL ? raise_refused(&c, i) : -c.err;
    }
  }
  finish(&c, last - first + 1);
  return 0;
}

static bool in_small (const struct encoded *e) {
  return (const void *)e->message == (const void *)e->small;
}

void codec_free (struct encoded *e) {
  if (!in_small(e)) free(e->message);
  e->message = NULL;
}

struct message *codec_keep (struct encoded *e) {
  struct message *m = e->message;
  if (in_small(e)) {
    m = malloc(m->size);
    if (m) memcpy(m, e->message, e->message->size);
  }
  return m;
}


/* ---- from a message ---------------------------------------------------- */

struct decoder {
  lua_State *L;
  const uint64_t *cell;
  int fds;                 /* where the next one is kept */
  int leases;              /* ... and a table of those of the blocks */
  lua_Integer nleases;
};

static void push_value (struct decoder *d);

static void push_array (struct decoder *d, uint64_t n) {
  luaL_checkstack(d->L, SLOTS, NULL);
  lua_createtable(d->L, (int)n, 0);
  for (uint64_t i = 1; i <= n; i++) {
    push_value(d);
    lua_rawseti(d->L, -2, (lua_Integer)i);
  }
}

/* A descriptor's object, without a number: that is the last thing to do. */
static void push_empty_fd (struct decoder *d) {
  fd_push(d->L);
  lua_pushvalue(d->L, -1);
  lua_replace(d->L, d->fds++);
}

/* A block's lease, as yet of no bytes. */
static void push_empty_lease (struct decoder *d) {
  lua_State *L = d->L;
  struct lease **own = lease_push(L), *lease = lease_alloc();
  if (lease == NULL)
    luaL_error(L, "not enough memory for a lease");
  lease_fill_empty(lease);
  lease_set(L, own, lease);
  lua_pushvalue(L, -1);
  lua_rawseti(L, d->leases, ++d->nleases);
}

static void push_value (struct decoder *d) {
  lua_State *L = d->L;
  uint64_t cell = *d->cell, n = message_count(cell);
  const uint64_t *value = d->cell + 1;
  lua_Integer i;
  lua_Number number;
  d->cell += message_cells(cell);
  switch (message_kind(cell)) {
    case MESSAGE_FALSE: lua_pushboolean(L, 0); break;
    case MESSAGE_TRUE: lua_pushboolean(L, 1); break;
    case MESSAGE_INTEGER:
      memcpy(&i, value, 8);
      lua_pushinteger(L, i);
      break;
    case MESSAGE_NUMBER:
      memcpy(&number, value, 8);
      lua_pushnumber(L, number);
      break;
    case MESSAGE_STRING:
      lua_pushlstring(L, (const char *)value, (size_t)n);
      break;
    case MESSAGE_FD: push_empty_fd(d); break;
    case MESSAGE_ARRAY: push_array(d, n); break;
    case MESSAGE_BLOCK: push_empty_lease(d); break;
    default: lua_pushnil(L);
  }
}

/* decode(message): the objects of its descriptors; if it has blocks a table of
** their leases; its values; and then also nil, which is a free slot. */
static int decode (lua_State *L) {
  const struct message *m = lua_touserdata(L, 1);
  struct decoder d = { L, m->cells, 1, m->fds + 1, 0 };
  luaL_checkstack(L, m->fds + m->n + SLOTS, "too many values in a message");
  lua_settop(L, m->fds);
  if (m->flags & MESSAGE_BLOCKS) lua_newtable(L);
  for (int i = 0; i < m->n; i++) push_value(&d);
  if (m->flags & MESSAGE_BLOCKS) lua_pushnil(L);
  return lua_gettop(L);
}

/* Give the objects from `at` on their numbers, in the order of the cells, and
** remove them. */
static void give_fds (lua_State *L, struct message *m, int at) {
  uint64_t *cell = message_next_fd(m, m->cells);
  for (int i = at; cell; i++, cell = message_next_fd(m, cell)) {
    struct fd *f = lua_touserdata(L, i);
    int number = (int)message_count(*cell);
    *cell = message_cell(MESSAGE_NIL, 0);  /* guard: it has one owner */
    handle_own(&state_of(L)->handles, f->d, number);
  }
  for (int i = 0; i < m->fds; i++) lua_remove(L, at);
}

/* Give the leases in the table at `at` their blocks, in the order of the
** cells, and remove the table. */
static void give_blocks (lua_State *L, struct message *m, int at) {
  uint64_t *cell = m->cells;
  lua_Integer i = 0;
  lua_settop(L, -2);  /* (nil: a slot is free) */
  for (; cell < message_end(m); cell += message_cells(*cell))
    if (message_kind(*cell) == MESSAGE_BLOCK) {
      struct message_block b = message_take_block(cell);
      struct lease **own, *lease;
      lua_rawgeti(L, at, ++i);
      own = lua_touserdata(L, -1);
      lease = *own;
      lease_set(L, own, NULL);  /* (its weight changes) */
      lease_set_foreign(lease, b.p, (uint32_t)b.len, b.release, b.ud);
      lease_set(L, own, lease);
      lua_settop(L, -2);
    }
  lua_remove(L, at);
}

int codec_decode (lua_State *L, struct message *m) {
  int top = lua_gettop(L);
  if (!lua_checkstack(L, m->n + SLOTS))
    return CODEC_NO_STACK;
  if (!(m->flags & MESSAGE_BUILDS)) {  /* nothing here allocates */
    struct decoder d = { L, m->cells, 0, 0, 0 };
    for (int i = 0; i < m->n; i++) push_value(&d);
    return m->n;
  }
  state_shared(L, SHARED_DECODE);
  lua_pushlightuserdata(L, m);
  if (lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK)
    return CODEC_FAILED;
  if (m->flags & MESSAGE_BLOCKS) give_blocks(L, m, top + 1 + m->fds);
  if (m->fds > 0) give_fds(L, m, top + 1);
  return m->n;
}

void codec_open (lua_State *L) {
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, decode, 1);
  lua_setiuservalue(L, -2, SHARED_DECODE);
}
