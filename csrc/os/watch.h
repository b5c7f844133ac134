/*
** watch: makes the inotify descriptor of uring.fs.watch. What it tells is read
** as a stream, record by record (read_format.h); lua/uring/watch.lua makes
** events of that.
**
** The watched file was opened before, with O_PATH: so a path is looked up
** once, by the ring, and beneath a root never outside of it.
*/

#ifndef uring_watch_h
#define uring_watch_h

#include "lua/state.h"

/* The functions for lua/uring/watch.lua, into the table on top; the state is
** below. */
void watch_functions (lua_State *L);

#endif
