/*
** process: the class uring.Child: a child process, known by its pidfd. This
** signals it and takes its exit status; child_job starts it. What waits for
** it, and ends it with its scope, is in lua/uring/process.lua.
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

#include <sys/types.h>

struct child;
struct waited_job;

/* The object, which may not run yet; raises if it is closed. */
struct child *child_check (lua_State *L, int arg);

/* The job, of which the object has a count, that starts it, or was to: until
** child_started, or the job is known to have ended (NULL). */
struct waited_job *child_start_job (const struct child *c);
void child_set_start_job (struct child *c, struct waited_job *job);

/* It runs: the object owns the pidfd from now on, by `d`, a handle without
** a number, whose count it takes. Raises nothing. */
void child_started (lua_State *L, struct child *c, struct handle *d,
                    int pidfd, pid_t pid, bool group);

/* The functions for lua/uring/process.lua, into the table on top. */
void process_functions (lua_State *L);

void process_open (lua_State *L);

#endif
