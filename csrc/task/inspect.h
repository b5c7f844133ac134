/*
** look: what the tasks are doing, for who asks: uring.tasks(), a deadlock's
** message, the watchdog's. Nothing is kept for it: all is read off the tasks
** and their stacks when it is asked for.
*/

#ifndef uring_inspect_h
#define uring_inspect_h

#include "task/cancel_scope.h"

/* "task 3 'reader'"; "task 2.3" where scopes lie one in another. The first is
** for one at a stack index that may have ended: `home` is the number of the
** scope that it was in. */
void inspect_push_name_in (lua_State *L, int task, uint32_t scope);
void inspect_push_name (lua_State *L, const struct task *t);

/* "task 3 'reader' waits for … at file:line (spawned at file:line)" */
void inspect_push_description (lua_State *L, const struct task *t);

int inspect_tasks (lua_State *L);       /* uring.tasks() */

#endif
