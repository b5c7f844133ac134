/*
** op_subject: see the header. It finds a request's path or address, and
** describes it. What must not break: it is read from the request's own memory,
** and so only while that is pinned.
*/

#include "compat.h"
#include "api/op_subject.h"

#include "api/msghdr.h"
#include "api/sockaddr.h"


static bool names_path (unsigned opcode) {
  switch (opcode) {
    case IORING_OP_OPENAT: case IORING_OP_OPENAT2: case IORING_OP_STATX:
    case IORING_OP_RENAMEAT: case IORING_OP_UNLINKAT: case IORING_OP_MKDIRAT:
    case IORING_OP_SYMLINKAT: case IORING_OP_LINKAT:
    case IORING_OP_GETXATTR: case IORING_OP_SETXATTR:
      return true;
    default:
      return false;
  }
}

bool op_subject_possible (unsigned opcode) {
  if (names_path(opcode))
    return true;
  switch (opcode) {
    case IORING_OP_CONNECT: case IORING_OP_BIND:
    case IORING_OP_SEND: case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG: case IORING_OP_SENDMSG_ZC:
      return true;
    default:
      return false;
  }
}

static const char *text_at (uint64_t address) {
  return (const char *)(uintptr_t)address;
}

/* Both paths, as they are between the quotes of op_subject_describe. */
static void push_paths (lua_State *L, uint64_t from, uint64_t to) {
  lua_pushfstring(L, "%s' to '%s", text_at(from), text_at(to));
}

static void push_at (lua_State *L, uint64_t address, size_t len) {
  lua_pushlstring(L, (const char *)(uintptr_t)address, len);
}

static void push_name (lua_State *L, const struct msg *m) {
  if (m->name.len > 0)
    lua_pushlstring(L, (const char *)m->name.bytes, m->name.len);
  else
    lua_pushnil(L);
}

void op_subject_push (lua_State *L, const struct request *q) {
  const struct io_uring_sqe *sqe = &q->sqe;
  switch (sqe->opcode) {
    case IORING_OP_OPENAT: case IORING_OP_OPENAT2: case IORING_OP_STATX:
    case IORING_OP_UNLINKAT: case IORING_OP_MKDIRAT:
      lua_pushstring(L, text_at(sqe->addr));
      break;
    case IORING_OP_RENAMEAT: case IORING_OP_SYMLINKAT: case IORING_OP_LINKAT:
      push_paths(L, sqe->addr, sqe->off);
      break;
    case IORING_OP_GETXATTR: case IORING_OP_SETXATTR:
      lua_pushstring(L, text_at(sqe->addr3));
      break;
    case IORING_OP_CONNECT: case IORING_OP_BIND:
      push_at(L, sqe->addr, sqe->off);  /* (`off` is the length) */
      break;
    case IORING_OP_SEND: case IORING_OP_SEND_ZC:
      if (sqe->addr_len > 0) push_at(L, sqe->addr2, sqe->addr_len);
      else lua_pushnil(L);
      break;
    case IORING_OP_SENDMSG: case IORING_OP_SENDMSG_ZC:
      push_name(L, (const struct msg *)q->pin[OP_PIN_MEMORY]);
      break;
    default:
      lua_pushnil(L);
  }
}

const char *op_subject_describe (lua_State *L, unsigned opcode, int index) {
  if (!op_subject_possible(opcode) || lua_type(L, index) != LUA_TSTRING) {
    lua_pushnil(L);
    return NULL;
  }
  if (names_path(opcode))
    return lua_pushfstring(L, "'%s'", lua_tostring(L, index));
  else {
    struct address a;
    char text[ADDRESS_TEXT + 1];
    size_t len;
    const char *bytes = lua_tolstring(L, index, &len);
    address_set(&a, bytes, len, len);
    text[address_text(&a, text)] = '\0';
    return lua_pushfstring(L, "to %s", text);
  }
}
