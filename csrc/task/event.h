/*
** event: the waits of C as events of uring.select; and the functions by which
** lua/uring/select.lua parks a task, and events of Lua wake it.
**
** lua/uring/event.lua describes what an event's `try`, `block` and `cancel`
** must do. The class uring.Event implements them for a wait kind (wait.h),
** with a select waiter as its node.
**
** Invariant: a select waiter that leaves its queue, or is collected, passes
** its wakeup on.
*/

#ifndef uring_event_h
#define uring_event_h

#include "task/wait.h"

/* Push an event of this kind for the object at 1; all above it are arguments.
** Returns 1. */
int event_push (lua_State *L, const struct wait_kind *kind);

/* The same without arguments: the object keeps its event in this user value,
** for selects in loops. (What a select needs of an event is in its waiter.) */
int event_push_kept (lua_State *L, const struct wait_kind *kind, int kept);

int event_now (lua_State *L);        /* uring.now() */

void event_functions (lua_State *L);  /* as scope_functions */
void event_open (lua_State *L);

#endif
