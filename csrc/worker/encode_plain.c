/*
** encode_plain: see the header. For each kind of value it writes the cells,
** adds what they count as, and checks that the reader takes such values. What
** must not break: all that can fail comes before the message owns the value.
*/

#include "compat.h"
#include "worker/encode_plain.h"

#include "base/fork_id.h"
#include "api/fd.h"
#include "api/ref_object.h"
#include "worker/call.h"
#include "worker/mail_address.h"
#include "worker/mailbox.h"

#include <errno.h>
#include <stdlib.h>


bool encode_plain_stop (struct encoder *c, int err) {
  c->err = err;
  return false;
}

bool encode_plain_refuse (struct encoder *c, const char *why) {
  c->why = why;
  return encode_plain_stop(c, EINVAL);
}

bool encode_plain_unwanted (struct encoder *c, const char *why) {
  c->unwanted = true;
  return encode_plain_refuse(c, why);
}


/* ---- cells ------------------------------------------------------------- */

/* Does the reader take this kind? */
static bool check_kind (struct encoder *c, enum message_kind kind) {
  static const char *const why[] = {
    "nil", "a boolean", "a boolean", "an integer", "a float", "a string",
    "a descriptor", "an array", "a table", "a table", "a block", "an address",
    "a reference to a ring", "a buffer", "a call", "a socket"
  };
  return c->kinds & 1u << kind || encode_plain_unwanted(c, why[kind]);
}

static bool grow (struct encoder *c, size_t more) {
  size_t room = c->room * 2 > c->n + more ? c->room * 2 : c->n + more;
  uint64_t *p = realloc(encode_plain_is_small(c) ? NULL : c->cells, room * 8);
  if (p == NULL)
    return encode_plain_stop(c, ENOMEM);
  if (encode_plain_is_small(c)) memcpy(p, c->cells, c->n * 8);
  c->cells = p;
  c->room = room;
  return true;
}

/* Room for so many cells, of a value that counts `bytes` beside itself. */
static bool reserve (struct encoder *c, enum message_kind kind, size_t cells,
                     size_t bytes) {
  if (!check_kind(c, kind))
    return false;
  c->cost += MESSAGE_COST_OF_VALUE + ((uint64_t)bytes + 7) / 8 * 8;
  if (bytes > c->most || c->cost > c->most)
    return encode_plain_stop(c, EMSGSIZE);
  return c->n + cells <= c->room || grow(c, cells);
}

bool encode_plain_cell (struct encoder *c, enum message_kind kind,
                        uint64_t n) {
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
  c->flags |= MESSAGE_BUILDS;
  return true;
}

static bool put_fd (struct encoder *c, struct fd *f) {
  static const char *const away[] = {
    "a closed descriptor", "a descriptor that is on its way",
    "a descriptor that was sent away"
  };
  struct moved *m = &c->e->moved;
  if (f->d == NULL || handle_closed(f->d))
    return encode_plain_refuse(c, away[fd_where(f)]);
  for (unsigned i = 0; i < m->nfds; i++)
    if (m->fds[i] == f->d)
      return encode_plain_refuse(c, "the same descriptor twice");
  if (m->nfds == OWNED_MOST)
    return encode_plain_refuse(c, "more than 64 descriptors");
  m->fds[m->nfds++] = f->d;
  c->flags |= MESSAGE_BUILDS;
  return encode_plain_cell(c, MESSAGE_FD, (uint64_t)handle_number(f->d));
}

/* What the message owns: a count of it was made for that. */
static bool put_block (struct encoder *c, enum message_kind kind,
                       struct message_block b) {
  message_put_block(&c->cells[c->n], kind, &b);
  c->n += 4;
  c->flags |= MESSAGE_BUILDS | MESSAGE_OWNS;
  return true;
}

static bool put_sender (struct encoder *c, struct queue *q) {
  if (q == NULL)
    return encode_plain_refuse(c, "a closed mailbox or address");
  if (q->fork_id != fork_id())
    return encode_plain_refuse(c, "an address of another process");
  return reserve(c, MESSAGE_ADDRESS, 4, 0)
         && put_block(c, MESSAGE_ADDRESS, owned_address(q));
}

static bool put_ring (struct encoder *c, const struct reference *r) {
  if (r->ring == NULL)
    return encode_plain_refuse(c, "a collected reference");
  return reserve(c, MESSAGE_RING, 4, 0)
         && put_block(c, MESSAGE_RING, owned_ring(r->ring));
}

static bool put_buffer (struct encoder *c, struct buffer *b) {
  struct moved *m = &c->e->moved;
  const char *why = buffer_cannot_move(c->L, b);
  if (why)
    return encode_plain_refuse(c, why);
  for (unsigned i = 0; i < m->nbuffers; i++)
    if (m->buffers[i] == b)
      return encode_plain_refuse(c, "the same buffer twice");
  if (m->nbuffers == OWNED_MOST)
    return encode_plain_refuse(c, "more than 64 buffers");
  if (!reserve(c, MESSAGE_BUFFER, 4, b->m->size))
    return false;
  m->buffers[m->nbuffers++] = b;
  buffer_move(b);  /* guard: before the reader has it; SQEs that name it */
  return put_block(c, MESSAGE_BUFFER, owned_buffer(b->m));
}

static bool put_slot (struct encoder *c, struct call *call) {
  if (call == NULL)
    return encode_plain_refuse(c, "a call that is over");
  return reserve(c, MESSAGE_SLOT, 4, 0)
         && put_block(c, MESSAGE_SLOT, call_slot(call));
}

/* A socket that is in the message already has nothing any more. */
static bool put_socket (struct encoder *c, struct socket *s) {
  struct moved *m = &c->e->moved;
  struct parcel *p;
  int rc;
  for (unsigned i = 0; i < m->nsockets; i++)
    if (m->sockets[i] == s)
      return encode_plain_refuse(c, "the same socket twice");
  if (m->nfds == OWNED_MOST)
    return encode_plain_refuse(c, "more than 64 descriptors");
  rc = socket_settle(c->L, s, c->refused);
  if (rc < 0)
    return rc == -EINVAL ? encode_plain_refuse(c, c->refused)
                         : encode_plain_stop(c, -rc);
  if (!reserve(c, MESSAGE_SOCKET, 4, socket_size(s)))
    return false;
  p = socket_pack(s);
  if (p == NULL)
    return encode_plain_stop(c, ENOMEM);
  m->fds[m->nfds++] = s->d;
  m->sockets[m->nsockets++] = s;
  return put_block(c, MESSAGE_SOCKET, owned_socket(p));
}

static bool put_userdata (struct encoder *c, int index) {
  lua_State *L = c->L;
  const struct state *s = state_of(L);
  struct queue *q;
  void *p;
  if ((p = class_at(L, s, index, CLASS_FD)) != NULL)
    return put_fd(c, p);
  if ((p = class_at(L, s, index, CLASS_BUFFER)) != NULL)
    return put_buffer(c, p);
  if ((p = class_at(L, s, index, CLASS_SOCKET)) != NULL)
    return put_socket(c, p);
  if ((p = mail_address_at(L, s, index)) != NULL)
    return put_sender(c, ((struct mail_address *)p)->q);
  if (mailbox_at(L, s, index, &q))
    return put_sender(c, q);
  if ((p = class_at(L, s, index, CLASS_REF)) != NULL)
    return put_ring(c, p);
  if ((p = class_at(L, s, index, CLASS_CALLING)) != NULL)
    return put_slot(c, ((struct call_handle *)p)->call);
  if (class_at(L, s, index, CLASS_RING))
    return encode_plain_refuse(c, "a ring: send ring:ref()");
  if (class_at(L, s, index, CLASS_LEASE))
    return encode_plain_refuse(c, "a lease: send lease:string()");
  if (class_at(L, s, index, CLASS_STREAM))
    return encode_plain_refuse(c, "a stream or a file: only a socket moves "
                               "with what was read ahead");
  return encode_plain_refuse(c, "a userdata");
}

/* Any value but a table. */
bool encode_plain_value (struct encoder *c, int index, int type) {
  lua_State *L = c->L;
  lua_Integer i;
  lua_Number d;
  switch (type) {
    case LUA_TNIL: return encode_plain_cell(c, MESSAGE_NIL, 0);
    case LUA_TBOOLEAN:
      return encode_plain_cell(c, lua_toboolean(L, index) ? MESSAGE_TRUE
                                                 : MESSAGE_FALSE, 0);
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) {
        i = lua_tointeger(L, index);
        return put_number(c, MESSAGE_INTEGER, &i);
      }
      d = lua_tonumber(L, index);
      return put_number(c, MESSAGE_NUMBER, &d);
    case LUA_TSTRING: return put_string(c, index);
    case LUA_TUSERDATA: return put_userdata(c, index);
    case LUA_TFUNCTION: return encode_plain_refuse(c, "a function");
    case LUA_TTHREAD: return encode_plain_refuse(c, "a thread");
    default: return encode_plain_refuse(c, "a light userdata");
  }
}
