/*
** state: the library's data of one Lua state, and its classes.
**
** It is one userdata, anchored in the registry, and upvalue 1 of every
** function of the library. It has the addresses of the class metatables, so
** that an object's class is checked by comparing a pointer; the state's rings;
** and its loop. Lua values that all functions share are its user values.
** Nothing of it is shared between the Lua states of a process.
**
** Invariant: an object's metatable is never replaced or given to a script, so
** that the pointer comparison proves the type.
*/

#ifndef uring_state_h
#define uring_state_h

#include "compat.h"
#include "base/account.h"
#include "base/handle.h"
#include "lua/pressure.h"

#include <lua.h>
#include <lauxlib.h>

#include <stdbool.h>
#include <stdint.h>

enum class {
  CLASS_WORKER,
  CLASS_RING, CLASS_SQE, CLASS_OPERATION, CLASS_BUFFER, CLASS_FD, CLASS_REF,
  CLASS_TASK, CLASS_LOOP, CLASS_SOCKADDR, CLASS_MSGHDR, CLASS_BUF_RING,
  CLASS_LEASE, CLASS_SOCKET, CLASS_READER, CLASS_CANCEL_SCOPE, CLASS_SCOPE,
  CLASS_SELECT_WAITER, CLASS_EVENT, CLASS_WRAPPED, CLASS_CHANNEL,
  CLASS_SEMAPHORE, CLASS_MAILBOX, CLASS_ADDRESS, CLASS_WAITING_SEND,
  CLASS_SENDING, CLASS_CALLING, CLASS_SERVED_CALL, CLASS_MONITOR,
  CLASS_NAME_WAIT, CLASS_STREAM, CLASS_CHILD, CLASS_LISTENER, CLASS_JOB_WAIT,
  CLASS_WALL_TIMER,
  CLASSES
};

/* The user values: a metatable for each class, and then these. */
enum shared {
  SHARED_CANCELLED = CLASSES + 1,  /* the value uring.cancelled */
  SHARED_CANCEL_SCOPES,  /* all open cancel scopes: task/cancel_scope.h */
  SHARED_NAMES,       /* weak: task -> its name */
  SHARED_REASONS,     /* weak: task -> the reason of task:cancel(reason) */
  SHARED_BODY,        /* the function that calls every task's function */
  SHARED_MSGH,       /* the message handler of tasks and scopes */
  SHARED_LAST_ERRORS,  /* weak: coroutine -> its last error: task/task.c */
  SHARED_NOTHING,     /* an empty function: pending debug hooks run in it */
  SHARED_START,       /* the functions that uring.run calls protected */
  SHARED_RUN,
  SHARED_YIELDED,     /* outcomes of failed tasks, made ahead */
  SHARED_BROKEN,
  SHARED_OUT_OF_MEMORY,
  SHARED_ERROR_TEXTS,  /* Lua's own texts of errors, made ahead: task/run.c */
  SHARED_EXPLAIN,     /* the function that makes better ones, given memory */
  SHARED_CHAINS,      /* task's address -> the chain that it waits for */
  SHARED_COMPLETION,  /* the kinds of CQEs, as wait_cqe returns them */
  SHARED_MESSAGE,
  SHARED_LUA_DIR,        /* the folder of the library's Lua files */
  SHARED_ON_SLOW,     /* the watchdog's function */
  SHARED_USUAL_ON_SLOW,  /* the default of it, for runs that set none */
  SHARED_REPORT,      /* the function that calls it */
  SHARED_ON_ERROR,    /* the loop's option: task/detached.h */
  SHARED_DETACH,      /* the function that makes a detached task */
  SHARED_STEP,        /* the function that a step calls protected */
  SHARED_LOOP,        /* the loop object, which keeps the loop's ring alive */
  SHARED_SEVERAL,     /* the metatable of a message of several values */
  SHARED_POOLS,       /* size -> the buffer pool of the loop's sockets */
  SHARED_DECODE,      /* the function that pushes a message's values */
  SHARED_REALM,       /* of names: nil is "", false is none */
  SHARED_CALLS,       /* the function that makes the calls of a stream */
  SHARED_C_API,       /* the function that C's calls are made in: protected */
  SHARED_INBOX,       /* a worker's own mailbox; nil elsewhere */
  SHARED_BOOT,        /* the function of Lua that a worker's state runs */
  SHARED_STOP,        /* what its hook calls: worker/worker_state.c */
  SHARED_LINKED,      /* address -> the memory of a linked object */
  SHARED_END
};

struct loop;
struct ring;
struct ring_callbacks;
struct input_ops;
struct output_ops;
struct object_waitq;
struct orphan;
struct worker_thread;

/* The state's allocator, while another refuses one request: lua/errors.c */
struct refusal {
  lua_Alloc f;
  void *ud;
  lua_State *L;
  int left;
};

struct state {
  const void *meta[CLASSES];
  const void *several;             /* SHARED_SEVERAL: task/channel.c */
  struct ring *rings;
  const void *recent_object;       /* of an open ring whose class was checked,
                                      and its memory (api/ring_check); or
                                      NULL */
  const struct ring *recent_ring;
  const struct ring_callbacks *callbacks;  /* the loop's */
  const struct input_ops *socket_input;    /* of sockets: net/input.h */
  const struct output_ops *socket_output;
  struct loop *loop;
  struct object_waitq *waitqs;
  struct handles handles;          /* the state's descriptors */
  int64_t close_bound;             /* how long finalizers may wait, in all: */
  int64_t close_left, closed_at;   /* state_close_left */
  struct orphan *orphans;          /* children: os/process.c */
  void (*end_loop) (struct state *s);     /* the state closes */
  void (*end_orphans) (struct state *s);  /* the state closes */
  struct worker_thread *worker;    /* whose state it is; or NULL */
  struct worker_thread *workers;   /* that it has started, and that run */
  void (*end_workers) (lua_State *L, struct state *s);  /* the state closes */
  lua_CFunction open;              /* luaopen_uring, for their states */
  unsigned listeners;              /* to signals: os/signals.c */
  void (*set_handlers) (struct state *s);  /* a run, or a step with work,
                                      begins; NULL without listeners */
  struct pressure pressure;
  struct account *account;         /* of its C memory; NULL: it has ended */
  size_t strings;                  /* of account_strings, what pressure has */
  struct refusal refusal;
  uint64_t random;                 /* never 0: task/select.c */
  uint64_t unflushed;              /* bytes in write buffers of objects that
                                      were collected */
};

/* Only in functions of the library. */
#define state_of(L) \
  ((struct state *)lua_touserdata((L), lua_upvalueindex(1)))
#define state_shared(L, which) \
  ((void)lua_getiuservalue((L), lua_upvalueindex(1), (which)))

/* The state, for functions that do not have it as upvalue; or NULL. */
struct state *state_get (lua_State *L);

/* Push the state's userdata; if there is none yet push nothing: false. */
bool state_push (lua_State *L);

/* Push a new userdata; and, when it is complete, make it the state's. If a
** finalizer has opened the library in between, that one's userdata replaces
** this one on the stack. */
void state_new (lua_State *L);
void state_keep (lua_State *L);

/* lua_close must end in a bounded time, and it collects every ring and child
** of the state. So they share one bound, which grows again only between
** closes. How long a finalizer that begins now may wait; and it has ended. */
int64_t state_close_left (struct state *s);
void state_close_ended (struct state *s);

/* What an error for want of memory ends with: "", or that there is a limit. */
const char *state_memory_note (lua_State *L);

/* Make a class: its methods, its metamethods, and its name for messages. The
** state must be on top of the stack; all functions get it as upvalue 1. If
** `index` is given it is called for keys that are not methods. */
void class_define (lua_State *L, enum class c, const luaL_Reg *methods,
                   const luaL_Reg *meta, lua_CFunction index);

/* Push the table of the class's methods; the state is at that index. */
void class_push_methods (lua_State *L, int state, enum class c);

/* Give the class more methods, from a higher folder. */
void class_extend (lua_State *L, enum class c, const luaL_Reg *methods);

/* Put the methods of all classes, under their class's name, into the table of
** loaded modules. lauxlib looks there for the name of a function that was not
** called by name, but by pcall or uring.spawn: "uring.Socket.accept". */
void class_names (lua_State *L);

/*
** Objects that lists and records of C point to. Lua calls a finalizer once; if
** there is no memory to call it, Lua frees the object all the same, and they
** would point to nothing. So what they point to is a userdata of its own,
** which the state keeps until the object's finalizer has run, in such a case
** when it ends. The object has only its address, and keeps it too, so it lives
** as long.
*/
#define CLASSES_LINKED \
  (1ull << CLASS_RING | 1ull << CLASS_SOCKET | 1ull << CLASS_STREAM \
   | 1ull << CLASS_WORKER | 1ull << CLASS_MAILBOX | 1ull << CLASS_ADDRESS \
   | 1ull << CLASS_MONITOR \
   | 1ull << CLASS_SENDING | 1ull << CLASS_WAITING_SEND \
   | 1ull << CLASS_CALLING | 1ull << CLASS_NAME_WAIT | 1ull << CLASS_JOB_WAIT \
   | 1ull << CLASS_WALL_TIMER | 1ull << CLASS_SELECT_WAITER \
   | 1ull << CLASS_CHANNEL | 1ull << CLASS_SEMAPHORE)

static inline bool class_is_linked (enum class c) {
  return CLASSES_LINKED >> c & 1;
}

static inline void *class_memory (enum class c, void *userdata) {
  return class_is_linked(c) ? *(void **)userdata : userdata;
}

/* The memory of the object at this index, which is of class `c`. */
#define class_raw(L, index, c) class_memory((c), lua_touserdata((L), (index)))

/* Push a new zeroed object of class `c` with `uservalues` user values. Its
** finalizer may run from now on, so an all-zero object must count as closed.
*/
void *class_new (lua_State *L, enum class c, size_t size, int uservalues);

/* Pop a value that the linked object at this index points to: it lives as long
** as the object's memory. There is one. */
void class_keep (lua_State *L, int index);

/* What the class of the object at `arg` is known by: it is one of `meta`. NULL
** for a value that is no userdata. */
static inline const void *class_key (lua_State *L, int arg) {
  const void *meta;
  if (lua_type(L, arg) != LUA_TUSERDATA || !lua_getmetatable(L, arg))
    return NULL;
  meta = lua_topointer(L, -1);
  lua_pop(L, 1);
  return meta;
}

/* The object of class `c` at `arg`; NULL for any other value. */
static inline void *class_at (lua_State *L, const struct state *s, int arg,
                              enum class c) {
  return class_key(L, arg) == s->meta[c] ? class_raw(L, arg, c) : NULL;
}

void *class_test (lua_State *L, int arg, enum class c);
void *class_check (lua_State *L, int arg, enum class c);
const char *class_name (enum class c);

#endif
