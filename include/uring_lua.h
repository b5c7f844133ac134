/*
** uring_lua.h: uring for programs in C or C++ that have Lua inside. C99, C++.
**
** Nothing is linked: a Lua state that has loaded uring has the table of
** functions in its registry. Fetch it before scripts run (one that has `debug`
** could put another there):
**
**     lua_getfield(L, LUA_REGISTRYINDEX, URING_LUA_KEY);
**     const struct uring_api *uring = lua_touserdata(L, -1);
**     lua_pop(L, 1);
**     if (uring == NULL || uring->size < sizeof(*uring)) ...not loaded, or old
**
** The table is the process's. It stays as it is, also after lua_close.
**
** Functions return 0, or more, or a negative errno. There are two kinds:
**
** - Those with a lua_State are for the thread that uses this state. They never
**   longjmp. They leave the Lua stack as it was but for what they say.
**   -ENOENT: the state has not loaded uring, or has no loop yet; -EBADF: its
**   loop was closed; -ESTALE: it is the loop of the process from which this
**   one was forked; -ENOMEM.
** - All others are for any thread, without a state. They never wait for
**   a reader. They are no cancellation points (pthread_cancel), and not for
**   signal handlers. In a forked child they know
**   nothing of its parent's boxes, inboxes and messages: -ESTALE.
**
** Each struct that the caller fills begins with its size. Zeros are the
** defaults (but for the `now` of a step). -EINVAL: it is too small; -E2BIG:
** this library is older than the caller's header, and the part that it does
** not know is not zero. Nothing is written beyond that size.
*/

#ifndef uring_lua_h
#define uring_lua_h

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define URING_LUA_KEY     "uring_lua"   /* in the registry: a light userdata */
#define URING_LUA_VERSION 1             /* of this header */

struct lua_State;

typedef struct uring_box uring_box;         /* where messages are sent to */
typedef struct uring_inbox uring_inbox;     /* messages to C */
typedef struct uring_message uring_message;


/* ---- values ------------------------------------------------------------ */

/* Types of values. A reader ignores those that it does not know: they are
** disposed of with their message. */
#define URING_NIL     0
#define URING_BOOLEAN 1   /* u.i: 0 or 1 */
#define URING_INTEGER 2   /* u.i */
#define URING_NUMBER  3   /* u.d */
#define URING_STRING  4   /* u.s; in a message that was taken a zero follows */
#define URING_BLOCK   5   /* u.s: memory that is given away, not copied */
#define URING_FD      6   /* u.fd: a descriptor that is given away */
#define URING_ARRAY   7   /* u.items: `n` of them */
#define URING_TABLE   8   /* u.items: `n` of them: key, value, key, value... */
#define URING_BOX     9   /* u.s.p: a box, given away with its count */
#define URING_RING   10   /* these two are reserved */
#define URING_SOCKET 11
#define URING_BUFFER 12   /* u.s: the bytes of a buffer of Lua's; received
                             only, and kept and released as a BLOCK is */
#define URING_CLOSED 13   /* u.i: the token of a monitor, whose mailbox is
                             closed; the library's alone */

/* Called once, when nothing reads a block any more: on any thread, with no
** lock held, also inside of lua_close or a finalizer. It may call post, hold,
** release and find. It must not call step, close, open, inbox_take or
** inbox_close, nor throw, longjmp or be cancelled (pthread_cancel). */
typedef void (*uring_release) (void *ud, const void *p, size_t len);

/* A value. To be zeroed, or filled whole. */
typedef struct uring_value {
  int32_t type;
  uint32_t n;               /* items of an ARRAY or a TABLE; else 0 */
  union {
    int64_t i;
    double d;
    int fd;
    struct uring_value *items;
    struct { const void *p; size_t len; } s;  /* p may be NULL if len is 0 */
  } u;
  uring_release release;    /* BLOCK only; NULL: its memory is static. In a
                               message that was taken, of a BOX and a BUFFER,
                               too. */
  void *ud;
} uring_value;

#if defined(__cplusplus) && __cplusplus >= 201103L
#define uring_assert_(name, what) static_assert(what, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define uring_assert_(name, what) _Static_assert(what, #name)
#else
#define uring_assert_(name, what) \
  typedef char uring_assert_##name[(what) ? 1 : -1]
#endif

/* The layout is frozen. */
#if UINTPTR_MAX > 0xffffffffu
uring_assert_(size_of_value, sizeof(uring_value) == 40);
uring_assert_(offset_of_u, offsetof(uring_value, u) == 8);
uring_assert_(offset_of_release, offsetof(uring_value, release) == 24);
uring_assert_(offset_of_ud, offsetof(uring_value, ud) == 32);
#endif


/* ---- options ----------------------------------------------------------- */

/* As uring.loop{ ... } has them: see lua/uring/meta.lua. 0: the default. */
struct uring_loop_options {
  uint32_t size;
  uint32_t entries, cq_entries;
  uint32_t flags;           /* of the ring: exactly these, if has_flags */
  int has_flags;
  int on_error;             /* stack index of a function: called with the
                               errors of tasks spawned outside of tasks */
  int on_slow;              /* stack index of a function: the watchdog's */
  int no_names;             /* 1: the state has no realm, and so no names */
  int movable;              /* 1: threads use the state one after another */
  uint32_t reserved;        /* 0 */
  double slow;              /* seconds, of the watchdog: with on_slow only */
  double close_timeout;     /* seconds that lua_close may take; 0: 0.1 */
  uint64_t memory;          /* bytes that C may hold for the state */
  const char *realm;        /* of the names of mailboxes; NULL: "" */
};

/* A step's budget, and what it did. `now` has no default: NaN or a time. */
struct uring_step {
  uint32_t size;
  uint32_t max;             /* tasks to resume; 0: 64 */
  double seconds;           /* 0 or less: no limit */
  double now;               /* NaN: the time is the clock's. Else the host's:
                               then each later step has one, and it does not
                               go back. */
  int gc;                   /* 1: what is left of the budget is the collector's
                               */
  int more;                 /* out: is there more to do at once? */
  int failed;               /* out: an error value was pushed */
  uint32_t resumed;         /* out: tasks that were resumed */
};

/* What `stats` tells of a mailbox. accepted == received + undelivered +
** messages. */
struct uring_stats {
  uint32_t size;
  uint32_t senders;         /* addresses and boxes */
  uint32_t waiting;         /* sends that wait for room */
  uint32_t reserved;        /* 0 */
  uint64_t accepted, received, undelivered;  /* since it was made */
  uint64_t messages, bytes, fds;  /* in it now */
};

/* Of a mailbox whose reader is C. 0: the default. */
struct uring_inbox_options {
  uint32_t size;
  uint32_t capacity;        /* messages; 1024 */
  uint32_t bytes;           /* of all messages; 1 MiB; 256 at least */
  uint32_t fds;             /* descriptors in them; 16 */
  const char *realm;        /* of its name; NULL: "" */
  const char *name;         /* NULL: none */
  uint32_t types;           /* 1u << URING_STRING | ...: what it takes. 0: all
                               from NIL to ARRAY. With TABLE it takes arrays,
                               too: those of Lua's tables whose keys are 1 to
                               n. Two values that are the same table of Lua's
                               have the same items: so tables may be shared,
                               and may contain themselves. */
  uint32_t reserved;        /* 0 */
};


/* ---- the table --------------------------------------------------------- */

struct uring_api {
  uint32_t size;            /* grows at its end only: look at it before a call
                               of a function that is newer */
  uint32_t version;

  /* ---- on the thread of the state ---- */

  /* Make the state's loop. NULL: defaults; in a forked child the memory, realm
  ** and close_timeout of its parent's loop, if it had one. -EEXIST: it has
  ** one. -EINVAL: an option. -ENOSYS, -EPERM: the kernel, a seccomp filter or
  ** a sysctl has no io_uring for this process. */
  int (*open) (struct lua_State *L, const struct uring_loop_options *options);

  /* Let tasks go on. It never blocks and keeps to the budget; an idle step
  ** makes no system call (but once there is an `fd` one in 1,024, and the
  ** first few after work, read the eventfds behind it; so do those of a tenth
  ** of a second after a task's wait for an eventfd). If a script listens to
  ** signals, a step with work replaces the handlers of these that the host has
  ** set since; they are put back when the script listens no more. -EBUSY:
  ** inside of a step or of uring.run. -EPERM: the loop is another
  ** thread's. -EINVAL: `now` goes back, or is missing. If `failed`, the error
  ** value of a task, or of what was called in the step, is on the stack. One
  ** a step: `more` says whether there are others. */
  int (*step) (struct lua_State *L, struct uring_step *step);

  /* A descriptor to poll: readable while a step would do something. It is the
  ** loop's: do not close it. Or -errno. -EPERM: there is none yet, and the
  ** loop is another thread's. */
  int (*fd) (struct lua_State *L);

  /* Seconds that the host may sleep before the next step: 0 if there is work,
  ** HUGE_VAL if no timer is set. Or -errno, a negative number. */
  double (*timeout) (struct lua_State *L);

  /* Cancel all tasks, let them end, and close the loop, which takes so long at
  ** most, and 0.1 s for its ring. (A task that runs on, whatever its waits
  ** raise, is not interrupted: only a hook could.) 0, also if it was closed
  ** before. -ETIME: some had not ended and were closed where they waited.
  ** -EIO: it is closed, but an error was raised meanwhile, and there is no
  ** on_error to tell. -EBUSY, -EPERM: as for step. -EINVAL: less than
  ** 0 seconds; or a hook has raised an error before it began. */
  int (*close) (struct lua_State *L, double seconds);

  /* Spawn a task: a function with `nargs` arguments after it. They are popped,
  ** also when it fails. -EINVAL: it is not a function. */
  int (*spawn) (struct lua_State *L, int nargs);

  /* The box of the mailbox or the address at `index`, counted for the caller.
  ** -EINVAL: it is neither. -EBADF: it is closed. The state need not have
  ** a loop. */
  int (*to_box) (struct lua_State *L, int index, uring_box **box);

  /* Push an address of the box: +1; on errors nothing is pushed. The caller
  ** keeps its count. */
  int (*push_address) (struct lua_State *L, uring_box *box);

  /* ---- from any thread, without a state ---- */

  /* The box of the mailbox with this name, of `len` bytes, counted for the
  ** caller. NULL realm: "". -ENOENT: there is none. -EINVAL: no name has such
  ** bytes (1 to 255, none of them zero). */
  int (*find) (const char *realm, const char *name, size_t len,
               uring_box **box);

  /* A box is counted: each count is a sender, for which the reader waits. It
  ** may outlive the mailbox and its state. In a forked child they do
  ** nothing. */
  void (*hold) (uring_box *box);
  void (*release) (uring_box *box);

  /* Send a message of `n` values, 1 to 255, the first of them not NIL. It
  ** never waits. 0: strings, arrays and tables were copied; blocks and
  ** descriptors are the library's. Negative: nothing was taken, no `release`
  ** is called, descriptors are the caller's.
  **   -EAGAIN    the mailbox is full
  **   -EPIPE     it is closed
  **   -EMSGSIZE  it counts as more bytes, or has more descriptors, than the
  **              mailbox ever takes, or more than 64 descriptors. A message
  **              counts 32 bytes, 48 for each value, nested ones too, strings
  **              rounded up to 8, blocks in full.
  **   -EINVAL    a type that is unknown, or that the reader does not take;
  **              arrays or tables in each other, so that a value is at level 9
  **              (at the top it is 0); a table with an odd number of items, or
  **              a key that is NIL or NaN; a descriptor that is negative, or
  **              twice in the message; NULL with a length
  **   -ENOMEM, -ESTALE
  ** Posts do not stand behind sends of Lua that wait for room: for them there
  ** is room for an eighth more, and for one message at least. What one thread
  ** posts is received in that order. */
  int (*post) (uring_box *box, const uring_value *values, uint32_t n);

  /* ---- messages to C: one thread at a time reads an inbox ---- */

  /* NULL: defaults. -EEXIST: the name is in use. -ENOSPC: there are 4,096
  ** names. -EINVAL, -EMFILE, -ENOMEM. */
  int (*inbox_new) (const struct uring_inbox_options *options,
                    uring_inbox **inbox);

  /* Its box, counted for the caller, who releases it, or -EPIPE never comes.
  ** NULL in a forked child. */
  uring_box *(*inbox_box) (uring_inbox *inbox);

  /* A descriptor to poll: readable from the first message (or when no sender
  ** is left) until inbox_take gives -EAGAIN. It is the inbox's: do not close
  ** it. */
  int (*inbox_fd) (uring_inbox *inbox);

  /* Take the first message. -EAGAIN: there is none. -EPIPE: there is none, and
  ** no sender is left; an inbox with a name always may have one. -ENOMEM: it
  ** stays the first. */
  int (*inbox_take) (uring_inbox *inbox, uring_message **message);

  /* Its values, valid until message_free. To keep a descriptor write -1 into
  ** u.fd; to keep a block or a buffer fetch release, ud, p and len, and write
  ** NULL into release; to keep a box write NULL there, and release it as any
  ** other: at any depth. Nothing else may be written. What was not kept is
  ** closed and released by message_free. What was kept outlives it. */
  uring_value *(*values) (uring_message *message, uint32_t *n);
  void (*message_free) (uring_message *message);

  /* Close it, and free it: the number of messages that were not taken. Never
  ** while another thread is in inbox_take. */
  int64_t (*inbox_close) (uring_inbox *inbox);

  /* ---- calls (address:call): messages to be answered ---- */

  /* Answer the message that was taken, which is a call: with `n` results, up
  ** to 254, as `post` sends them; with an error, which is raised at the
  ** caller. (Where to answer is none of its values.) -ENOENT: it is no call,
  ** or was answered. -EPIPE: its caller has gone. -EMSGSIZE, -EINVAL, -ENOMEM:
  ** it is still to be answered. A call that is freed without an answer is
  ** answered with an error. An answer needs no room. */
  int (*reply) (uring_message *message, const uring_value *values,
                uint32_t n);
  int (*refuse) (uring_message *message, const char *why);

  /* ---- of boxes, from any thread, but for the inbox's part ---- */

  /* Tell this inbox when the mailbox of the box is closed, or its state has
  ** ended; at once if that is so: with a message of one value, a CLOSED with
  ** the token. It needs no room, comes before all others, and once. Until then
  ** the monitor counts as a sender of the inbox; it ends with that. On the
  ** inbox's thread. -ENOMEM, -ESTALE. */
  int (*monitor) (uring_box *box, uring_inbox *inbox, int64_t token);

  /* Fill in the counts. -ESTALE. */
  int (*stats) (uring_box *box, struct uring_stats *stats);

  /* After -EAGAIN: write to this eventfd, once, when there is room for a small
  ** message, or the mailbox is closed; at once if that is so. Posts of others
  ** may take that room: post, and ask again. (It writes to a dup: the number
  ** may be closed.) -EBADF, -EMFILE, -ENOMEM, -ESTALE. */
  int (*wanting) (uring_box *box, int eventfd);
};

#ifdef __cplusplus
}
#endif

#endif
