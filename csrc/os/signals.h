/*
** signals: the class uring.Listener: signals of the process that a state asked
** for, counted by a handler that wakes it through an eventfd. The rest is in
** lua/uring/signals.lua.
**
** There is no handler but for the signals that are listened to. The first
** listener to a signal, in whatever state, sets the handler; with the last one
** the disposition that was there before is put back, unless another one
** has been set meanwhile. At the beginning of each run and step of a state
** with listeners, handlers that were replaced since the last one are set
** again: lua.c sets that of SIGINT for each chunk, so a listener of the line
** before would hear nothing.
**
** The handler runs in any thread. It walks a list of listeners that others
** change: a listener is freed when it is out of the list and no handler runs.
** In a forked child it does nothing: its eventfds are the parent's too.
**
** What can never happen: a signal that has come is not received; the handler
** writes to a number that is another file's by now, or touches a lock.
*/

#ifndef uring_signals_h
#define uring_signals_h

#include "lua/state.h"

/* The functions for lua/uring/signals.lua, into the table on top. */
void signals_functions (lua_State *L);

void signals_open (lua_State *L);

#endif
