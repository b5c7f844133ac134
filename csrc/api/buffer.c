/*
** buffer: the class uring.Buffer, and byte arguments. Memory in flight must
** not be replaced: close and resize check that no operation holds it.
*/

#include "api/buffer.h"

#include "base/names.h"
#include "ring/buf_group.h"
#include "ring/ring.h"
#include "ring/ring_buffers.h"
#include "lua/args.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SIZE  ((lua_Integer)1 << 40)
#define MAX_ALIGN  ((lua_Integer)1 << 20)


static struct memory *new_memory (lua_State *L, size_t size,
                                  const void *from, uint32_t align) {
  struct memory *m = memory_aligned(state_of(L)->account, size, from, align);
  if (m == NULL)
    luaL_error(L, "not enough memory for a buffer of %I bytes%s",
               (LUAI_UACINT)size, state_memory_note(L));
  return m;
}

void buffer_set (lua_State *L, struct buffer *b, struct memory *m) {
  struct pressure *p = &state_of(L)->pressure;
  pressure_drop(p, b->counted, 0);  /* (its memory may be another thread's) */
  b->m = m;
  b->counted = m ? m->size : 0;
  pressure_hold(p, b->counted, 0);
}

/* Memory has an alignment of 16 anyhow: that is 0. */
static uint32_t arg_align (lua_State *L, int arg) {
  lua_Integer align = lua_isnoneornil(L, arg) ? 1
                      : arg_integer(L, arg, 1, MAX_ALIGN);
  luaL_argcheck(L, (align & (align - 1)) == 0, arg, "power of two expected");
  return align > 16 ? (uint32_t)align : 0;
}

int buffer_new (lua_State *L) {
  uint32_t align = arg_align(L, 2);
  struct buffer *b;
  const char *s = NULL;
  size_t size;
  if (lua_type(L, 1) == LUA_TSTRING)
    s = lua_tolstring(L, 1, &size);
  else if (lua_type(L, 1) == LUA_TNUMBER)
    size = (size_t)arg_integer(L, 1, 0, MAX_SIZE);
  else
    return luaL_argerror(L, 1, lua_pushfstring(L,
             "size or string expected, got %s", arg_typename(L, 1)));
  pressure_tell(L, size, 0);
  b = class_new(L, CLASS_BUFFER, sizeof(*b), 0);
  buffer_set(L, b, new_memory(L, size, s, align));
  return 1;
}

/* Take back what was lent, if it was given back. */
static void settle (lua_State *L, struct buffer *b) {
  struct buffer_loan *l = b->loan;
  if (l == NULL || l->is == LOAN_OUT)
    return;
  b->loan = NULL;
  b->sent = l->is == LOAN_SENT;
  if (l->m) buffer_set(L, b, l->m);
  l->m = NULL;
  refblock_release(&l->block);
}

/* Raise why the argument, a buffer without bytes, cannot be used. */
static int raise_no_bytes (lua_State *L, int arg, const struct buffer *b) {
  return luaL_argerror(L, arg,
    b->sent ? "this buffer was sent away, in a message"
    : b->loan ? "this buffer is on its way, in a message that waits to be sent"
    : "attempt to use a closed buffer");
}

static struct buffer *open_buffer (lua_State *L, int arg) {
  struct buffer *b = class_check(L, arg, CLASS_BUFFER);
  settle(L, b);
  if (b->m == NULL) raise_no_bytes(L, arg, b);
  return b;
}

struct memory *buffer_check (lua_State *L, int arg) {
  return open_buffer(L, arg)->m;
}

/* Raise, naming the operation that holds the bytes. It is not found if it is
** on a ring of another state. */
static int buffer_held (lua_State *L, const struct memory *m,
                        const char *what) {
  for (struct ring *r = state_of(L)->rings; r; r = r->next) {
    for (struct op *op = NULL; (op = op_each(&r->ops, op)) != NULL; ) {
      for (int i = 0; i < OP_PINS; i++) {
        if (op->pin[i] == &m->block && op->state == OP_FLYING) {
          const char *name = name_op_short(op->opcode);
          int fd = name_op_fd(op->opcode, op->fd);
          if (name == NULL) name = "an operation";
          lua_pushfstring(L, fd < 0 ? "%s" : "%s on fd %d", name, fd);
          return luaL_error(L, "cannot %s a buffer that is in use: %s, in "
                            "flight on ring (fd %d), holds it", what,
                            lua_tostring(L, -1), r->io.ring_fd);
        }
      }
    }
  }
  return luaL_error(L, "cannot %s a buffer that is in use: %d operations "
                    "hold it", what, (int)refblock_flying(
                      (struct refblock *)(uintptr_t)&m->block));
}

static void buffer_release (lua_State *L, struct buffer *b) {
  struct memory *m = b->m;
  buffer_set(L, b, NULL);
  if (m) refblock_release(&m->block);
}

/* Release its bytes, and refuse prepared SQEs that still name them. */
static void buffer_retire (lua_State *L, struct buffer *b) {
  atomic_store(&b->m->block.retired, true);  /* guard: SQEs that name it */
  buffer_release(L, b);
}


/* ---- to another state -------------------------------------------------- */

/* What was lent is the message's; given back, it has no owner. */
static void drop_loan (struct buffer *b) {
  struct buffer_loan *l = b->loan;
  b->loan = NULL;
  if (l) refblock_release(&l->block);
}

const char *buffer_cannot_move (lua_State *L, struct buffer *b) {
  settle(L, b);
  if (b->sent)
    return "a buffer that was sent away";
  if (b->loan)
    return "a buffer that is on its way";
  if (b->m == NULL)
    return "a closed buffer";
  if (refblock_flying(&b->m->block) > 0)  /* guard: the kernel uses it */
    return "a buffer that a request in flight uses";
  for (const struct ring *r = state_of(L)->rings; r; r = r->next)
    if (ring_has_registered(r, &b->m->block))  /* guard: requests may use it */
      return "a buffer that is registered with a ring";
  return NULL;
}

void buffer_sent (lua_State *L, struct buffer *b) {
  buffer_set(L, b, NULL);
  b->sent = true;
}

static void loan_end (struct refblock *block) {
  struct buffer_loan *l = (struct buffer_loan *)block;
  if (l->m) refblock_release(&l->m->block);
  free(l);
}

struct buffer_loan *buffer_loan_new (void) {
  struct buffer_loan *l = calloc(1, sizeof(*l));
  if (l) refblock_init(&l->block, loan_end);
  return l;
}

void buffer_lend (lua_State *L, struct buffer *b, struct buffer_loan *l) {
  buffer_set(L, b, NULL);
  refblock_retain(&l->block);
  b->loan = l;
}

struct buffer *buffer_push (lua_State *L) {
  return class_new(L, CLASS_BUFFER, sizeof(struct buffer), 0);
}

void buffer_adopt (lua_State *L, struct buffer *b, struct memory *m) {
  memory_adopt(m, state_of(L)->account);
  buffer_set(L, b, m);
}


/* ---- methods ----------------------------------------------------------- */

static int buffer_len (lua_State *L) {
  lua_pushinteger(L, (lua_Integer)buffer_check(L, 1)->size);
  return 1;
}

void push_part (lua_State *L, const void *at, size_t size, int arg) {
  lua_Integer n = (lua_Integer)size;
  lua_Integer i = arg_optional(L, arg, 1, LUA_MININTEGER, LUA_MAXINTEGER);
  lua_Integer j = arg_optional(L, arg + 1, -1, LUA_MININTEGER,
                               LUA_MAXINTEGER);
  if (i < 0) i = i < -n ? 1 : n + i + 1;
  else if (i == 0) i = 1;
  if (j > n) j = n;
  else if (j < 0) j = j < -n ? 0 : n + j + 1;
  if (i > j)
    lua_pushliteral(L, "");
  else
    lua_pushlstring(L, (const char *)at + i - 1, (size_t)(j - i + 1));
}

bool bytes_at (lua_State *L, int index, struct bytes *b) {
  struct buffer *buffer;
  struct lease *const *lease;
  if (lua_type(L, index) == LUA_TSTRING) {
    b->block = NULL;
    b->at = (const unsigned char *)lua_tolstring(L, index, &b->size);
    return true;
  }
  buffer = class_test(L, index, CLASS_BUFFER);
  if (buffer) settle(L, buffer);
  if (buffer && buffer->m) {
    struct memory *m = buffer->m;
    *b = (struct bytes){ m->bytes, m->size, &m->block };
    return true;
  }
  lease = buffer ? NULL : class_test(L, index, CLASS_LEASE);
  if (lease && *lease) {
    *b = (struct bytes){ (*lease)->piece.data, (*lease)->piece.size,
                         &(*lease)->block };
    return true;
  }
  return false;
}

struct bytes arg_bytes (lua_State *L, int index, int arg) {
  struct bytes b = { NULL, 0, NULL };
  const struct buffer *buffer;
  if (bytes_at(L, index, &b))
    return b;
  if ((buffer = class_test(L, index, CLASS_BUFFER)) != NULL)
    raise_no_bytes(L, arg, buffer);
  if (class_test(L, index, CLASS_LEASE))
    luaL_argerror(L, arg, "attempt to use a lease that was released");
  luaL_argerror(L, arg, lua_pushfstring(L,
    "string, buffer or lease expected, got %s", arg_typename(L, index)));
  return b;
}

/* buffer:string([i [, j]]): as string.sub, from i to j, which count from 1 or
** from the end. */
static int buffer_string (lua_State *L) {
  struct memory *m = buffer_check(L, 1);
  push_part(L, m->bytes, m->size, 2);
  return 1;
}

/* buffer:write(offset, s): write a whole string at `offset`, from 0 on. */
static int buffer_write (lua_State *L) {
  struct memory *m = buffer_check(L, 1);
  size_t len;
  lua_Integer at = arg_integer(L, 2, 0, (lua_Integer)m->size);
  const char *s;
  luaL_checktype(L, 3, LUA_TSTRING);
  s = lua_tolstring(L, 3, &len);
  if (len > m->size - (size_t)at)
    return luaL_argerror(L, 3, lua_pushfstring(L,
             "%I bytes do not fit at offset %I of a buffer of %I bytes",
             (LUAI_UACINT)len, (LUAI_UACINT)at, (LUAI_UACINT)m->size));
  memcpy(m->bytes + at, s, len);
  lua_settop(L, 1);
  return 1;
}

/* buffer:resize(n): new memory, with as much of the old content as fits. */
static int buffer_resize (lua_State *L) {
  struct buffer *b;
  size_t size;
  struct memory *m;
  open_buffer(L, 1);
  size = (size_t)arg_integer(L, 2, 0, MAX_SIZE);
  pressure_tell(L, size, 0);
  b = open_buffer(L, 1);  /* (a finalizer may have closed it) */
  if (refblock_flying(&b->m->block) > 0)  /* guard: the kernel uses it */
    return buffer_held(L, b->m, "resize");
  m = new_memory(L, size, NULL, b->m->align);
  memcpy(m->bytes, b->m->bytes, size < b->m->size ? size : b->m->size);
  buffer_retire(L, b);
  buffer_set(L, b, m);
  lua_settop(L, 1);
  return 1;
}

static int buffer_close (lua_State *L) {
  struct buffer *b = class_check(L, 1, CLASS_BUFFER);
  settle(L, b);
  if (b->loan) raise_no_bytes(L, 1, b);
  if (b->m) {
    if (refblock_flying(&b->m->block) > 0)  /* guard: the kernel uses it */
      return buffer_held(L, b->m, "close");
    buffer_retire(L, b);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* __close: release the bytes; an operation in flight keeps them. */
static int buffer_scope_end (lua_State *L) {
  struct buffer *b = class_check(L, 1, CLASS_BUFFER);
  settle(L, b);
  if (b->m) buffer_retire(L, b);
  drop_loan(b);
  return 0;
}

/* Collection is not a close: prepared SQEs that count the bytes stay valid. */
static int buffer_gc (lua_State *L) {
  struct buffer *b = class_check(L, 1, CLASS_BUFFER);
  settle(L, b);
  if (b->m) pressure_collected(&state_of(L)->pressure, b->m->size, 0);
  buffer_release(L, b);
  drop_loan(b);
  return 0;
}

static int buffer_tostring (lua_State *L) {
  struct buffer *b = class_check(L, 1, CLASS_BUFFER);
  settle(L, b);
  if (b->m)
    lua_pushfstring(L, "uring.Buffer (%I bytes)", (LUAI_UACINT)b->m->size);
  else if (b->loan) lua_pushliteral(L, "uring.Buffer (on its way)");
  else
    lua_pushfstring(L, "uring.Buffer (%s)", b->sent ? "sent away" : "closed");
  return 1;
}


static const luaL_Reg methods[] = {
  {"string", buffer_string},
  {"write", buffer_write},
  {"resize", buffer_resize},
  {"close", buffer_close},
  {NULL, NULL}
};

static const luaL_Reg meta[] = {
  {"__len", buffer_len},
  {"__gc", buffer_gc},
  {"__close", buffer_scope_end},
  {"__tostring", buffer_tostring},
  {NULL, NULL}
};

void buffer_open (lua_State *L) {
  class_define(L, CLASS_BUFFER, methods, meta, NULL);
}
