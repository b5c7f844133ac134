/*
** stream_write: `write` and `flush` of sockets and streams, over their write
** buffer (net/output.h).
**
** What can never happen: bytes of two calls mix. A call that finds the buffer
** full waits in the object's queue, and joins it again at the front.
*/

#ifndef uring_stream_write_h
#define uring_stream_write_h

#include "lua/state.h"

/* Give sockets and streams these methods. */
void stream_write_open (lua_State *L);

#endif
