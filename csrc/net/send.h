/*
** send: what the rooms of a socket's sends and connects share: send.c, where
** they wait, send_request and send_words. Nobody else includes this.
**
** All that a call knows lies on its stack, where it outlives a wait. Each of
** the rooms reads it there, the words' from another coroutine.
**
** What can never happen: a request names memory that is Lua's.
*/

#ifndef uring_send_h
#define uring_send_h

#include "net/socket.h"

/* So much of a string is copied at a time for a stream: what takes longer
** would keep all other tasks waiting. */
#define PIECE (1u << 20)

/* The stack of a call: what is to be sent, how, how much has gone (bytes, or
** of an array messages); and of the message that is going, in pieces perhaps,
** where the request under way begins and ends in it, and how long it is. */
enum { SOCKET = 1, DATA, TO, HOW, SENT, FROM, UPTO, SIZE, LAST = SIZE };

enum { SEND, SEND_MESSAGE, SEND_MESSAGES, CONNECT };

/* The request for what is left to be sent, from FROM on; UPTO and SIZE become
** where it ends, and how long all of it is.
** 0 or -errno; raises for what is wrong. Whatever it answers, what the request
** pins by then is counted for the caller. */
int send_prepare (lua_State *L, struct socket *s, struct request *q);

/* Is the request under way for a part of a message, with more to come? */
static inline bool send_piece (lua_State *L) {
  return lua_tointeger(L, UPTO) < lua_tointeger(L, SIZE);
}

/* Before the first of them goes: is each of the array at DATA a message? */
void send_check_messages (lua_State *L);

/* Zero copy takes one message, and bytes only where they are a buffer's. */
bool send_worth_no_copy (const struct socket *s, int how, bool buffer,
                         size_t size);

/* nil, message, errno: what was done, and to whom where that is known. */
int send_failed_as (lua_State *L, const struct socket *s, int how, int err);

#endif
