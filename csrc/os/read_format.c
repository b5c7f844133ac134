/*
** read_format: see the header. Each format is a function that finds out how
** many bytes it takes, by a search that goes on where the last one stopped.
** What must not break: a push may run finalizers, which may close the input;
** so the store is changed only after it, and looked at again.
*/

#include "compat.h"
#include "os/read_format.h"

#include "lua/args.h"
#include "lua/errors.h"

#include <ctype.h>
#include <locale.h>        /* for lua_getlocaledecpoint */
#include <string.h>
#include <sys/inotify.h>

#define NUMERAL  200       /* characters of a number, as in Lua's io */


/* ---- arguments --------------------------------------------------------- */

static int bad_format (lua_State *L, int arg) {
  return luaL_argerror(L, arg, lua_pushfstring(L, "format \"l\", \"L\", "
    "\"a\" or \"n\", or a count of bytes expected, got %s",
    lua_type(L, arg) == LUA_TSTRING ? lua_tostring(L, arg)
                                    : arg_typename(L, arg)));
}

/* (An asterisk in front is left out, as by Lua's io.) */
static enum read_kind format_kind (lua_State *L, int arg) {
  size_t n;
  const char *format = lua_tolstring(L, arg, &n);
  if (n == 2 && *format == '*') {
    format++;
    n--;
  }
  if (n == 1) {
    switch (*format) {
      case 'l': return READ_LINE;
      case 'L': return READ_LINE_END;
      case 'a': return READ_ALL;
      case 'n': return READ_NUMBER;
      default: break;
    }
  }
  bad_format(L, arg);
  return READ_LINE;
}

struct read_call arg_format (lua_State *L, int arg, struct input *in) {
  struct read_call c = { READ_LINE, in->line_limit, "\n", 1, 0 };
  switch (lua_type(L, arg)) {
    case LUA_TNONE: case LUA_TNIL: break;
    case LUA_TSTRING:
      c.kind = format_kind(L, arg);
      if (c.kind == READ_ALL) c.n = in->limit;
      break;
    case LUA_TNUMBER:
      c.kind = READ_COUNT;
      c.n = (size_t)arg_integer(L, arg, 0, LUA_MAXINTEGER);
      break;
    default: bad_format(L, arg);
  }
  c.id = store_call(&in->store);
  return c;
}


/* ---- taking ------------------------------------------------------------ */

int read_closed (lua_State *L, const struct input *in) {
  return fail(L, EBADF, "%s is closed", in->name);
}

/* Push the first n bytes, and take them and the next `skip` out, or none. */
static int push_bytes (lua_State *L, struct input *in, size_t n, size_t skip,
                       bool take) {
  in->in_push = true;  /* guard: finalizers may close it meanwhile */
  lua_pushlstring(L, n > 0 ? (const char *)store_at(&in->store) : "", n);
  in->in_push = false;
  if (!in->open) store_free(&in->store);
  else if (take) store_take(&in->store, n + skip);
  return 1;
}

static int take_all (lua_State *L, struct input *in) {
  return push_bytes(L, in, store_size(&in->store), 0, true);
}

/* At the end of data: what is left, or nil. */
static int take_rest (lua_State *L, struct input *in) {
  if (store_size(&in->store) > 0)
    return take_all(L, in);
  lua_pushnil(L);
  return 1;
}

static int too_long (lua_State *L, const struct input *in, const char *what,
                     size_t limit) {
  return fail(L, EMSGSIZE, "read from %s: %s %lld bytes (all stay to be read)",
              in->name, what, (long long)limit);
}

static int take_line (lua_State *L, struct input *in,
                      const struct read_call *c, bool end) {
  size_t most = c->n < SIZE_MAX ? c->n + 1 : SIZE_MAX;
  size_t n = store_find(&in->store, c->id, "\n", 1, most);
  if (n > 0)
    return c->kind == READ_LINE ? push_bytes(L, in, n - 1, 1, true)
                                : push_bytes(L, in, n, 0, true);
  if (store_size(&in->store) > c->n)
    return too_long(L, in, "a line is longer than its limit of", c->n);
  return end ? take_rest(L, in) : 0;
}

static int take_until (lua_State *L, struct input *in,
                       const struct read_call *c, bool end) {
  size_t n = store_find(&in->store, c->id, c->delimiter, c->length, c->n);
  if (n > 0)
    return push_bytes(L, in, n, 0, true);
  if (store_size(&in->store) >= c->n)
    return too_long(L, in, "there is no delimiter within the limit of", c->n);
  if (!end)
    return 0;
  if (store_size(&in->store) > 0)
    return fail(L, ENODATA, "read from %s: it ended before the delimiter (all "
                "bytes stay to be read)", in->name);
  lua_pushnil(L);
  return 1;
}

static int take_whole (lua_State *L, struct input *in,
                       const struct read_call *c, bool end) {
  if (store_size(&in->store) > c->n)
    return too_long(L, in, "there is more than the limit of", c->n);
  return end ? take_all(L, in) : 0;
}

static int take_count (lua_State *L, struct input *in,
                       const struct read_call *c, bool end) {
  bool take = c->kind == READ_COUNT;
  if (c->n > in->limit)
    return too_long(L, in, "the count is larger than the limit of", in->limit);
  if (store_size(&in->store) >= c->n && store_size(&in->store) > 0)
    return push_bytes(L, in, c->n, 0, take);
  if (!end)
    return 0;
  if (store_size(&in->store) > 0)
    return push_bytes(L, in, store_size(&in->store), 0, take);
  lua_pushnil(L);
  return 1;
}

/* A header, which has the size of the name behind it, and that. */
static int take_record (lua_State *L, struct input *in, bool end) {
  struct inotify_event e;
  if (store_size(&in->store) >= sizeof(e)) {
    memcpy(&e, store_at(&in->store), sizeof(e));
    if (store_size(&in->store) - sizeof(e) >= e.len)
      return push_bytes(L, in, sizeof(e) + e.len, 0, true);
  }
  return end ? take_rest(L, in) : 0;
}


/* ---- numbers ----------------------------------------------------------- */

struct numeral {
  const unsigned char *at;
  size_t size;             /* of what is there */
  size_t n;                /* characters of it that were read */
  bool end;
  bool incomplete;         /* more has to arrive */
  bool too_long;           /* one more character would belong to it */
};

/* The next character, or -1. */
static int numeral_peek (struct numeral *c) {
  if (c->n < c->size)
    return c->at[c->n];
  if (!c->end) c->incomplete = true;
  return -1;
}

/* Read the next character, which belongs to it; or there are too many. */
static bool numeral_add (struct numeral *c) {
  c->too_long = c->n >= NUMERAL;
  if (!c->too_long) c->n++;
  return !c->too_long;
}

/* Read the next character if it is one of the set. */
static bool numeral_accept (struct numeral *c, const char *set) {
  int next = numeral_peek(c);
  return next > 0 && strchr(set, next) != NULL && numeral_add(c);
}

static int numeral_digits (struct numeral *c, bool hex) {
  int n = 0;
  for (;;) {
    int next = numeral_peek(c);
    if (next < 0 || !(hex ? isxdigit(next) : isdigit(next))
        || !numeral_add(c))
      return n;
    n++;
  }
}

/* Read as Lua's io does: what may be a number, and no further. */
static void numeral_read (struct numeral *c) {
  const char points[] = { lua_getlocaledecpoint(), '.', '\0' };
  int digits = 0;
  bool hex = false;
  numeral_accept(c, "-+");
  if (numeral_accept(c, "0")) {
    if (numeral_accept(c, "xX")) hex = true;
    else digits = 1;
  }
  digits += numeral_digits(c, hex);
  if (numeral_accept(c, points)) digits += numeral_digits(c, hex);
  if (digits > 0 && numeral_accept(c, hex ? "pP" : "eE")) {
    numeral_accept(c, "-+");
    numeral_digits(c, false);
  }
}

static int take_number (lua_State *L, struct input *in,
                        const struct read_call *c, bool end) {
  size_t size = store_size(&in->store);
  size_t spaces = store_searched(&in->store, c->id);
  char text[NUMERAL + 1];
  struct numeral m = { NULL, 0, 0, end, false, false };
  while (spaces < size && isspace(store_at(&in->store)[spaces])) spaces++;
  store_note(&in->store, c->id, spaces);
  if (spaces < size) m.at = store_at(&in->store) + spaces;
  m.size = size - spaces;
  numeral_read(&m);
  if (m.incomplete && !m.too_long)
    return 0;
  if (m.n > 0) memcpy(text, m.at, m.n);
  text[m.n] = '\0';
  store_take(&in->store, spaces + m.n);
  if (m.too_long || lua_stringtonumber(L, text) == 0)
    lua_pushnil(L);
  return 1;
}

int read_format_take (lua_State *L, struct input *in,
                      const struct read_call *c, bool end) {
  switch (c->kind) {
    case READ_LINE: case READ_LINE_END: return take_line(L, in, c, end);
    case READ_ALL: return take_whole(L, in, c, end);
    case READ_NUMBER: return take_number(L, in, c, end);
    case READ_UNTIL: return take_until(L, in, c, end);
    case READ_RECORD: return take_record(L, in, end);
    default: return take_count(L, in, c, end);
  }
}
