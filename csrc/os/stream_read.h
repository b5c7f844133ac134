/*
** stream_read: the formatted reads of sockets and streams: `read`, `lines`,
** `read_until`, `peek`, `unread`, `limit`, and the event `reading`. All are
** one kind of wait over an input (net/input.h).
**
** A read whose bytes are in the store takes them without waiting and allocates
** nothing but its string.
**
** What can never happen: bytes are lost because a read was cancelled, timed
** out, or lost a choice; bytes of one read go to another task.
*/

#ifndef uring_stream_read_h
#define uring_stream_read_h

#include "net/input.h"
#include "os/stream.h"

/* Give sockets and streams these methods. */
void stream_read_open (lua_State *L);

/* Move what has arrived into the store. Garbage is collected where there is no
** memory for it; if that does not help it stays where it is (FILL_FAILED, with
** ENOMEM). A finalizer may close the object. */
enum fill read_fill (lua_State *L, struct input *in);

/* Does a task wait to read, or has it been woken to, and has not run yet? */
bool read_waits (const struct stream *s);

/* Before the position of a file is used, which a request to read moves: take
** what a read has left that was given up. 0; 3 values were pushed; or less
** than 0: this waiter has to wait in the queue `in`, for others that read or
** for such a request. */
int read_settle (lua_State *L, struct stream *s, struct wait_node *node);

/* The functions for lua/uring/watch.lua, into the table on top. */
void stream_read_functions (lua_State *L);

#endif
