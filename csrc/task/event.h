/*
** park: waits whose policy is written in Lua: uring.select, channels,
** semaphores. A task is parked until somebody who knows what it waits for
** wakes it, and then looks for itself; it may be woken for nothing.
**
** What an event's `try`, `block` and `cancel` are for is told in
** lua/uring/event.lua. Here are those of the library's own objects, class
** uring.Event: each kind takes what is there and leaves the rest where it
** was, and an ear in the object's line wakes the task.
*/

#ifndef uring_event_h
#define uring_event_h

#include "task/wait_queue.h"

/* In its functions the object that the event is of lies at 1, and behind it
** what its maker was called with. Any of them may come first, whatever became
** of the object meanwhile: a program's own event calls them as it likes. */
struct event_kind {
  const char *name;
  /* Take what is there: true and the values, how many are pushed; 0 where
     there is nothing yet. `e` is NULL before it blocks. */
  int (*try)(lua_State *L, struct task *t, struct select_waiter *e);
  /* Give the ear a seat; or push nil, message, errno, and answer 3. */
  int (*block)(lua_State *L, struct task *t, struct select_waiter *e);
  /* It has left its seat; if it was called, somebody else may have to be. */
  void (*cancel)(lua_State *L, struct select_waiter *e);
  bool inside;             /* only tasks of this state make it ready */
};

/* The `n` values on top are what the event is chosen with: true goes below
** them. Answers how many there are then. */
int event_ready (lua_State *L, int n);

/* An event on top of the stack for the object at 1; whatever lies behind that
** are its arguments. Answers 1. */
int event_push (lua_State *L, const struct event_kind *kind);

void park_functions (lua_State *L);  /* as scope_functions */
void park_open (lua_State *L);

#endif
