/*
** worker_state: the Lua state of a worker, from its making to its end. All of
** it runs on the worker's thread.
**
** The state has the standard libraries, the library itself as the module
** "uring" (the one that is in the same file, whatever the search path says),
** and an allocator of the library's own: the host's may be for one thread.
** What it does is in lua/uring/worker.lua (worker_boot), which is called with
** the values that the parent has sent.
**
** A cancel reaches the state by its loop (worker_state_cancel): the scope of
** its uring.run is cancelled, with all tasks in it. With the hook it also
** reaches code that does not wait. The hook looks at a flag, so that the
** parent never touches the state; and it is gone before it raises, so that
** what runs then, to-be-closed variables, is not interrupted.
**
** Invariant: the state is closed when worker_state_run returns, and the
** outcome was posted, unless there was no memory for that.
*/

#ifndef uring_worker_state_h
#define uring_worker_state_h

#include "lua/state.h"

struct worker_thread;

/* Can this process make states? NULL; or, where that is not so, the name of
** the function that opens the standard libraries: it was not linked. */
const char *worker_state_lacks (void);

void worker_state_run (struct worker_thread *t);
void worker_state_cancel (struct worker_thread *t, struct loop *loop);

int worker_inbox (lua_State *L);     /* uring.inbox() */

void worker_state_functions (lua_State *L);  /* for lua/uring/worker.lua */
void worker_state_open (lua_State *L);

#endif
