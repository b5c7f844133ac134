/*
** process: the class uring.Child: a child process, known by its pidfd. This
** starts it, signals it and takes its exit status. What waits for it, and ends
** it with its scope, is in lua/uring/process.lua.
**
** A number can be another process's by the time it is used; a pidfd cannot. So
** a child is signalled and reaped by its pidfd alone. Its group, before Linux
** 6.9, is signalled by number, and only while the child is not reaped, which
** keeps the number from being used again.
**
** A child that is not reaped when its object is collected, as by lua_close,
** gets TERM; after the time that a close may take, KILL; and is reaped.
**
** Invariants: a pidfd has its owner before there can be a child. A forked
** child of this process signals and reaps none.
*/

#ifndef uring_process_h
#define uring_process_h

#include "lua/state.h"

/* The functions for lua/uring/process.lua, into the table on top. */
void process_functions (lua_State *L);

void process_open (lua_State *L);

#endif
