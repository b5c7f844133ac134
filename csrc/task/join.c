/*
** join: waits for the end of another task.
**
** A task that runs inside the joiner's call must not change the order in which
** tasks run, nor make the turn endless.
*/

#include "compat.h"
#include "task/join.h"

#include "base/clock.h"
#include "lua/args.h"
#include "task/event.h"
#include "task/resume.h"
#include "task/task.h"


/* ---- the wait ---------------------------------------------------------- */

static int join_try (lua_State *L, struct task *t, struct wait_node *node) {
  const struct task *target = lua_touserdata(L, 1);
  (void)node;
  if (target == t)
    return loop_raise_at_caller(L, "%s: a task cannot join itself",
                                "task:joining");
  return target->state < TASK_DONE ? 0 : task_push_outcome(L, 1);
}

static int join_block (lua_State *L, struct task *t, struct blocking *b) {
  struct task *target = lua_touserdata(L, 1);
  (void)t;
  wait_join_plain(b, &target->joiners, WAIT_JOIN, target);
  return 0;
}

static void join_cancel (lua_State *L, struct task *t,
                         struct wait_node *node) {
  (void)L; (void)t; (void)node;  /* all joiners are woken at once */
}

static const struct wait_kind joining = {
  "joining", join_try, join_block, join_cancel, WAITS_LOCAL, NULL
};

static int join_resumed (lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return wait_resumed(L, &joining, (int64_t)ctx, join_resumed);
}


/* ---- task:join --------------------------------------------------------- */

/* May `target` run inside this wait? loop_unfair bounds how often: completions
** and the other tasks must have their turn. */
static bool runs_next (const struct loop *loop, struct task *t,
                     const struct task *target) {
  return loop->first == &target->node && !loop->nested && loop->slow == 0
         && !loop->stepping
         && !loop_unfair(t);
}

/* Run the first task of the ready queue, which the joiner waits for. True if
** it has ended and the joiner is the next to run. */
static bool run_inside (lua_State *L, struct loop *loop, struct task *t) {
  struct task *target = loop_pop_ready(loop);
  if (loop->turn == &target->node)  /* guard: or the turn does not end */
    loop->turn = &t->node;
  t->wait_began = loop->now;
  loop->nested = true;
  task_resume(L, loop, target);
  loop->nested = false;
  loop->current = t;
  loop->co = L;
  if (loop->first != &t->node)  /* guard: other tasks are ready before it */
    return false;
  loop_pop_ready(loop)->state = TASK_RUNNING;
  return true;
}

/* Join a task that runs next. */
static int join_next (lua_State *L, struct loop *loop, struct task *t,
                      struct task *target, int64_t deadline) {
  uint8_t immediate = t->immediate;
  if (deadline != CLOCK_NEVER) loop_reserve(L);
  waitq_add(&target->joiners, &t->node);
  loop_begin(L, t, WAIT_JOIN, target, deadline);
  if (!run_inside(L, loop, t))
    return lua_yieldk(L, 0, (lua_KContext)deadline, join_resumed);
  t->immediate = immediate;
  loop_check(L, t);
  return wait_again(L, t, &joining, deadline, join_resumed);
}

/* task:join([timeout]): true, results… | nil, error | nil, message, errno; of
** a task that has ended outside a task, too */
static int task_join (lua_State *L) {
  struct state *s = state_of(L);
  struct task *target = task_check_arg(L, s), *t;
  int64_t ns = arg_seconds(L, 2), deadline;
  if (target->state >= TASK_DONE && (!s->loop || s->loop->current == NULL))
    return task_push_outcome(L, 1);
  t = loop_enter(L, s->loop, "task:join");
  if (target == t)
    return luaL_argerror(L, 1, "a task cannot join itself");
  deadline = loop_deadline(s->loop, ns);
  if (target->state >= TASK_DONE)
    return wait_perform(L, t, &joining, deadline, join_resumed);
  if (runs_next(s->loop, t, target))
    return join_next(L, s->loop, t, target, deadline);
  /* (no turn of others before it: that would change the order of tasks) */
  return wait_again(L, t, &joining, deadline, join_resumed);
}

/* task:joining(): the same results, as an event */
static int task_joining (lua_State *L) {
  task_check_arg(L, state_of(L));
  lua_settop(L, 1);
  return event_push(L, &joining);
}


static const luaL_Reg methods[] = {
  {"join", task_join},
  {"joining", task_joining},
  {NULL, NULL}
};

void join_open (lua_State *L) {
  class_extend(L, CLASS_TASK, methods);
}
