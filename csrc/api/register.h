/*
** register: the register_ methods of rings, and register_sync_msg, which sends
** a message from no ring. The methods are in three files: files, the eventfd
** and cancels; buffers; and settings.
*/

#ifndef uring_register_h
#define uring_register_h

#include "lua/state.h"

int register_sync_msg (lua_State *L);   /* uring.register_sync_msg(sqe) */
void register_open (lua_State *L);
void register_buffers_open (lua_State *L);
void register_settings_open (lua_State *L);

#endif
