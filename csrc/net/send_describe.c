/*
** send_words: what a send or connect is called, where it has failed (see
** errors.h) and where it waits (send_describe, see socket.h).
*/

#include "compat.h"
#include "net/send.h"

#include "lua/errors.h"
#include "api/sockaddr.h"

#include <string.h>


/* Push the address of the message that failed, as words; or NULL and nil. */
static const char *push_addressee (lua_State *L, int how) {
  const struct address *to = lua_touserdata(L, TO);
  if (how == SEND_MESSAGE || how == SEND_MESSAGES) {
    if (how == SEND_MESSAGE) lua_pushvalue(L, DATA);
    else lua_rawgeti(L, DATA, lua_tointeger(L, SENT) + 1);
    if (lua_istable(L, -1)) {  /* (it may be another by now) */
      lua_pushliteral(L, "name");
      lua_rawget(L, -2);
    }
    if (lua_type(L, -1) == LUA_TSTRING)
      return lua_tostring(L, -1);
    to = class_test(L, lua_gettop(L), CLASS_SOCKADDR);
  }
  if (to == NULL) {
    lua_pushnil(L);
    return NULL;
  }
  else {
    char text[ADDRESS_TEXT];
    return lua_pushlstring(L, text, address_text(to, text));
  }
}

int send_failed_as (lua_State *L, const struct socket *s, int how,
                    int err) {
  static const char *const names[] = { "send", "sendmsg", "sendmsg",
                                       "connect" };
  const char *to = push_addressee(L, how);
  if (to == NULL)
    lua_pushfstring(L, "%s on socket (fd %d)", names[how], s->out.waitq.fd);
  else if (how == CONNECT)
    lua_pushfstring(L, "connect to %s", to);
  else
    lua_pushfstring(L, "%s to %s on socket (fd %d)", names[how], to,
                    s->out.waitq.fd);
  return fail_cured(L, how == CONNECT ? IORING_OP_CONNECT : IORING_OP_SEND,
                    err);
}


/* (a push may run finalizers, which may close the socket and the coroutine:
** so all is read before) */
void send_describe (lua_State *L, const struct socket_waitq *waitq,
                    lua_State *co) {
  int how = (int)lua_tointeger(co, HOW), fd = waitq->fd;
  lua_Integer size = lua_tointeger(co, SIZE), sent = lua_tointeger(co, SENT);
  const struct address *to = lua_touserdata(co, TO);
  char text[ADDRESS_TEXT + 5] = "";
  if (to) {
    memcpy(text, " to ", 4);
    text[4 + address_text(to, text + 4)] = '\0';
  }
  if (how == CONNECT)
    lua_pushfstring(L, "to connect socket (fd %d)%s", fd, text);
  else if (how == SEND)
    lua_pushfstring(L, "to send %I bytes%s on socket (fd %d)",
                    (LUAI_UACINT)size, text, fd);
  else
    lua_pushfstring(L, "to send %s on socket (fd %d)", how == SEND_MESSAGES
                    ? "messages" : "a message", fd);
  if (sent > 0) {
    lua_pushfstring(L, "%s, of which %I went", lua_tostring(L, -1),
                    (LUAI_UACINT)sent);
    lua_remove(L, -2);
  }
}
