/*
** loop: the state's event loop and its tasks: how a wait begins, and how its
** task becomes ready again. The modules of task and of the
** folders above call it.
**
** A state has at most one loop, made when it is first needed. The loop has a
** ring of its own, a queue of ready tasks, a heap of deadlines, and a list of
** the other rings that tasks wait on. A turn is: resume every task that was
** ready; submit what they queued, on all rings; if no task is ready, sleep
** until a completion or the next deadline; reap, and wake the tasks that the
** completions and expired deadlines are for.
**
** A task is a userdata with its coroutine as user value. It waits for one
** thing at a time: `wait` says of what kind, and which pointer is the thing's.
** That has the task's address, and wakes it by `loop_wake`. All that a wait
** needs is in the task itself or was reserved before the wait began, so
** waiting, waking and timing out allocate nothing and cannot fail.
**
** The results of a wait are pushed by its continuation, which runs in the
** task's own coroutine: an error there is the task's own.
**
** Waits may be called in one coroutine at a time (`loop->co`): the running
** task's own, or the one inside it that uring.wrap resumes.
**
** The modules above this one know what tasks wait for (wait, wait_*, join),
** what wakes them (completion, ring_watch), and how a wait ends early
** (wait_cancel).
**
** A loop is run (run.c), or stepped by a host, a program with a loop of its
** own (csrc/host). Between two steps the host may poll a descriptor. Then
** `quiet` says that this is not readable, and that what makes work for a step
** must make it so.
**
** Invariants: only a coroutine that called a wait is resumed. No completion
** wakes a task that has gone on to another wait: a wait that ends early first
** removes the task's address from what it waited for. The loop calls Lua
** while it holds no lock, since it has none.
*/

#ifndef uring_loop_h
#define uring_loop_h

#include "compat.h"
#include "base/fork_id.h"
#include "base/clock.h"
#include "base/timer_heap.h"
#include "base/waitq.h"
#include "ring/ring.h"
#include "ring/spin.h"
#include "lua/state.h"

#include <errno.h>

enum task_state { TASK_NEW, TASK_READY, TASK_RUNNING, TASK_WAITING,
                  TASK_DONE, TASK_FAILED, TASK_CANCELLED };  /* (4 bits) */

enum task_wait {
  WAIT_NOTHING,
  WAIT_YIELD,      /* a turn of the others: sleep(0), fairness */
  WAIT_SLEEP,      /* its timer; `waitq`: to try after that, or NULL */
  WAIT_AWAIT,      /* `op`, of this task alone; result: res, flags */
  WAIT_OPERATION,  /* `op`, which outlives the wait */
  WAIT_CHAIN,      /* `chain` */
  WAIT_MESSAGE,    /* `ring`, and the queue of its receivers: `turnq` */
  WAIT_JOIN,       /* `joined` */
  WAIT_QUEUE,      /* `waitq` */
  WAIT_SCOPE,      /* `scope`: for its tasks to end */
  WAIT_ITEM,       /* `items`: to receive or acquire one */
  WAIT_SEND,       /* `channel`; result: res, 1 if it was sent */
  WAIT_PARK        /* until loop_notify; with TASKF_CHOSEN, `chosen` */
};                 /* (4 bits) */

enum task_flag {
  TASKF_TIMED_OUT = 1,
  TASKF_CANCELLED = 2,   /* this wait and every later one raises */
  TASKF_CHOSEN = 4,      /* another task has completed one of the events that
                           it selects over: `chosen` */
  TASKF_CANCEL_REQUESTED = 8,  /* by task:cancel, or with its scope */
  TASKF_DAEMON = 16,     /* does not keep its scope open */
  TASKF_LOCAL_WAIT = 32,  /* parked until a task of this state wakes it */
  TASKF_NOTIFIED = 64,   /* loop_notify since it last tried its events */
  TASKF_REPORTED = 128   /* reported as ignoring its cancellation */
};

/* There may be very many tasks: keep this small. */
struct task {
  struct wait_node node;    /* first. In the ready queue, or a waitq */
  struct timer timer;       /* owner_id: its innermost cancel scope */
  union {                   /* while it waits: see enum task_wait */
    void *on;               /* any of these */
    struct op *op;
    struct chain *chain;
    struct task *joined;
    struct cancel_scope *scope;
    struct object_waitq *waitq;
    struct turnq *turnq;    /* of `waitq`, `items`, or the ring */
    struct items *items;
    struct channel *channel;
    struct select_waiter *chosen;
    uint64_t data;          /* of a result: loop_pack_op */
  };
  struct ring *ring;        /* whose operation or message it waits for */
  struct waitq joiners;     /* tasks and selects that wait for its end */
  union {
    int32_t res;            /* result of a wait */
    int32_t nargs;          /* TASK_NEW: on its coroutine's stack */
    int32_t nresults;       /* TASK_DONE: in its outcome */
  };
  union {
    uint32_t flags;         /* result of a wait */
    uint32_t wait_began;    /* while it waits: loop->now of then */
  };
  uint32_t place;           /* in its scope's table of tasks */
  uint8_t state : 4, wait : 4;
  uint8_t task_flags;
  uint8_t disposal : 2;     /* of a result that is not wanted any more */
  uint8_t has_turn : 1;     /* it was woken for an item: wait.h */
  uint8_t rung : 1;         /* parked, WAITS_RUNG: wait.h */
  uint8_t asked : 1;        /* its cancel was requested; no shield is there */
  uint8_t told : 1;         /* ... and a wait has raised since, or a hook */
  uint8_t immediate;        /* waits in a row that did not have to wait */
};

/* What had been done with a ring: its counts. */
struct ring_seen { uint64_t enters, cqes; };

/* A ring that tasks wait on, as the loop sees it. */
struct watch {
  struct loop *loop;
  struct ring *ring;        /* NULL: no longer watched */
  struct watch *next;       /* all but the loop's own */
  struct op *poll;          /* on the loop's ring; NULL: not armed */
  int eventfd;              /* of the loop's own ring: its doorbell's. -1:
                               none */
  bool signaled;            /* its eventfd was written */
  bool polled;              /* a host polls its eventfd: host/loop_fd.c */
  struct ring_seen seen;    /* when its eventfd was read last */
};

/* The state's loop, if it has one that is this process's: or NULL. */
struct loop *loop_here (lua_State *L);

struct cancel_scope;

struct scope_slot {
  struct cancel_scope *cs;    /* NULL: it is closed */
  uint32_t next_free;       /* closed: the next free number, or 0 */
};

/* What the watchdog knows of the task that runs or has just stopped. And of a
** task that ignores its cancellation: waits were refused, and it goes on. */
struct watched {
  struct task *task;
  int64_t began;            /* when it was resumed */
  uint32_t scope;           /* the number of its scope */
  int line;                 /* where it was spawned, if it has ended; or 0 */
  char file[LUA_IDSIZE];
  bool reported;            /* since it was resumed */
  bool swallows;            /* report that it ignores its cancellation */
  unsigned refused;         /* waits, since it was resumed; counted without a
                               watchdog too */
  int64_t refused_since;    /* time of the second of them */
  struct task *suspect;     /* the one task that is followed; or NULL */
  int64_t since;            /* when it first was refused a wait */
  unsigned refusals;        /* times it was resumed and refused one */
};

/* A task that cleans up may be refused a few waits. Without a watchdog it may
** go on for PATIENCE ns. */
#define REFUSALS 4
#define PATIENCE 1000000000

/* Waits in a row that need not wait, after which a task lets others run. */
#define FAIR_WAITS 64

/* The resume that took longest in any step. */
struct worst {
  int64_t ns;
  int line;                 /* where the task waits, or, if it has ended, was
                               spawned; 0: not known */
  char file[LUA_IDSIZE];
  char task[64];            /* its name, or "task 3.1" */
};

/* What a host polls: see host/loop_fd.h. Each is -1 if there is none. */
struct poll_fds {
  int epoll, cq, timer;
  struct handle *handle;    /* of `epoll`, so that nothing else owns it */
  int64_t armed;            /* when `timer` expires, or CLOCK_NEVER */
  struct ring_seen seen;    /* when `cq` was read last */
  unsigned doubt;           /* idle steps that still read it... */
  int64_t late;             /* ... from this time on; before it all do */
  unsigned idle;            /* idle steps in a row */
};

struct loop {
  struct state *state;
  struct ring *ring;
  struct watch own;         /* of the loop's own ring */
  struct watch *watches;
  struct heap heap;
  struct wait_node *first, *last;  /* tasks that are ready */
  struct wait_node *turn;   /* the last of them that runs in this turn */
  struct output *outputs;   /* that have to be written: net/output.h */
  void (*before_enter) (struct loop *loop);  /* starts to write them */
  void (*after_run) (struct loop *loop);  /* writes the standard streams' */
  struct memory *scratch;   /* for bytes that stay for no longer than a call:
                               net/sendfile.c; or NULL */
  void (*interrupt) (lua_State *L, struct loop *loop);  /* set by what other
                               threads make ready: a run calls it, once */
  struct task *current;     /* whose coroutine is running */
  lua_State *co;            /* the one in which it may wait */
  struct scope_slot *scopes;  /* by number */
  struct cancel_scope *root;  /* run's own scope, while it runs */
  struct cancel_scope *steps_root;  /* uring.root() in a step, or NULL */
  uint32_t nscopes, capacity;  /* of `scopes` */
  uint32_t nopen;           /* scopes that are open */
  uint32_t free_scope;      /* the number that was closed last, or 0 */
  uint32_t ntasks;          /* not ended */
  uint32_t nlocal;          /* tasks with loop_waits_locally */
  uint32_t nrung;           /* tasks that the doorbell may wake: turn.c */
  uint32_t now;             /* ms, as of this turn or a later deadline */
  uint32_t fork_id;
  int64_t nap;              /* the longest sleep now, in ns; see clock.h */
  struct spin spin;         /* instead of a sleep */
  int64_t slow;             /* the watchdog's bound in ns; 0: there is none */
  int64_t usually_slow;     /* the same, for runs that set none */
  struct wall *wall;        /* its times of the wall clock: wall_timer.h */
  struct watched watched;
  int64_t time;             /* the host's, if host_time */
  int64_t measured;         /* steps: when a resume was timed last */
  struct worst worst;
  struct poll_fds fds;
  struct cancel_scope *failed, *last_failed;  /* of tasks that were spawned
                               outside tasks; errors not yet reported */
  uint64_t steps, resumed, taken;  /* by all steps */
  uint8_t head_start;       /* what `immediate` begins with: see resume.c */
  uint8_t waits;            /* `immediate` after the last resume */
  bool stepping;            /* a step is on the stack */
  bool host_time;           /* the clock is the host's: `time` */
  bool quiet;               /* work must make the host's descriptor readable */
  bool closed;              /* by loop:close */
  bool nested;              /* a task runs inside another's wait: join.h */
  bool cheap;               /* sys_calls_are_cheap() */
  bool running;
  bool deadlocked;          /* its tasks wait for each other: reported */
  bool retry;               /* EAGAIN, EBUSY or ENOMEM: try again soon */
  uint32_t nomem_turns;     /* turns in a row without memory for completions
                               of another ring */
};

/* Is it a task of this process's loop that has not ended? `loop` is NULL when
** the state closes. */
static inline bool loop_has (const struct loop *loop, const struct task *t) {
  return t->state < TASK_DONE && loop && loop->fork_id == fork_id();
}

/* The loop's time in ns, and a deadline in it: CLOCK_MONOTONIC, or the time
** that the host gave its last step. */
static inline int64_t loop_time (const struct loop *loop) {
  return loop->host_time ? loop->time : clock_now();
}

static inline int64_t loop_deadline (const struct loop *loop, int64_t ns) {
  return ns == CLOCK_NEVER ? CLOCK_NEVER : clock_add(loop_time(loop), ns);
}

static inline uint32_t loop_rough_time (const struct loop *loop) {
  return loop->host_time ? clock_ms(loop->time) : clock_rough();
}

/* There is work for a step: make the host's descriptor readable. */
void loop_notify_host (struct loop *loop);

/*
** Begin a wait in the function that is running: its task (`loop` may be
** NULL). Raises outside a task, in a coroutine where it may not wait, behind
** a C call that cannot be left, and in a task that was cancelled. `what` names
** the wait in messages.
*/
struct task *loop_enter (lua_State *L, struct loop *loop, const char *what);

/* The same, but does not raise in a cancelled task. */
struct task *loop_enter_unchecked (lua_State *L, struct loop *loop,
                                   const char *what);

/* Can the running function wait? Never in a finalizer. */
bool loop_may_wait (lua_State *L, const struct loop *loop);

/* Can this coroutine be resumed, or was it closed? lua_resume reports that as
** well, but allocates the message, and no protected call may be around it. */
static inline bool loop_resumable (lua_State *co) {
  int status = lua_status(co);
  return status == LUA_YIELD || (status == LUA_OK && lua_gettop(co) > 0);
}

/* Is this a Lua function of the library itself? */
bool loop_in_library (lua_State *L, const lua_Debug *ar);

/* As luaL_error with one %s, with the position of the library's caller. */
int loop_raise_at_caller (lua_State *L, const char *format, const char *what);

/* Reserve the deadline of the next wait; raises if there is no memory. */
void loop_reserve (lua_State *L);

/* What an error message needs of an operation that is freed: opcode, group or
** first kernel, and descriptor. */
static inline uint64_t loop_pack_op (const struct op *op, uint32_t flags) {
  unsigned more = flags & IORING_CQE_F_BUFFER ? op->group : op->min_kernel;
  return (uint64_t)op->opcode << 56 | (uint64_t)more << 32
         | (uint32_t)op->fd;
}

/* Of a result: with F_BUFFER the group of its buffer, else the first kernel
** that has its request. */
static inline unsigned loop_group_or_kernel (const struct task *t) {
  return (unsigned)(t->data >> 32) & 0xffff;
}

/* Did a cancel end the operation before it was done? */
static inline bool loop_cut_short (int32_t res) {
  return res == -ECANCELED || res == -EINTR;
}

/* The running task waits from now on. The caller suspends it, with no wait in
** between. */
void loop_begin (lua_State *L, struct task *t, enum task_wait wait, void *on,
                 int64_t deadline);

/* Suspend the running task until it is woken or the deadline is reached, then
** call `k`. Used as `return loop_wait(...)`. */
int loop_wait (lua_State *L, struct task *t, enum task_wait wait, void *on,
               int64_t deadline, lua_KContext ctx, lua_KFunction k);

/* In a `k`: the task that was resumed. NULL if a script has resumed its
** coroutine: then `k` calls loop_yield_again, and nothing else. The task may
** have been cancelled meanwhile: `k` cleans up, then raises by loop_check. */
struct task *loop_resumed (lua_State *L);

/* Yield again. What the script has passed is above the stack of `k`. */
int loop_yield_again (lua_State *L, lua_KContext ctx, lua_KFunction k);

/* The same for a known loop, which outlives its tasks. */
static inline struct task *loop_resumed_in (const struct loop *loop,
                                            const lua_State *L) {
  return loop->co == L ? loop->current : NULL;  /* guard: only the loop and
                                                   uring.wrap resume it */
}

void loop_check (lua_State *L, struct task *t);

/* End the task's wait: it is ready. */
void loop_wake (struct loop *loop, struct task *t);

/* Count a wait that did not have to wait. True: let other tasks run first. */
bool loop_unfair (struct task *t);

/* For the watchdog: the task is no longer cancelled. */
void loop_clear_refusals (struct loop *loop, struct task *t);

/* Can only a task of this state wake it? */
static inline bool loop_waits_locally (const struct task *t) {
  return t->wait == WAIT_JOIN || t->wait == WAIT_SCOPE
         || t->wait == WAIT_ITEM || t->wait == WAIT_SEND
         || (t->wait == WAIT_PARK && (t->task_flags & TASKF_LOCAL_WAIT));
}

/* Append a task to the ready queue; take out the first, or NULL. */
void loop_push_ready (struct loop *loop, struct task *t);
struct task *loop_pop_ready (struct loop *loop);

/* Several operations awaited as one: the `chain` of a WAIT_CHAIN. */
struct chain {
  unsigned n, pending;
  unsigned next;            /* ends next, if they end in order */
  struct link {
    uint64_t token;         /* 0: it has ended */
    int32_t res;
    uint32_t flags;
    bool unreported;        /* success of a silent one */
    uint8_t disposal;
    uint16_t group;
  } link[];
};

#endif
