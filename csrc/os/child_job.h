/*
** child_job: start a child on a helper thread, for the task that waits for it.
**
** A process that starts another with vfork stands still until the program
** runs: half a millisecond, or for ever where the program is on a disk that
** does not answer. So a helper thread does it (thread_pool.h), which bounds
** how many are started at once, too.
**
** A job is started from copies: of all strings, of the environment, and of the
** descriptors that the child gets. So the task may leave, and close its own,
** at any time. A start without a task that waits for it is undone. If it has
** not begun there is no child. If it has, the thread that is at it kills and
** reaps the child; and if that was just done, this does, and a helper thread
** reaps.
**
** The task that has left can wait until that is done. So a scope ends, and
** a state is closed, with no child that runs: a process that ended before its
** helper thread had killed the child would leave it running.
**
** Invariant: a child that has been started has one owner at each moment: the
** helper thread, the job, the object. `claim` decides between the first two.
*/

#ifndef uring_child_job_h
#define uring_child_job_h

#include "lua/state.h"

/* The functions for lua/uring/process.lua, into the table on top. */
void child_job_functions (lua_State *L);

#endif
