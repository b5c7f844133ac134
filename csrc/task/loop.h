/*
** loop: tasks, and the one wait that covers them all.
**
** A state has at most one loop, made when it is first needed. The loop has a
** ring of its own, a queue of tasks that are ready, a heap of deadlines, and
** a list of the other rings that tasks wait on. A turn is: let every task
** that was ready run once; submit what they queued, for all rings; sleep if
** nobody is ready, for as long as the next deadline allows; copy out what has
** completed; wake whom it concerns; wake whose time is over.
**
** A task is a userdata with its coroutine as user value. It waits for one
** thing at a time, named by `wait` and `on`; what it waits for has the task's
** address and wakes it through `loop_wake`. All a wait needs lies in the task
** itself or was made ready before the wait began, so waiting, waking and
** timing out allocate nothing and cannot fail.
**
** The results of a wait are pushed by its continuation, which runs in the
** task's own coroutine: an error there is the task's own.
**
** Waits may be called in one coroutine at a time (`loop->co`): the running
** task's own, or the one inside it that uring.wrap resumes.
**
** Here a wait begins, and its task becomes ready again. What it waits for, and
** what ends the wait, is told in rooms above this one: line, handover, watch,
** hooks, leave.
**
** What can never happen: a coroutine is resumed that did not call the wait; a
** completion wakes a task that has gone on to another wait (whoever leaves a
** wait takes its address back first); C of the loop runs while Lua code
** holds a lock, for there is none.
*/

#ifndef uring_loop_h
#define uring_loop_h

#include "compat.h"
#include "base/timer_heap.h"
#include "base/waitq.h"
#include "ring/ring.h"
#include "lua/state.h"

#include <errno.h>

enum task_state { TASK_NEW, TASK_READY, TASK_RUNNING, TASK_WAITING,
                  TASK_DONE, TASK_FAILED, TASK_CANCELLED };  /* (4 bits) */

enum task_wait {
  WAIT_NOTHING,
  WAIT_TURN,       /* a turn of the others: sleep(0), fairness */
  WAIT_SLEEP,      /* its timer; `on` is a line that it will look at, or 0 */
  WAIT_AWAIT,      /* `on` is an op that is its own; result in res, flags */
  WAIT_OPERATION,  /* `on` is an op that outlives the wait */
  WAIT_CHAIN,      /* `on` is a struct chain */
  WAIT_MESSAGE,    /* `on` is a ring */
  WAIT_JOIN,       /* `on` is a task */
  WAIT_QUEUE,      /* `on` is a struct socket_waitq */
  WAIT_SCOPE,      /* `on` is a region: for its tasks to end */
  WAIT_PARK        /* `on` says what for: whoever knows wakes it */
};                 /* (4 bits) */

enum task_flag {
  TASKF_TIMED_OUT = 1,
  TASKF_CANCELLED = 2,   /* this wait and every later one raises */
  TASKF_DELIVERED = 4,  /* a channel's value was handed over and not yet
                           accepted: wait.h */
  TASKF_CANCEL_REQUESTED = 8,
      /* cancelled whatever region it is in (region.h) */
  TASKF_DAEMON = 16,     /* does not keep its scope open */
  TASKF_LOCAL_WAIT = 32,  /* parked for what only tasks of this state can do */
  TASKF_NOTIFIED = 64,     /* something is there for it since it searched */
  TASKF_REPORTED = 128    /* of going on though it is cancelled */
};

/* There may be very many: no byte here is idle. */
struct task {
  struct wait_node node;         /* first. In the ready queue, or a line */
  struct timer timer;       /* its word is the innermost cancel scope */
  union {
    void *on;               /* while it waits */
    uint64_t data;          /* then: what describes a result */
    struct task *behind;    /* or the next whose value is revoked */
  };
  struct ring *ring;        /* whose operation or message it waits for */
  struct waitq joiners;     /* who waits for its end */
  int32_t res;              /* of the wait; how many arguments, when it is
                               new, and how many results, when it is done */
  uint32_t flags;           /* of the wait; while it waits, since when */
  uint32_t place;           /* in its scope's table of tasks */
  uint8_t state : 4, wait : 4;
  uint8_t task_flags;
  uint8_t disposal : 2;     /* of a result that is not wanted any more */
  uint8_t has_turn : 1;     /* it was woken for an item: wait.h */
  uint8_t turns;            /* waits in a row that did not have to wait */
};

/* A ring that tasks wait on, as the loop sees it. */
struct watch {
  struct loop *loop;
  struct ring *ring;        /* NULL: no longer watched */
  struct watch *next;       /* all but the loop's own */
  struct op *poll;          /* on the loop's ring; NULL: not armed */
  int eventfd;              /* of the loop's own ring, its bell's. -1: none */
  bool signaled;                /* its eventfd was written */
};

/* The state's loop, if it has one that is this process's: or NULL. */
struct loop *loop_here (lua_State *L);

/* Is it a task of this loop's, that may still go on? `loop` is NULL where the
** state closes. */
bool loop_has (const struct loop *loop, const struct task *t);

struct cancel_scope;

struct scope_slot {
  struct cancel_scope *cs;    /* NULL: it is closed */
  uint32_t next_free;       /* then: the number that was closed before it */
};

/* What the watchdog knows of the task that runs, or has just stopped; and of
** one that was refused a wait, for it is cancelled, and has gone on. */
struct watched {
  struct task *task;
  int64_t began;            /* when it was resumed */
  uint32_t scope;            /* the number of its scope */
  int line;                 /* where it was spawned, if it has ended; or 0 */
  char file[LUA_IDSIZE];
  bool reported;                /* of it, since then */
  bool swallows;            /* it was refused waits for too long: that is to be
                               told */
  unsigned refused;         /* waits, since it was resumed, watched or not */
  int64_t refused_since;    /* the second of them */
  struct task *suspect;     /* who was refused one before; NULL: nobody */
  int64_t since;
  unsigned refusals;        /* how often it was resumed and refused one */
};

/* Who cleans up may be refused some waits, too; and without a watchdog may go
** on for so long. */
#define REFUSALS 4
#define PATIENCE 1000000000

struct loop {
  struct state *state;
  struct ring *ring;
  struct watch own;         /* of the loop's own ring */
  struct watch *watches;
  struct heap heap;
  struct wait_node *first, *last;  /* tasks that are ready */
  struct wait_node *turn;        /* the last of them that runs in this turn */
  struct task *revoked;     /* cancelled with a value in hand: handover.h */
  struct task *current;     /* whose coroutine is running */
  lua_State *co;            /* the one in which it may wait */
  struct scope_slot *scopes;  /* by number */
  struct cancel_scope *root;      /* run's own scope, while it runs */
  uint32_t nscopes, capacity;  /* of that array: numbers that were given out */
  uint32_t nopen;           /* of those: that are open */
  uint32_t free_scope;     /* the number that was closed last, or 0 */
  uint32_t ntasks;          /* not ended */
  uint32_t nlocal;           /* waiting for tasks of this state alone */
  uint32_t now;             /* in ms, as of a turn or a later deadline */
  uint32_t fork_id;
  int64_t nap;              /* at most so long may it sleep now; see clock.h */
  int64_t slow;             /* the watchdog's bound in ns; 0: there is none */
  int64_t usually_slow;     /* the same, of runs that say nothing */
  struct watched watched;
  bool nested;              /* a task runs inside of another's wait: join.h */
  bool cheap;               /* sys_calls_are_cheap() */
  bool running;
  bool deadlocked;          /* its tasks wait for each other, and were told */
  bool retry;               /* the kernel had no room: try again soon */
  uint32_t nomem_turns;  /* turns in a row in which there was no memory for
                               what has completed on another ring */
};

/*
** Begin a wait in the function that is running: its task (`loop` may be
** NULL). Raises outside a task, in a coroutine where it may not wait, behind
** a C call that cannot be left, and in a task that was cancelled; `what` is
** for the words.
*/
struct task *loop_enter (lua_State *L, struct loop *loop, const char *what);

/* The same, but a cancelled task may go on. */
struct task *loop_enter_unchecked (lua_State *L, struct loop *loop, const char *what);

/* May it wait? Not in a finalizer, whatever that runs in the middle of. */
bool loop_may_wait (lua_State *L, const struct loop *loop);

/* Has a coroutine that may be resumed not been closed? Lua says so too, but in
** words that it has to allocate where no protected call is around them. */
static inline bool loop_resumable (lua_State *co) {
  int status = lua_status(co);
  return status == LUA_YIELD || (status == LUA_OK && lua_gettop(co) > 0);
}

/* Is this function one of the library's own, written in Lua? */
bool loop_in_library (lua_State *L, const lua_Debug *ar);

/* As luaL_error with one %s, but with the line of who called the library. */
int loop_raise_at_caller (lua_State *L, const char *format, const char *what);

/* Room for this wait's deadline; raises for want of memory. */
void loop_reserve (lua_State *L);

/* What the words for a result need of its operation, when that is no more. */
static inline uint64_t loop_pack_op (const struct op *op, uint32_t flags) {
  unsigned more = flags & IORING_CQE_F_BUFFER ? op->group : op->min_kernel;
  return (uint64_t)op->opcode << 56 | (uint64_t)more << 32
         | (uint32_t)op->fd;
}

/* Of a result: since which kernel its request is known, or, with F_BUFFER,
** the group of its buffer. */
static inline unsigned loop_group_or_kernel (const struct task *t) {
  return (unsigned)(t->data >> 32) & 0xffff;
}

/* Did it end before it was through, for that was asked for? */
static inline bool loop_cut_short (int32_t res) {
  return res == -ECANCELED || res == -EINTR;
}

/* The running task waits from now on, and is still to be suspended: no call
** that waits may come before. */
void loop_begin (lua_State *L, struct task *t, enum task_wait wait, void *on,
                 int64_t deadline);

/* Suspend the running task until it is woken or `deadline` has come, then go
** on in `k`. Used as `return loop_wait(...)`. */
int loop_wait (lua_State *L, struct task *t, enum task_wait wait, void *on,
               int64_t deadline, lua_KContext ctx, lua_KFunction k);

/* In a `k`: the task that goes on. NULL where somebody else than the loop has
** resumed its coroutine: then `k` yields again, and nothing has happened. The
** task may have been cancelled meanwhile; when `k` has put right what it
** must, it raises by loop_check. */
struct task *loop_resumed (lua_State *L);

/* The same where the loop is known; it lives as long as its tasks. */
static inline struct task *loop_resumed_in (const struct loop *loop,
                                            const lua_State *L) {
  return loop->co == L ? loop->current : NULL;  /* guard: only the loop and
                                                   uring.wrap resume it */
}

void loop_check (lua_State *L, struct task *t);

/* The wait is over. */
void loop_wake (struct loop *loop, struct task *t);

/* A wait that did not have to wait: true when it is the others' turn. */
bool loop_unfair (struct task *t);

/* For the watchdog: what has cancelled the task is no more. */
void loop_clear_refusals (struct loop *loop, struct task *t);

/* Does it wait for what only tasks of this state can bring about? */
static inline bool loop_waits_locally (const struct task *t) {
  return t->wait == WAIT_JOIN || t->wait == WAIT_SCOPE
         || (t->wait == WAIT_PARK && (t->task_flags & TASKF_LOCAL_WAIT));
}

/* Put a task into the ready queue; take the first out of it; NULL: none is. */
void loop_push_ready (struct loop *loop, struct task *t);
struct task *loop_pop_ready (struct loop *loop);

/* Several operations awaited as one: the `on` of a WAIT_CHAIN. */
struct chain {
  unsigned n, pending;
  unsigned next;            /* which ends next, if they end in their order */
  struct link {
    uint64_t token;         /* 0: it has ended */
    int32_t res;
    uint32_t flags;
    bool unreported;         /* a silent one's success */
    uint8_t disposal;
    uint16_t group;
  } link[];
};

#endif
