#include "compat.h"
#include "net/sendmmsg.h"

#include "api/buffer.h"
#include "api/sockaddr.h"

#include <string.h>

#define MOST 64

/* A message as the kernel wants it, and where its parts are. */
struct parts {
  struct iovec data;
  const struct address *name;
  struct address parsed;      /* of a name that is text */
};

static bool read_name (lua_State *L, int index, struct parts *p) {
  const char *text;
  size_t n;
  p->name = class_at(L, state_of(L), index, CLASS_SOCKADDR);
  if (p->name != NULL)
    return true;
  if (lua_type(L, index) != LUA_TSTRING)
    return false;
  text = lua_tolstring(L, index, &n);
  memset(&p->parsed, 0, sizeof(p->parsed));
  p->name = &p->parsed;
  return address_parse(&p->parsed, text, n) == NULL;
}

/* Is the message on top plain? By lua_next, for it makes no strings. */
static bool read_plain (lua_State *L, struct parts *p) {
  int message = lua_gettop(L);
  bool plain = true, has_data = false;
  p->name = NULL;
  lua_pushnil(L);
  while (plain && lua_next(L, message)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2)
                                                     : "";
    if (strcmp(key, "data") == 0) {
      struct bytes b;
      plain = has_data = bytes_at(L, lua_gettop(L), &b);
      if (plain) {
        p->data.iov_base = (void *)(uintptr_t)b.at;
        p->data.iov_len = b.size;
      }
    }
    else
      plain = strcmp(key, "name") == 0 && read_name(L, lua_gettop(L), p);
    lua_pop(L, 1);
  }
  lua_settop(L, message);
  return plain && has_data;
}

static void describe (struct mmsghdr *m, struct parts *p) {
  memset(m, 0, sizeof(*m));
  m->msg_hdr.msg_iov = &p->data;
  m->msg_hdr.msg_iovlen = 1;
  if (p->name) {
    m->msg_hdr.msg_name = (void *)(uintptr_t)p->name->bytes;
    m->msg_hdr.msg_namelen = p->name->len;
  }
}

unsigned sendmmsg_plain (lua_State *L, const struct socket *s, int array,
                     lua_Integer first) {
  struct mmsghdr messages[MOST];
  struct parts parts[MOST];
  unsigned n = 0;
  int sent;
  while (n < MOST) {
    bool plain = lua_rawgeti(L, array, first + (lua_Integer)n) == LUA_TTABLE
                 && read_plain(L, &parts[n]);
    lua_pop(L, 1);
    if (!plain) break;
    describe(&messages[n], &parts[n]);
    n++;
  }
  sent = n > 0 ? sendmmsg(s->out.waitq.fd, messages, n,
                          MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
  return sent > 0 ? (unsigned)sent : 0;
}
