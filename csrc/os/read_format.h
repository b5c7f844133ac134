/*
** read_format: what a formatted read asks for, and taking that from an input's
** store. Nothing here waits: stream_read.c does, and gets more.
**
** The formats are those of Lua's io: a line without its end, a line with it,
** all, a number, a count of bytes. And bytes up to a delimiter, a look at
** bytes that stay, and a record of inotify(7).
**
** Invariant: bytes leave the store after their string was pushed. A read that
** raises for want of memory has lost nothing, and so has one that is refused
** because of its limit.
*/

#ifndef uring_read_format_h
#define uring_read_format_h

#include "net/input.h"

enum read_kind {
  READ_LINE, READ_LINE_END, READ_ALL, READ_NUMBER, READ_COUNT, READ_UNTIL,
  READ_PEEK, READ_RECORD
};

struct read_call {
  enum read_kind kind;
  size_t n;                /* a count; of other kinds the limit */
  const char *delimiter;
  size_t length;           /* of the delimiter */
  uint64_t id;             /* store_call */
};

/* The format at `arg`: "l", "L", "a", "n", or a count. */
struct read_call arg_format (lua_State *L, int arg, struct input *in);

/* Take what is asked for from the store: push the values and return how many.
** 0: there is not enough yet. At the `end` of data it never is 0. */
int read_format_take (lua_State *L, struct input *in,
                      const struct read_call *c, bool end);

/* nil, message, errno of an input that is closed. */
int read_closed (lua_State *L, const struct input *in);

#endif
