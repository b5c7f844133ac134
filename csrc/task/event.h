/*
** event: waits of C as events of uring.select, and what Lua's own waits are
** made of: channels, semaphores and the select itself park a task until it is
** woken.
**
** What an event's `try`, `block` and `cancel` are for is told in
** lua/uring/event.lua. The class uring.Event has them for a wait kind of
** wait.h, and a select waiter as the node.
*/

#ifndef uring_event_h
#define uring_event_h

#include "task/wait.h"

/* An event of this kind on top of the stack, for the object at 1 with what
** lies behind that as arguments. Answers 1. */
int event_push (lua_State *L, const struct wait_kind *kind);

int event_now (lua_State *L);        /* uring.now() */

void event_functions (lua_State *L);  /* as scope_functions */
void event_open (lua_State *L);

#endif
