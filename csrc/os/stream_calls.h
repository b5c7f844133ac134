/*
** stream_calls: streams over functions, uring.stream{ read=, write=, close= }:
** the door for TLS, for compression, for whatever turns bytes into others.
**
** All that a stream does is done by the same code as of any other: this is an
** input (net/input.h) and an output (net/output.h) whose requests are calls. A
** call may wait, so it has a task of its own (lua/uring/stream.lua): one that
** reads, begun when a read finds too little in the store; and one that writes,
** from the first byte that is buffered until none is. As a request belongs to
** its stream and not to the task that reads, so does a call: a read that ends
** early, or loses a choice, leaves it, and the next read takes what it brings.
** These tasks are in no scope of those that use the stream.
**
** What a call has returned is kept in user values of the stream until a read
** takes it, or the next write, flush or close tells it.
**
** What can never happen: two calls of the same function at once; bytes that
** `read` gave are lost; bytes are given to `write` twice, unless it said that
** they did not go.
*/

#ifndef uring_stream_calls_h
#define uring_stream_calls_h

#include "lua/state.h"

int stream_calls_stream (lua_State *L);  /* uring.stream(x), of a table too */

/* The functions for lua/uring/stream.lua, into the table on top. */
void stream_calls_functions (lua_State *L);

#endif
