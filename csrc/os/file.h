/*
** file: requests on files, as the functions that lua/uring/file.lua and fs.lua
** (with its parts) are made of: each awaits one request and gives its result,
** or nil, message, errno with the path in the message. And `seek`, which has
** to wait until no request of its stream reads.
**
** Paths, results and bytes are in blocks that the operation counts. What can
** never happen: a descriptor that was opened for a task that was cancelled
** leaks.
*/

#ifndef uring_file_h
#define uring_file_h

#include "lua/state.h"

/* The functions for lua/uring, into the table on top; the state is below. */
void file_functions (lua_State *L);

#endif
