/*
** loop_object: the class uring.Loop: makes the state's loop, and closes what
** it consists of. (Turns of the loop are in turn.c; a host's methods are in
** csrc/host.)
**
** The loop's ring is made disabled, and is bound to a thread by the first run,
** step or other use. So a state may be made by one thread and run by another.
** Messages to a ring that is not bound yet fail with EBADFD.
**
** Invariant: the loop's object anchors its ring, and the state its loop.
*/

#ifndef uring_loop_object_h
#define uring_loop_object_h

#include "task/loop.h"

/* The state's loop, made if need be with a ring of so many entries. NULL: that
** failed; nil, message, errno are pushed. */
#define LOOP_ENTRIES_RUN    256
#define LOOP_ENTRIES_HOSTED  64
struct loop *loop_get (lua_State *L, unsigned entries);

/* The loop is to be used now, by this thread: bind it if that was not done.
** Raises if it is another thread's, or closed. */
void loop_bind (lua_State *L, struct loop *loop);

/* The same without an error: 0, -EBADF closed, -EPERM another thread's, or why
** it cannot be bound. */
int loop_try_bind (struct loop *loop);

/* Is it another thread's, which was the first to use it? */
bool loop_is_elsewhere (const struct loop *loop);

/* The loop at stack index 1. Raises if it is of another process, or closed. */
struct loop *loop_check_object (lua_State *L);

/* Close the descriptors that a host polls. */
void loop_close_fds (struct loop *loop);

/* uring.loop{…}; and the same for a host's own code, which may also change in
** a forked child what bounds the state. */
int loop_lua (lua_State *L);
int loop_open (lua_State *L, bool by_host);
void loop_object_open (lua_State *L);

#endif
