/*
** file_job: what has no request and may block on a disk, on a helper thread:
** reading a directory, copying a file, changing its mode. lua/uring/fs.lua and
** its parts are made of it.
**
** A job works on its own duplicates of the descriptors, and closes them. So
** a task that leaves may close its own at once: no thread ever uses a number
** that has become another file's. A job does one piece of the work, after
** which a cancelled task goes no further.
*/

#ifndef uring_file_job_h
#define uring_file_job_h

#include "lua/state.h"

/* The functions for lua/uring, into the table on top; the state is below. */
void file_job_functions (lua_State *L);

#endif
