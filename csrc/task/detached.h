/*
** detached: errors of detached tasks, those that were spawned outside any
** task (uring.spawn, loop:spawn). Each of them is a scope of its own, which
** nothing waits for. When such a scope has ended with an error it stays on the
** list `loop->failed` until that is reported: to on_error, or by the next run
** or step, which raises it.
**
** Invariant: no error is lost: it is reported once, or raised once.
*/

#ifndef uring_detached_h
#define uring_detached_h

#include "task/loop.h"

/* Call on_error(error, traceback, task) for each error, if that was given.
** Raises what it raises. */
void detached_report (lua_State *L, struct loop *loop);

/* Push the first scope that has failed, and take it off the list; false if
** there is none, or if on_error will be called. */
bool detached_push_failed (lua_State *L, struct loop *loop);

/* Raise its error, if there is one. */
void detached_raise (lua_State *L, struct loop *loop);

#endif
